/** Identities of the algorithms, on problems small enough for a closed form. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { broadcastTo, mul, reshape, sub, sum } from '../../src/graph/index.ts';
import { constant } from '../../src/graph/tensor.ts';
import { mapRecord } from '../../src/graph/trace.ts';
import { float32 } from '../../src/graph/type.ts';
import { InnerLoop, type Learner, prefixState, traceSteps } from '../../src/meta/inner-loop.ts';
import { reptile } from '../../src/meta/reptile.ts';
import { type AlgorithmName, algorithms } from '../../src/meta/train.ts';
import { defineModel, type Loss, mlp, squaredError } from '../../src/nn/index.ts';
import {
  adam,
  composeStates,
  freshState,
  type Optimizer,
  type OptimizerState,
  sgd,
} from '../../src/optim/index.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import type { Runtime } from '../../src/runtime/runtime.ts';
import { engines } from '../runtime/engines.ts';

const runtimes = await Promise.all(engines.map((provider) => nodeRuntime({ provider })));
after(() => Promise.all(runtimes.map((runtime) => runtime.dispose())));

/** A test on every engine. */
function testOnEngines(name: string, body: (runtime: Runtime) => Promise<void>): void {
  for (const runtime of runtimes) test(`${runtime.provider}: ${name}`, () => body(runtime));
}

/** Its outputs are its three parameters, whatever comes in. */
const constantModel = defineModel({
  inputShape: [1],
  parameters: { w: { shape: [3], init: (_, out) => out.fill(0) } },
  apply: ({ w }, x) => broadcastTo(reshape(w, [1, 3]), [x.shape[0]!, 3]),
});

/** ½·Σ(w − c)² over three parameters, averaged over a batch. */
const quadratic: Loss = (outputs, targets) => {
  const difference = sub(outputs, targets);
  return mul(sum(mul(difference, difference)), 0.5 / outputs.shape[0]!);
};

/** Σ w·c, averaged over a batch. */
const linear: Loss = (outputs, targets) => mul(sum(mul(outputs, targets)), 1 / outputs.shape[0]!);

const phi = Float32Array.of(0.5, -1, 2);
const centers = [
  [1, 2, -1],
  [-2, 0.5, 3],
  [0.25, -0.75, 1.5],
];

/** The direction of one task with three examples, each a mini-batch of its own, in turns. */
async function direction(
  runtime: Runtime,
  algorithm: AlgorithmName,
  loss: Loss,
  optimizer: Optimizer,
  steps = 3,
): Promise<number[]> {
  const learner: Learner = { model: constantModel, loss, target: float32(3), optimizer };
  const loop = await InnerLoop.compile(runtime, {
    learner,
    algorithm: algorithms[algorithm],
    examples: 3,
    segments: [{ steps, batch: 1 }],
  });
  const start = {
    initial: phi,
    parameters: phi,
    ...prefixState(freshState(optimizer, 3)),
    lossTotal: new Float32Array(1),
    inputs: new Float32Array(3),
    targets: Float32Array.from(centers.flat()),
  };
  const batches = Int32Array.from({ length: steps }, (_, i) => i % 3);
  const result = await runtime.run(loop.stages({ start, batches }), ['direction']);
  return [...result.direction!];
}

function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-6): void {
  assert.equal(actual.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    assert.ok(
      difference <= tolerance * Math.max(1, Math.abs(expected[i]!)),
      `${actual[i]} ≠ ${expected[i]} at ${i}`,
    );
  }
}

const alpha = 0.1;
const optimizer = sgd({ learningRate: alpha });
/** After SGD on ½(w − c)²: w ← w − α(w − c). */
const step = (w: number, c: number) => w - alpha * (w - c);

