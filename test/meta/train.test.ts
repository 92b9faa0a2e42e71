/** Meta-training as a whole: repeatable, resumable, steady, and learning. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { fewShotTasks } from '../../src/data/few-shot.ts';
import { glyphs } from '../../src/data/glyphs.ts';
import { sineTasks } from '../../src/data/sine.ts';
import type { TaskSource } from '../../src/data/task.ts';
import { DataError, OptionError } from '../../src/errors.ts';
import { matmul } from '../../src/graph/index.ts';
import { evaluate, interval } from '../../src/meta/evaluate.ts';
import {
  type InnerOptimizerState,
  initialState,
  lastState,
  type MetaTrainOptions,
  metaTrain,
  type TrainingState,
} from '../../src/meta/train.ts';
import { defineModel, glorotUniform, mlp, omniglotNet } from '../../src/nn/index.ts';
import { adam, sgd } from '../../src/optim/index.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import type { Runtime } from '../../src/runtime/runtime.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());

const images = glyphs({ classes: 12, drawings: 8 });

/** Five-way glyphs with a small network and the paper's inner Adam. */
function glyphOptions(more: Partial<MetaTrainOptions> = {}): MetaTrainOptions {
  return {
    runtime,
    tasks: fewShotTasks(images, { ways: 5 }),
    model: omniglotNet({ ways: 5, filters: 8 }),
    innerOptimizer: adam({ learningRate: 1e-3, beta1: 0 }),
    trainShots: 6,
    innerSteps: 3,
    innerBatch: 10,
    metaBatch: 3,
    metaIterations: 4,
    metaStep: 1,
    seed: 7,
    ...more,
  };
}

function sineOptions(more: Partial<MetaTrainOptions> = {}): MetaTrainOptions {
  return {
    runtime,
    tasks: sineTasks(),
    model: mlp(),
    innerOptimizer: sgd({ learningRate: 0.02 }),
    trainShots: 50,
    innerSteps: 5,
    innerBatch: 10,
    metaIterations: 50,
    metaStep: 0.1,
    ...more,
  };
}

async function train(options: MetaTrainOptions): Promise<TrainingState> {
  let state = options.from ?? initialState(options);
  for await (const progress of metaTrain(options)) state = progress.state;
  return state;
}

/** Everything in a state, as comparable plain data. */
function bits({ iteration, parameters, innerState, outerState, random }: TrainingState) {
  const bytes = (vector: Float32Array) => Buffer.from(Float32Array.from(vector).buffer).toString('base64');
  const all = (state: Readonly<Record<string, Float32Array>>) =>
    Object.fromEntries(Object.entries(state).map(([name, vector]) => [name, bytes(vector)]));
  return { iteration, random, parameters: bytes(parameters), inner: all(innerState), outer: all(outerState) };
}

// A network so large that a loop takes a step a round, and workers share the odd task between two rounds.
const large = {
  model: omniglotNet({ ways: 5, filters: 32 }),
  innerSteps: 5,
  metaBatch: 3,
  metaIterations: 3,
};
for (const [name, options] of [
  ['reptile, carry', {}],
  ['reptile, reset', { innerOptimizerState: 'reset' }],
  ['reptile, sequential', { innerOptimizerState: 'sequential' }],
  ['joint', { algorithm: 'joint' }],
  ['fomaml, a shared tail', { algorithm: 'fomaml' }],
  ['fomaml, a separate tail', { algorithm: 'fomaml', tailShots: 2 }],
  ['maml', { algorithm: 'maml', metaIterations: 2 }],
] as const) {
  test(`any number of workers gives the same bits (${name})`, async () => {
    const all = { ...large, ...options };
    const alone = bits(await train(glyphOptions(all)));
    for (const workers of [2, 4]) {
      const pool = await nodeRuntime({ workers });
      assert.deepEqual(bits(await train(glyphOptions({ ...all, runtime: pool }))), alone);
      await pool.dispose();
    }
  });
}

test('the ways to treat the inner state differ, and agree where there is one task at a time', async () => {
  const run = async (innerOptimizerState: InnerOptimizerState, metaBatch: number) =>
    bits(await train(glyphOptions({ innerOptimizerState, metaBatch }))).parameters;
  assert.notEqual(await run('carry', 3), await run('sequential', 3));
  assert.notEqual(await run('carry', 1), await run('reset', 1));
  const [carry, sequential] = await Promise.all([
    train(glyphOptions({ metaBatch: 1 })),
    train(glyphOptions({ metaBatch: 1, innerOptimizerState: 'sequential' })),
  ]);
  carry.parameters.forEach((x, i) => {
    assert.ok(Math.abs(x - sequential.parameters[i]!) < 1e-5);
  });
});

