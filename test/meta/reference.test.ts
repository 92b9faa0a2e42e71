/** Meta-gradients against the independent PyTorch implementation in test/reference. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { grad } from '../../src/graph/grad.ts';
import type { Tensor } from '../../src/graph/tensor.ts';
import { mapRecord, trace } from '../../src/graph/trace.ts';
import { int32, type TypedArray } from '../../src/graph/type.ts';
import { fomaml } from '../../src/meta/fomaml.ts';
import {
  type Algorithm,
  InnerLoop,
  type Learner,
  prefixState,
  unprefixState,
} from '../../src/meta/inner-loop.ts';
import { joint } from '../../src/meta/joint.ts';
import { maml } from '../../src/meta/maml.ts';
import { reptile } from '../../src/meta/reptile.ts';
import {
  type Model,
  miniImagenetNet,
  mlp,
  omniglotNet,
  softmaxCrossEntropy,
  squaredError,
} from '../../src/nn/index.ts';
import { adam, freshState, type Optimizer, type OptimizerState, sgd } from '../../src/optim/index.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import type { Arrays, Runtime } from '../../src/runtime/runtime.ts';
import {
  type NetworkName,
  reference,
  referenceData,
  referenceMoments,
  referenceParameters,
  summaryError,
} from '../reference/reference.ts';
import { engines } from '../runtime/engines.ts';

const runtimes = await Promise.all(engines.map((provider) => nodeRuntime({ provider })));
after(() => Promise.all(runtimes.map((runtime) => runtime.dispose())));

const models: Record<Exclude<NetworkName, 'miniImagenet'>, Model> = {
  sine: mlp(),
  omniglotSmall: omniglotNet({ ways: 5, filters: 8 }),
  omniglot: omniglotNet({ ways: 5 }),
  miniImagenetSmall: miniImagenetNet({ ways: 5, filters: 8, inputShape: [21, 21, 3] }),
};

type DType = 'float32' | 'float64';

async function run(
  runtime: Runtime,
  name: keyof typeof models,
  dtype: DType,
  algorithm: Algorithm,
  optimizer: Optimizer,
  state?: OptimizerState,
): Promise<Arrays> {
  const network = reference.networks[name];
  const model = models[name];
  const learner: Learner = {
    model,
    optimizer,
    loss: name === 'sine' ? squaredError() : softmaxCrossEntropy(),
    target: name === 'sine' ? { dtype, shape: [1] } : int32(),
    dtype,
  };
  const loop = await InnerLoop.compile(runtime, {
    learner,
    algorithm,
    examples: 50,
    segments: [{ steps: 5, batch: 10 }],
  });
  const initial = referenceParameters(network, model.layout);
  const innerState = prefixState(state ?? freshState(optimizer, model.layout.size));
  const start: Arrays = {
    initial,
    parameters: initial,
    ...innerState,
    lossTotal: new Float32Array(1),
    ...referenceData(network),
  };
  const asDtype = (data: TypedArray) =>
    dtype === 'float64' && data instanceof Float32Array ? Float64Array.from(data) : data;
  const batches = Int32Array.from(reference.batches.flat());
  const stages = loop.stages({ start: mapRecord(start, asDtype), batches });
  return runtime.run(stages, ['direction', 'lossTotal', ...Object.keys(innerState)]);
}

function scaled(vector: ArrayLike<number>, factor: number): Float64Array {
  return Float64Array.from(vector, (x) => x * factor);
}

/** Every engine with every dtype. */
const inBoth = runtimes.flatMap((runtime) =>
  (['float32', 'float64'] as const).map((dtype) => [runtime, dtype] as const),
);

const allModels: Record<NetworkName, Model> = { ...models, miniImagenet: miniImagenetNet({ ways: 5 }) };