testOnEngines('on a quadratic all four directions have their closed form', async (runtime) => {
  const adapted = (i: number, steps: number) =>
    centers.slice(0, steps).reduce((w, c) => step(w, c[i]!), phi[i]!);
  const closed: Record<AlgorithmName, (i: number) => number> = {
    reptile: (i) => adapted(i, 3) - phi[i]!,
    fomaml: (i) => -alpha * (adapted(i, 2) - centers[2]![i]!),
    maml: (i) => -alpha * (1 - alpha) ** 2 * (adapted(i, 2) - centers[2]![i]!), // U' = (1 − α) per step
    joint: (i) => -alpha * centers.reduce((total, c) => total + phi[i]! - c[i]!, 0),
  };
  for (const name of Object.keys(closed) as AlgorithmName[]) {
    assertClose(await direction(runtime, name, quadratic, optimizer), [0, 1, 2].map(closed[name]));
  }
});

testOnEngines('every inner step is taken once, however many go in a round', async (runtime) => {
  // A small model takes up to eight steps a round: 8 in one, 9 in three of 3, 10 in two of 5, 11 in eleven of 1.
  for (const steps of [1, 8, 9, 10, 11]) {
    const adapted = (i: number) =>
      Array.from({ length: steps }, (_, n) => centers[n % 3]![i]!).reduce(step, phi[i]!) - phi[i]!;
    assertClose(await direction(runtime, 'reptile', quadratic, optimizer, steps), [0, 1, 2].map(adapted));
  }
});

testOnEngines('FOMAML is MAML where the loss is linear, and differs where it is not', async (runtime) => {
  assertClose(
    await direction(runtime, 'fomaml', linear, optimizer),
    await direction(runtime, 'maml', linear, optimizer),
  );
  const [first] = await direction(runtime, 'fomaml', quadratic, optimizer);
  const [exact] = await direction(runtime, 'maml', quadratic, optimizer);
  assert.ok(Math.abs(first! / exact! - 1 / (1 - alpha) ** 2) < 1e-5);
});

testOnEngines('where the loss is linear Reptile is joint training', async (runtime) => {
  assertClose(
    await direction(runtime, 'reptile', linear, optimizer),
    await direction(runtime, 'joint', linear, optimizer),
  );
});

testOnEngines('Adam with β₁ = 0 takes the steps of TensorFlow’s formula', async (runtime) => {
  const learningRate = 0.05;
  const beta2 = 0.999;
  const moved = await direction(runtime, 'reptile', quadratic, adam({ learningRate, beta1: 0 }));
  const expected = [0, 1, 2].map((i) => {
    let [w, v] = [phi[i]!, 0];
    centers.forEach((c, steps) => {
      const g = w - c[i]!;
      v = beta2 * v + (1 - beta2) * g * g;
      w -= (learningRate * Math.sqrt(1 - beta2 ** (steps + 1)) * g) / (Math.sqrt(v) + 1e-8);
    });
    return w - phi[i]!;
  });
  assertClose(moved, expected, 1e-5);
});

testOnEngines('Adam with both moments takes the steps of its formula', async (runtime) => {
  const [learningRate, beta1, beta2] = [0.05, 0.9, 0.99];
  const moved = await direction(runtime, 'reptile', quadratic, adam({ learningRate, beta1, beta2 }));
  const expected = [0, 1, 2].map((i) => {
    let [w, m, v] = [phi[i]!, 0, 0];
    centers.forEach((c, steps) => {
      const g = w - c[i]!;
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      const scale = Math.sqrt(1 - beta2 ** (steps + 1)) / (1 - beta1 ** (steps + 1));
      w -= (learningRate * scale * m) / (Math.sqrt(v) + 1e-8);
    });
    return w - phi[i]!;
  });
  assertClose(moved, expected, 1e-5);
});