for (const [name, options] of [
  ['Reptile', glyphOptions()],
  [
    'FOMAML, outer Adam',
    glyphOptions({ algorithm: 'fomaml', tailShots: 2, outerOptimizer: 'adam', metaStep: 1e-3 }),
  ],
  ['MAML', glyphOptions({ algorithm: 'maml', outerOptimizer: 'adam', metaStep: 1e-3 })],
  ['sine', sineOptions()],
] as const) {
  test(`${name}: a resumed run ends with the bits of an uninterrupted one`, async () => {
    const whole = bits(await train(options));
    let half: TrainingState | undefined;
    for await (const { iteration, state } of metaTrain(options)) {
      if (iteration === Math.floor(options.metaIterations / 2)) {
        half = structuredClone(state);
        break;
      }
    }
    assert.deepEqual(bits(await train({ ...options, from: half })), whole);
  });
}

test('nothing is compiled in the steady loop', async () => {
  const own = await nodeRuntime();
  const counts: number[] = [];
  for await (const _ of metaTrain(glyphOptions({ runtime: own, outerOptimizer: 'adam', metaStep: 1e-3 }))) {
    counts.push(own.compilations);
  }
  assert.deepEqual(new Set(counts), new Set([2])); // the inner loop and the outer step
  await own.dispose();
});

test('the seed decides: the same gives the same bits, another another', async () => {
  const [a, b, c] = [
    await train(sineOptions()),
    await train(sineOptions()),
    await train(sineOptions({ seed: 1 })),
  ];
  assert.deepEqual(bits(a), bits(b));
  assert.notDeepEqual(bits(a), bits(c));
});

test('sine: Reptile learns to adapt, joint training does not', async () => {
  const after32 = async (state: TrainingState) => {
    const { tasks, model, innerOptimizer } = sineOptions();
    const result = await evaluate({
      runtime,
      tasks,
      model,
      innerOptimizer,
      parameters: state.parameters,
      innerState: state.innerState,
      evalTasks: 100,
      shots: 10,
      queryShots: 50,
      innerSteps: 32,
      innerBatch: 10,
    });
    return result.mean;
  };
  const untrained = await after32(initialState(sineOptions()));
  const reptile = await after32(await train(sineOptions({ metaIterations: 5000 })));
  const joint = await after32(await train(sineOptions({ metaIterations: 5000, algorithm: 'joint' })));
  assert.ok(reptile < 0.6 * untrained, `${reptile} against ${untrained} untrained`);
  assert.ok(reptile < 0.6 * joint, `${reptile} against ${joint} by joint training`);
});

test('a loss that is not finite stops training and leaves the last good state', async () => {
  let last: TrainingState | undefined;
  let kept: unknown;
  const options = sineOptions({ innerOptimizer: sgd({ learningRate: 0.3 }), metaStep: 1 });
  await assert.rejects(
    async () => {
      for await (const { state } of metaTrain(options)) {
        last = state;
        kept = bits(state);
      }
    },
    { name: 'TrainingError', message: /^meta-iteration 4: the loss or the outer step is not finite/ },
  );
  assert.ok(last!.parameters.every(Number.isFinite));
  assert.deepEqual(bits(last!), kept);
});

test('the last state of a training is that of its last report, and none is an error', async () => {
  const options = sineOptions({ metaIterations: 3 });
  const state = await lastState(metaTrain(options));
  assert.deepEqual(bits(state), bits(await train(options)));
  await assert.rejects(lastState(metaTrain({ ...options, from: state })), /no meta-iteration is left/);
});

test('a signal stops training between two meta-iterations', async () => {
  const controller = new AbortController();
  let seen = 0;
  await assert.rejects(async () => {
    for await (const { iteration } of metaTrain(sineOptions({ signal: controller.signal }))) {
      seen = iteration;
      if (iteration === 3) controller.abort(new Error('enough'));
    }
  }, /enough/);
  assert.equal(seen, 3);
});

const wrong: [Partial<MetaTrainOptions>, RegExp][] = [
  [{ innerBatch: 31 }, /^innerBatch: 31 is more than the 30 examples .*\(6 train shots × 5\)/],
  [{ tailShots: 2 }, /^tailShots: reptile has no tail/],
  [{ algorithm: 'fomaml', tailShots: 6 }, /^tailShots: 6 of 6 train shots leaves none/],
  [{ algorithm: 'reptil' as 'reptile' }, /did you mean "reptile"\?$/],
  [
    { innerOptimizerState: 'carried' as 'carry' },
    /^innerOptimizerState: "carried" is not one of carry, sequential, reset/,
  ],
  [{ outerOptimizer: 'Adam' as 'adam' }, /^outerOptimizer: "Adam" is not one of sgd, adam/],
  [{ sampling: 'replace' as 'cycle' }, /^sampling: "replace" is not one of cycle, replacement/],
  [{ loss: 'average' as 'mean' }, /^loss: "average" is not one of mean, sum/],
  [{ metaBatch: 0 }, /^metaBatch: expected a whole number from 1 on, got 0/],
  [{ metaStep: 0 }, /^metaStep: expected a number above 0, got 0/],
  [{ metaStep: Number.NaN }, /^metaStep: expected a number above 0, got NaN/],
  [{ metaStepFinal: -1 }, /^metaStepFinal: expected a number from 0 on, got -1/],
  [
    { model: omniglotNet({ ways: 4, filters: 8 }) },
    /^model: expected outputs \[batch, 5\], one for each of 5 classes, got \[2,4\] of a batch of 2/,
  ],
  [{ model: mlp() }, /^model: takes inputs \[1\], the tasks give \[28,28,1\]/],
];
for (const [options, message] of wrong) {
  test(`refused: ${JSON.stringify(Object.keys(options))} ${message}`, async () => {
    await assert.rejects(
      () => train(glyphOptions(options)),
      (error: unknown) => error instanceof OptionError && message.test(error.message),
    );
  });
}