for (const name of Object.keys(allModels) as NetworkName[]) {
  for (const [runtime, dtype] of inBoth) {
    test(`${runtime.provider}, ${name} in ${dtype}: outputs, losses and gradient of a batch agree with PyTorch`, async () => {
      const network = reference.networks[name];
      const { batch, output, loss, lossSum, gradient } = network.forward;
      const model = allModels[name];
      const isSine = name === 'sine';
      const types = {
        parameters: { dtype, shape: [model.layout.size] },
        inputs: { dtype, shape: [batch, ...model.inputShape] },
        targets: isSine ? { dtype, shape: [batch, 1] } : int32(batch),
      } as const;
      const lossBy = isSine ? squaredError : softmaxCrossEntropy;
      const graph = trace(types, ({ parameters, inputs, targets }) => ({
        output: model.apply(parameters, inputs),
        loss: lossBy('mean')(model.apply(parameters, inputs), targets),
        lossSum: lossBy('sum')(model.apply(parameters, inputs), targets),
        gradient: grad((at: Tensor) => lossBy('mean')(model.apply(at, inputs), targets))(parameters),
      }));
      const { inputs, targets } = referenceData(network, name === 'miniImagenet' ? batch : 50);
      const given = {
        parameters: referenceParameters(network, model.layout),
        inputs: inputs.subarray(
          0,
          inputs.length === batch ? batch : (inputs.length / targets.length) * batch,
        ),
        targets: targets.subarray(0, batch),
      };
      const asDtype = (data: TypedArray) =>
        dtype === 'float64' && data instanceof Float32Array ? Float64Array.from(data) : data;
      const found = await (await runtime.compile(graph)).run(mapRecord(given, asDtype));
      const tolerance = dtype === 'float64' ? 1e-6 : 1e-4;
      const expected = { output: output.flat(), loss: [loss], lossSum: [lossSum] };
      for (const [what, values] of Object.entries(expected)) {
        values.forEach((value, i) => {
          const difference = Math.abs(found[what as keyof typeof expected][i]! - value);
          assert.ok(
            difference < tolerance * Math.max(1, Math.abs(value)),
            `${what}[${i}]: off by ${difference}`,
          );
        });
      }
      const error = summaryError(network, model.layout, found.gradient, gradient);
      assert.ok(error < (dtype === 'float64' ? 2e-5 : 1e-4), `gradient: relative error ${error}`);
    });
  }
}

const cases = (Object.keys(models) as (keyof typeof models)[]).flatMap((name) =>
  inBoth.map(([runtime, dtype]) => [name, runtime, dtype] as const),
);

for (const [name, runtime, dtype] of cases) {
  const title = `${runtime.provider}, ${name} in ${dtype}`;
  const network = reference.networks[name];
  const { sgd: plain, adamCarried, adamReset, joint: jointSummary } = network.task!;
  const check = (vector: ArrayLike<number>, summary: typeof jointSummary) => {
    const error = summaryError(network, models[name].layout, vector, summary);
    // In float64 what is left is the rounding of parameters and data to float32, 6e-8.
    assert.ok(error < (dtype === 'float64' ? 2e-5 : 1e-4), `relative error ${error}`);
  };

  test(`${title}: Reptile, FOMAML, MAML and joint training with inner SGD agree with PyTorch`, async () => {
    const optimizer = sgd({ learningRate: plain.lr });
    const first = await run(runtime, name, dtype, reptile, optimizer);
    check(first.direction!, plain.reptile);
    const losses = plain.losses.reduce((a, b) => a + b);
    assert.ok(Math.abs(first.lossTotal![0]! - losses) < 1e-5 * losses);
    const tail = await run(runtime, name, dtype, fomaml, optimizer);
    check(tail.direction!, plain.fomamlStep);
    check(scaled(tail.direction!, -1 / plain.lr), plain.fomamlGradient);
    check(scaled((await run(runtime, name, dtype, maml, optimizer)).direction!, -1 / plain.lr), plain.maml);
    // In float32 two of the 800,000 ReLU inputs of `omniglot` round to the other side of zero in the
    // batches at φ, which moves their gradients by 4e-3: joint training is compared in float64 there.
    if (name !== 'omniglot' || dtype === 'float64') {
      check(
        scaled((await run(runtime, name, dtype, joint, optimizer)).direction!, -1 / plain.lr),
        jointSummary,
      );
    }
  });

  test(`${title}: the same with inner Adam on carried moments`, async () => {
    const optimizer = adam({ learningRate: adamCarried.lr, beta1: 0 });
    const state = {
      secondMoments: referenceMoments(network, models[name].layout),
      secondMomentsWeight: Float32Array.of(1 - 0.999 ** 7), // seven steps were taken before
    };
    const first = await run(runtime, name, dtype, reptile, optimizer, state);
    check(first.direction!, adamCarried.reptile);
    check((await run(runtime, name, dtype, fomaml, optimizer, state)).direction!, adamCarried.fomamlStep);
    const outer = await run(runtime, name, dtype, maml, optimizer, state);
    check(scaled(outer.direction!, -1 / adamCarried.lr), adamCarried.maml);
    const weight = unprefixState(first).secondMomentsWeight![0]!;
    assert.ok(Math.abs(weight - (1 - 0.999 ** adamCarried.stepsTaken)) < 1e-6);
  });

  // From v = 0 the first steps are ±α by the gradient's sign: entries near zero follow float32's rounding.
  test(`${title}: the same with inner Adam from fresh moments`, {
    skip: name === 'omniglot' && dtype === 'float32' && 'compared in float64',
  }, async () => {
    const optimizer = adam({ learningRate: adamReset.lr, beta1: 0 });
    const first = await run(runtime, name, dtype, reptile, optimizer);
    check(first.direction!, adamReset.reptile);
    check(unprefixState(first).secondMoments!, adamReset.secondMoments);
    check((await run(runtime, name, dtype, fomaml, optimizer)).direction!, adamReset.fomamlStep);
  });
}