testOnEngines(
  'states composed from parallel tasks are those of the tasks in turn, where the gradients are the same',
  async (runtime) => {
    const beta2 = 0.9;
    const moments = adam({ learningRate: 1, beta1: 0, beta2 });
    const squares = [
      [4, 1],
      [9, 25],
      [0.25, 16],
    ]; // g² in two steps of three tasks
    const after = (v: number, task: readonly number[]) =>
      task.reduce((x, square) => beta2 * x + (1 - beta2) * square, v);
    const start = { secondMoments: Float32Array.of(2), secondMomentsWeight: Float32Array.of(0.5) };
    const apart = squares.map((task) => ({
      secondMoments: Float32Array.of(after(2, task)),
      secondMomentsWeight: Float32Array.of(after(0.5, [1, 1])),
    }));
    const constants = (state: OptimizerState) =>
      mapRecord(state, (values) => constant(float32(values.length), values));
    const composed = composeStates(moments, constants(start), apart.map(constants), 2);
    const result = await (await runtime.compile({ inputs: {}, outputs: composed })).run({});
    assertClose(result.secondMoments!, [squares.reduce(after, 2)]);
    assertClose(result.secondMomentsWeight!, [after(0.5, [1, 1, 1, 1, 1, 1])]);
  },
);

/** SGD that keeps the gradient, and steps by twice it minus the one before where it is `optimistic`. */
const keepsGradient = (optimistic: boolean): Optimizer => ({
  learningRate: 0.02,
  gradientFactor: 1,
  decay: { previous: 0 },
  state: (parameters) => ({ previous: parameters }),
  update: ({ parameters, gradient, state }) => {
    const step = optimistic ? sub(mul(gradient, 2), state.previous!) : gradient;
    return { parameters: sub(parameters, mul(step, 0.02)), state: { previous: gradient } };
  },
});

for (const optimistic of [true, false]) {
  testOnEngines(
    `an optimizer whose state is ${optimistic ? 'the last' : 'a gradient that it does not read'} runs in a loop as unrolled`,
    async (runtime) => {
      const own = keepsGradient(optimistic);
      const learner: Learner = { model: mlp(), loss: squaredError(), target: float32(1), optimizer: own };
      const segments = [{ steps: 11, batch: 2 }]; // a step a round
      const random = Random.stream(0, 'waves');
      const normals = (length: number) => Float32Array.from({ length }, () => random.uniform(-2, 2));
      const initial = learner.model.init(random);
      const start = {
        initial,
        parameters: initial,
        ...prefixState(freshState(own, initial.length)),
        lossTotal: new Float32Array(1),
        inputs: normals(10),
        targets: normals(10),
      };
      const batches = Int32Array.from({ length: 22 }, (_, i) => (3 * i) % 10);
      const loop = await InnerLoop.compile(runtime, { learner, algorithm: reptile, examples: 10, segments });
      const names = ['direction', 'state.previous', 'lossTotal'];
      const looped = await runtime.run(loop.stages({ start, batches }), names);
      const unrolled = await runtime.compile(traceSteps(learner, reptile, 10, segments));
      const expected = await unrolled.run({ ...start, batches0: batches });
      for (const name of names) assertClose(looped[name]!, expected[name]!, 1e-5);
    },
  );
}

testOnEngines('a run in pieces is the run in one, wherever it is cut', async (runtime) => {
  for (const steps of [1, 7, 11, 13, 32]) {
    const learner: Learner = { model: constantModel, loss: quadratic, target: float32(3), optimizer };
    const segments = [{ steps, batch: 1 }];
    const loop = await InnerLoop.compile(runtime, { learner, algorithm: reptile, examples: 3, segments });
    const start = {
      initial: phi,
      parameters: phi,
      lossTotal: new Float32Array(1),
      inputs: new Float32Array(3),
      targets: Float32Array.from(centers.flat()),
    };
    const task = { start, batches: Int32Array.from({ length: steps }, (_, i) => i % 3) };
    const names = ['parameters', 'direction', 'lossTotal'];
    const whole = await runtime.run(loop.stages(task), names);
    for (const pieces of [2, 3, 5]) {
      assert.deepEqual(await runtime.run(loop.chunks(task, pieces), names), whole);
    }
  }
});