test('a model of several outputs where a target has one value is refused', async () => {
  const two = defineModel({
    inputShape: [1],
    parameters: { w: { shape: [1, 2], init: glorotUniform } },
    apply: ({ w }, x) => matmul(x, w),
  });
  const message = /^model: expected outputs \[batch, 1\], the 1 values of a target, got \[2,2\]/;
  await assert.rejects(() => train(sineOptions({ model: two })), { name: 'OptionError', message });
});

test('optimizers refuse rates and decays out of range', () => {
  for (const learningRate of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => sgd({ learningRate }), /^OptionError: sgd: learningRate: expected a number above 0/);
    assert.throws(
      () => adam({ learningRate }),
      /^OptionError: adam: learningRate: expected a number above 0/,
    );
  }
  assert.throws(() => adam({ learningRate: 1, beta1: 1 }), /^OptionError: adam: beta1: .* below 1, got 1/);
  assert.throws(() => adam({ learningRate: 1, beta2: -0.1 }), /^OptionError: adam: beta2: /);
  assert.throws(() => adam({ learningRate: 1, epsilon: Number.NaN }), /^OptionError: adam: epsilon: /);
});

/** Tasks of which the draw numbered `last` fails, counted from 1. */
function failingTasks(last: number): { tasks: TaskSource; drawn: () => number } {
  const source = sineTasks();
  let drawn = 0;
  const tasks: TaskSource = {
    ...source,
    sample: (...given) => {
      if (++drawn === last) throw new DataError('no more');
      return source.sample(...given);
    },
  };
  return { tasks, drawn: () => drawn };
}

test('a task that can not be drawn is the error told, also while others run in a pool', async () => {
  const pool = await nodeRuntime({ workers: 2 });
  const { tasks } = failingTasks(6); // of the third meta-iteration, drawn while the second runs
  const training = train(sineOptions({ runtime: pool, tasks, metaBatch: 2 })).finally(() => pool.dispose());
  await assert.rejects(training, { name: 'DataError', message: 'no more' });
});

test('an evaluation that fails draws no more tasks', async () => {
  const { tasks, drawn } = failingTasks(3);
  const options = { ...sineOptions({ tasks }), evalTasks: 1000, shots: 5, innerBatch: 5 };
  await assert.rejects(() => evaluate({ ...options, ...initialState(options) }), /no more/);
  const after = drawn();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(after <= 4 && drawn() === after, `${drawn()} tasks drawn`);
});

const evaluation = (runtimeOf: Runtime, transductive = false) => {
  const options = glyphOptions();
  const { parameters, innerState } = initialState(options);
  return evaluate({
    ...options,
    runtime: runtimeOf,
    parameters,
    innerState,
    innerOptimizer: adam({ learningRate: 1e-2, beta1: 0 }),
    evalTasks: 30,
    shots: 3,
    innerSteps: 12,
    innerBatch: 5,
    transductive,
  });
};

test('evaluation gives the same values for any number of workers, and beats chance', async () => {
  const alone = await evaluation(runtime);
  const pool = await nodeRuntime({ workers: 3 });
  assert.deepEqual(await evaluation(pool), alone);
  await pool.dispose();
  assert.ok(alone.mean - alone.ci95 > 0.2, `${alone.mean} ± ${alone.ci95}`);
  assert.notDeepEqual((await evaluation(runtime, true)).values, alone.values);
});

test('an evaluation refuses counts out of range, by name', async () => {
  const { parameters, innerState } = initialState(sineOptions());
  const options = { ...sineOptions(), parameters, innerState, evalTasks: 2, shots: 5, innerBatch: 5 };
  for (const name of ['evalTasks', 'shots', 'queryShots', 'innerBatch'] as const) {
    await assert.rejects(() => evaluate({ ...options, [name]: 0 }), {
      name: 'OptionError',
      message: `evaluation: ${name}: expected a whole number from 1 on, got 0`,
    });
  }
  await assert.rejects(
    () => evaluate({ ...options, innerSteps: -1 }),
    /innerSteps: expected a whole number from 0/,
  );
});

test('the interval is 1.96 standard errors', () => {
  // 1, 2, 3, 4: mean 2.5, s² = 5/3
  const { mean, ci95 } = interval(Float64Array.of(1, 2, 3, 4));
  assert.equal(mean, 2.5);
  assert.ok(Math.abs(ci95 - 1.96 * Math.sqrt(5 / 3 / 4)) < 1e-12);
});
