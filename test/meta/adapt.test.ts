/** Adaptation and its predictions: what a query may and may not depend on. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fewShotTasks } from '../../src/data/few-shot.ts';
import { glyphs } from '../../src/data/glyphs.ts';
import { Random } from '../../src/data/random.ts';
import { sineTasks } from '../../src/data/sine.ts';
import type { Examples, Task } from '../../src/data/task.ts';
import { matmul, mean, reshape, sub } from '../../src/graph/index.ts';
import { Adaptation } from '../../src/meta/adapt.ts';
import { compileBothEvaluations, compileEvaluation } from '../../src/meta/evaluate.ts';
import { resolveLearner } from '../../src/meta/learner.ts';
import { defineModel, glorotUniform, omniglotNet } from '../../src/nn/index.ts';
import { adam, freshState, sgd } from '../../src/optim/index.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());

const ways = 5;
const tasks = fewShotTasks(glyphs({ classes: 10, drawings: 6 }), { ways });
const model = omniglotNet({ ways, filters: 8 });
const innerOptimizer = adam({ learningRate: 1e-2, beta1: 0 });
const learner = resolveLearner({ tasks, model, innerOptimizer });
const parameters = model.init(Random.stream(0, 'initialization'));
// Moments as after 100 steps: from zeros Adam follows the signs of rounding errors.
const innerState = freshState(innerOptimizer, model.layout.size);
innerState.secondMoments!.fill(1e-4);
innerState.secondMomentsWeight!.fill(1 - 0.999 ** 100);
const task = tasks.sample(Random.stream(0, 'task'), { support: 2, query: 1 });

async function predict(
  which: Task,
  options: { transductive: boolean | 'both'; steps?: number; from?: Float32Array },
) {
  const { transductive, steps = 12, from = parameters } = options;
  const adaptation = await Adaptation.compile({
    runtime,
    learner,
    support: 2 * ways,
    query: ways,
    innerSteps: steps,
    innerBatch: 5,
    transductive,
  });
  return adaptation.predict(which, { parameters: from, innerState }, Random.stream(0, 'batches'));
}

/** The task with the last query replaced by the first. */
function withOtherQuery(): Task {
  const pixels = task.query.inputs.length / ways;
  const inputs = task.query.inputs.slice();
  inputs.copyWithin((ways - 1) * pixels, 0, pixels);
  return { ...task, query: { ...task.query, inputs } };
}

test('without transduction a query’s outputs depend on no other query; with it they do', async () => {
  const own = (outputs: Float32Array) => outputs.slice(0, (ways - 1) * ways);
  const apart = { transductive: false };
  assert.deepEqual(own(await predict(withOtherQuery(), apart)), own(await predict(task, apart)));
  const together = { transductive: true };
  assert.notDeepEqual(own(await predict(withOtherQuery(), together)), own(await predict(task, together)));
});

test('both protocols at once give what each gives', async () => {
  const [apart, together] = [
    await predict(task, { transductive: false }),
    await predict(task, { transductive: true }),
  ];
  assert.deepEqual(await predict(task, { transductive: 'both' }), Float32Array.of(...apart, ...together));
});

test('an evaluation by both protocols is the two evaluations', async () => {
  const options = { runtime, tasks, model, innerOptimizer, evalTasks: 12, shots: 2, innerSteps: 4 };
  const start = { parameters, innerState };
  const both = await (await compileBothEvaluations(options))(start);
  for (const [protocol, transductive] of [
    ['nonTransductive', false],
    ['transductive', true],
  ] as const) {
    const one = await compileEvaluation({ ...options, transductive });
    assert.deepEqual(both[protocol], await one(start));
  }
  assert.notDeepEqual(both.nonTransductive.values, both.transductive.values);
});

test('adaptation starts from the same state every time', async () => {
  const first = await predict(task, { transductive: false });
  assert.deepEqual(await predict(task, { transductive: false }), first);
  assert.notDeepEqual(await predict(task, { transductive: false, steps: 0 }), first);
});

test('relabelling the classes, in the task and in the last layer, permutes the outputs', async () => {
  const relabel = [3, 0, 4, 1, 2];
  const rename = (examples: Examples): Examples => ({
    ...examples,
    targets: Int32Array.from(examples.targets, (label) => relabel[label]!),
  });
  const permuted = parameters.slice();
  for (const { name, shape, offset } of model.layout.leaves) {
    if (!name.startsWith('dense')) continue;
    const rows = shape.length === 1 ? 1 : shape[0]!;
    for (let row = 0; row < rows; row++) {
      for (let label = 0; label < ways; label++) {
        permuted[offset + row * ways + relabel[label]!] = parameters[offset + row * ways + label]!;
      }
    }
  }
  const outputs = await predict(task, { transductive: false });
  const renamed = { support: rename(task.support), query: rename(task.query) };
  const others = await predict(renamed, { transductive: false, from: permuted });
  for (let query = 0; query < ways; query++) {
    for (let label = 0; label < ways; label++) {
      const difference = outputs[query * ways + label]! - others[query * ways + relabel[label]!]!;
      // Rounding alone: in float64 either engine gives the same to 1e-13, in float32 1e-5 (cpu) and 2e-4 (native).
      assert.ok(Math.abs(difference) < 5e-4, `query ${query}, class ${label}: ${difference}`);
    }
  }
});

test('values are predicted by either protocol: the model sees the support set beside a query, or the other queries', async () => {
  const centred = defineModel({
    inputShape: [1],
    parameters: { slope: { shape: [1, 1], init: glorotUniform } },
    apply: ({ slope }, x) => matmul(sub(x, mean(x, { axes: [-2], keepDims: true })), slope),
  });
  const waves = sineTasks();
  const adaptation = await Adaptation.compile({
    ...{ runtime, support: 3, query: 4, innerSteps: 0, innerBatch: 1, transductive: 'both' },
    learner: resolveLearner({ tasks: waves, model: centred, innerOptimizer: sgd({ learningRate: 0.02 }) }),
  });
  const wave = waves.sample(Random.stream(0, 'wave'), { support: 3, query: 4 });
  const initialization = { parameters: Float32Array.of(2), innerState: {} };
  const outputs = await adaptation.predict(wave, initialization, Random.stream(0, 'batches'));
  const [support, queries] = [[...wave.support.inputs], [...wave.query.inputs]];
  const meanOf = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
  const apart = queries.map((x) => 2 * (x - meanOf([...support, x])));
  const together = queries.map((x) => 2 * (x - meanOf(queries)));
  for (const [i, expected] of [...apart, ...together].entries()) {
    assert.ok(Math.abs(outputs[i]! - expected) < 1e-5, `output ${i}: ${outputs[i]}, not ${expected}`);
  }
});

test('a model that merges the axes before a batch is refused', async () => {
  const merging = defineModel({
    inputShape: [28, 28, 1],
    parameters: { w: { shape: [784, ways], init: glorotUniform } },
    apply: ({ w }, x) => matmul(reshape(x, [-1, 784]), w),
  });
  const options = { runtime, tasks, model: merging, innerOptimizer, evalTasks: 1, shots: 1 };
  await assert.rejects(() => compileEvaluation(options), {
    name: 'ShapeError',
    message: /^model: expected outputs \[5,6,n\] of inputs \S+, got float32\[30,5\]: keep the axes/,
  });
});
