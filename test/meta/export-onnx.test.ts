/** Exported models in plain onnxruntime give what adaptation itself predicts. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import * as native from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { fewShotTasks } from '../../src/data/few-shot.ts';
import { glyphs } from '../../src/data/glyphs.ts';
import { Random } from '../../src/data/random.ts';
import { sineTasks } from '../../src/data/sine.ts';
import { OptionError } from '../../src/errors.ts';
import { Adaptation } from '../../src/meta/adapt.ts';
import { exportOnnx } from '../../src/meta/export-onnx.ts';
import { resolveLearner } from '../../src/meta/learner.ts';
import { miniImagenetNet, mlp, omniglotNet } from '../../src/nn/networks.ts';
import { sgd } from '../../src/optim/optimizer.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());

const ways = 3;
const shots = 2;
const model = omniglotNet({ ways, filters: 8 });
const random = Random.stream(0, 'export');
const parameters = model.init(random).map((value) => value + random.normal(0, 0.01));
const innerOptimizer = sgd({ learningRate: 0.1 });
const tasks = fewShotTasks(glyphs(), { ways });

/** What `Adaptation` says of a task's queries without another step, as probabilities. */
async function predicted(task: ReturnType<typeof tasks.sample>): Promise<number[]> {
  const adaptation = await Adaptation.compile({
    runtime,
    learner: resolveLearner({ tasks, model, innerOptimizer }),
    support: task.support.count,
    query: task.query.count,
    innerSteps: 0,
    innerBatch: 1,
    transductive: false,
  });
  const logits = await adaptation.predict(task, { parameters, innerState: {} }, random);
  return Array.from({ length: task.query.count }, (_, i) => {
    const powers = Array.from(logits.subarray(i * ways, (i + 1) * ways), Math.exp);
    const total = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / total);
  }).flat();
}

/** Up to the rounding of float32: batch norm of few images divides by small deviations. */
function close(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  assert.equal(actual.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    assert.ok(Math.abs(actual[i]! - expected[i]!) < 2e-5, `${i}: ${actual[i]} and ${expected[i]}`);
  }
}

for (const [name, ort] of Object.entries({ 'onnxruntime-web': web, 'onnxruntime-node': native })) {
  describe(`an exported model in ${name}`, () => {
    it('tells classes apart as adaptation does, for any number of queries', async () => {
      const session = await ort.InferenceSession.create(
        exportOnnx({ model, parameters, targets: 'classes', support: ways * shots }),
      );
      assert.deepEqual(session.inputNames, ['x', 'support']);
      assert.deepEqual(session.outputNames, ['probabilities']);
      for (const queries of [1, 4]) {
        const task = tasks.sample(random, { support: shots, query: queries });
        const { probabilities } = await session.run({
          x: new ort.Tensor('float32', task.query.inputs, [task.query.count, 28, 28, 1]),
          support: new ort.Tensor('float32', task.support.inputs, [ways * shots, 28, 28, 1]),
        });
        assert.deepEqual(probabilities!.dims, [ways * queries, ways]);
        close(probabilities!.data as Float32Array, await predicted(task));
      }
      await session.release();
    });

    it('may carry the support set', async () => {
      const task = tasks.sample(random, { support: shots, query: 2 });
      const bytes = exportOnnx({ model, parameters, targets: 'classes', support: task.support.inputs });
      const session = await ort.InferenceSession.create(bytes);
      assert.deepEqual(session.inputNames, ['x']);
      const x = new ort.Tensor('float32', task.query.inputs, [task.query.count, 28, 28, 1]);
      const { probabilities } = await session.run({ x });
      close(probabilities!.data as Float32Array, await predicted(task));
      await session.release();
    });

    it('regresses', async () => {
      const sine = mlp();
      const weights = sine.init(random);
      const task = sineTasks().sample(random, { support: 1, query: 50 });
      const bytes = exportOnnx({ model: sine, parameters: weights, targets: 'values' });
      const session = await ort.InferenceSession.create(bytes);
      assert.deepEqual([session.inputNames, session.outputNames], [['x'], ['values']]);
      const { values } = await session.run({ x: new ort.Tensor('float32', task.query.inputs, [50, 1]) });
      assert.deepEqual(values!.dims, [50, 1]);
      const adaptation = await Adaptation.compile({
        runtime,
        learner: resolveLearner({ tasks: sineTasks(), model: sine, innerOptimizer }),
        ...{ support: 1, query: 50, innerSteps: 0, innerBatch: 1, transductive: true },
      });
      close(
        values!.data as Float32Array,
        await adaptation.predict(task, { parameters: weights, innerState: {} }, random),
      );
      await session.release();
    });
  });
}

describe('exportOnnx', () => {
  it('loads for the Mini-ImageNet network, with metadata inside', async () => {
    const net = miniImagenetNet({ ways: 2, filters: 4, inputShape: [21, 21, 3] });
    const weights = net.init(random);
    const metadata = { classes: '["cat","dog"]' };
    const bytes = exportOnnx({ model: net, parameters: weights, targets: 'classes', support: 2, metadata });
    assert.ok(Buffer.from(bytes).includes('["cat","dog"]'));
    const session = await native.InferenceSession.create(bytes);
    const noise = (count: number) =>
      Float32Array.from({ length: count * 21 * 21 * 3 }, () => random.uniform());
    const { probabilities } = await session.run({
      x: new native.Tensor('float32', noise(3), [3, 21, 21, 3]),
      support: new native.Tensor('float32', noise(2), [2, 21, 21, 3]),
    });
    const [a, b] = probabilities!.data as Float32Array;
    assert.ok(Math.abs(a! + b! - 1) < 1e-6);
    await session.release();
  });

  it('gives the same bytes for the same weights, shared between threads or not', () => {
    const shared = new Float32Array(new SharedArrayBuffer(parameters.byteLength));
    shared.set(parameters);
    const options = { model, targets: 'classes', support: 6 } as const;
    assert.deepEqual(exportOnnx({ ...options, parameters: shared }), exportOnnx({ ...options, parameters }));
  });

  it('refuses what does not fit', () => {
    const options = { model, parameters, targets: 'classes', support: 6 } as const;
    const refuses = (wrong: object, message: RegExp) =>
      assert.throws(
        () => exportOnnx({ ...options, ...wrong }),
        (error) => error instanceof OptionError && message.test(error.message),
      );
    refuses({ parameters: new Float32Array(3) }, /parameters: expected the \d+ of the model, got 3/);
    refuses({ support: 0 }, /support: a classifier normalizes each query with its support set/);
    refuses({ support: 1.5 }, /support: expected whole examples \[28,28,1\], got 1\.5/);
    refuses({ support: new Float32Array(5) }, /support: expected whole examples/);
  });
});
