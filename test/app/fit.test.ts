/** Load, fit, predict: as an app uses them, with the glyph weights that come with the package. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, it, test } from 'node:test';
import {
  Adaptation,
  type ClassExamples,
  type Classifier,
  DataError,
  decodeWeights,
  encodeWeights,
  fewShotTasks,
  glyphsSplit,
  layoutFor,
  load,
  loadAdapted,
  metaTrain,
  nodeRuntime,
  OptionError,
  Random,
  resolveLearner,
  resolveSettings,
  setUp,
  sineTasks,
  type Task,
  type TrainingState,
  trainingOptions,
} from '../../src/node.ts';
import { webRuntime } from '../../src/runtime/web.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());
const learner = await load('glyphs-5way', { runtime });
const { test: unseen } = glyphsSplit(0);
const pixels = 784;
const names = [
  'alpha',
  'beta',
  'gamma',
  'delta',
  'epsilon',
  'zeta',
  'eta',
  'theta',
  'iota',
  'kappa',
] as const;
type Name = (typeof names)[number];

function glyphTask(seed: number, { ways = 5, shots = 1, queries = 1 } = {}): Task {
  const random = Random.stream(seed, 'task');
  return fewShotTasks(unseen, { ways }).sample(random, { support: shots, query: queries });
}

const image = (inputs: Float32Array, i: number) => inputs.slice(i * pixels, (i + 1) * pixels);

function examplesOf({ support }: Task, labels: readonly Name[] = names): ClassExamples<Name> {
  return Array.from(support.targets, (target, i) => ({
    input: image(support.inputs, i),
    label: labels[target]!,
  }));
}

const queriesOf = ({ query }: Task) => Array.from(query.targets, (_, i) => image(query.inputs, i));

async function correct(classifier: Classifier<Name>, task: Task): Promise<number> {
  const predictions = await classifier.predict(queriesOf(task));
  return predictions.filter(({ label }, i) => label === names[task.query.targets[i]!]).length;
}

async function accuracy(options: { ways: number; shots: number; head?: 'fresh' }, tasks: number) {
  let right = 0;
  for (let seed = 0; seed < tasks; seed++) {
    const task = glyphTask(seed, options);
    const classifier = await learner.fit(examplesOf(task), { head: options.head });
    right += await correct(classifier, task);
    await classifier.dispose();
  }
  return right / (tasks * options.ways);
}

test('the shipped glyph weights tell five unseen characters apart', async () => {
  const oneShot = await accuracy({ ways: 5, shots: 1 }, 40);
  const fiveShots = await accuracy({ ways: 5, shots: 5 }, 20);
  assert.ok(oneShot > 0.7 && fiveShots > 0.88, `${oneShot} from 1 example, ${fiveShots} from 5`);
});

test('fewer ways use a part of the head, more ways a fresh one', async () => {
  const two = await accuracy({ ways: 2, shots: 1 }, 30);
  const ten = await accuracy({ ways: 10, shots: 5, head: 'fresh' }, 6);
  assert.ok(two > 0.85 && ten > 0.7, `${two} of 2 ways, ${ten} of 10`);
});

test('predictions are those of Adaptation', async () => {
  const task = glyphTask(1, { shots: 2 });
  const weights = decodeWeights(readFileSync('weights/glyphs-5way.safetensors'), 'glyphs');
  const { model, innerOptimizer } = layoutFor(weights.settings);
  const tasks = fewShotTasks(unseen, { ways: 5 });
  const adaptation = await Adaptation.compile({
    runtime,
    learner: resolveLearner({ tasks, model, innerOptimizer }),
    support: 10,
    query: 5,
    innerSteps: 20,
    innerBatch: 5,
    transductive: false,
  });
  const outputs = await adaptation.predict(task, weights.start, Random.stream(3, 'fit'));
  const classifier = await learner.fit(examplesOf(task), { steps: 20, batch: 5, seed: 3 });
  const predictions = await classifier.predict(queriesOf(task));
  for (const [i, { probabilities }] of predictions.entries()) {
    const powers = Array.from(outputs.subarray(i * 5, i * 5 + 5), Math.exp);
    const total = powers.reduce((a, b) => a + b);
    for (const [j, power] of powers.entries()) {
      const difference = Math.abs(probabilities[names[j]!] - power / total);
      assert.ok(difference < 1e-5, `query ${i}, class ${j}: ${difference}`);
    }
  }
});

test('a prediction is the same bits alone, among others, and after save and load', async () => {
  const task = glyphTask(2);
  const classifier = await learner.fit(examplesOf(task), { steps: 10 });
  const queries = queriesOf(task);
  const together = await classifier.predict(queries);
  assert.deepEqual(await classifier.predict(queries[3]!), together[3]);
  const bytes = classifier.save();
  const again = await loadAdapted<Name>(bytes, { runtime });
  assert.deepEqual(await again.predict(queries), together);
  assert.deepEqual(again.save(), bytes);
  assert.deepEqual(again.labels, classifier.labels);
  for (const { probabilities } of together) {
    const total = Object.values(probabilities).reduce((a, b) => a + b);
    assert.ok(Math.abs(total - 1) < 1e-12);
  }
});

test('other names for the classes are the only difference they make', async () => {
  const task = glyphTask(3);
  const renamed = [...names.slice(2, 5), ...names.slice(0, 2)];
  const first = await (await learner.fit(examplesOf(task), { steps: 10 })).predict(queriesOf(task));
  const second = await (await learner.fit(examplesOf(task, renamed), { steps: 10 })).predict(queriesOf(task));
  for (const [i, { probabilities }] of first.entries()) {
    const others = second[i]!.probabilities;
    for (let j = 0; j < 5; j++) assert.equal(probabilities[names[j]!], others[renamed[j]!]);
  }
});

test('the forms of images and examples agree', async () => {
  const task = glyphTask(4);
  const list = examplesOf(task) as readonly { input: Float32Array; label: Name }[];
  const bytes = (values: Float32Array) => Uint8Array.from(values, (value) => 255 * value);
  const rgba = (values: Float32Array) => ({
    width: 28,
    height: 28,
    data: Uint8ClampedArray.from({ length: 4 * pixels }, (_, i) =>
      i % 4 === 3 ? 255 : 255 * values[i >> 2]!,
    ),
  });
  const [query] = queriesOf(task);
  const expected = await (await learner.fit(list, { steps: 5 })).predict(query!);
  const forms: ClassExamples<Name>[] = [
    list.map(({ input, label }) => ({ input: bytes(input), label })),
    list.map(({ input, label }) => ({ input: rgba(input), label })),
    Object.fromEntries(list.map(({ input, label }) => [label, [input]])) as Record<Name, Float32Array[]>,
  ];
  for (const form of forms) {
    const classifier = await learner.fit(form, { steps: 5 });
    assert.deepEqual(await classifier.predict(rgba(query!)), expected);
  }
});

test('tasks of one size are compiled for once, and one seed gives the same bits', async () => {
  const fitted = async (seed: number) =>
    (await learner.fit(examplesOf(glyphTask(5)), { steps: 6, seed })).save();
  const first = await fitted(0);
  const before = runtime.compilations;
  assert.deepEqual(await fitted(0), first);
  assert.notDeepEqual(await fitted(1), first);
  assert.equal(runtime.compilations, before);
});

test('the same answers in WebAssembly', async () => {
  const web = await webRuntime();
  const task = glyphTask(6);
  const there = await load('glyphs-5way', { runtime: web });
  const options = { steps: 8 };
  const expected = await (await learner.fit(examplesOf(task), options)).predict(queriesOf(task));
  const actual = await (await there.fit(examplesOf(task), options)).predict(queriesOf(task));
  for (const [i, { label, probabilities }] of actual.entries()) {
    assert.equal(label, expected[i]!.label);
    for (const name of names.slice(0, 5)) {
      assert.ok(
        Math.abs(probabilities[name] - expected[i]!.probabilities[name]) < 2e-3,
        `query ${i}: ${name}`,
      );
    }
  }
  await web.dispose();
});

test('a runtime of its own lives as long as the last that uses it', async () => {
  const own = await load('glyphs-5way');
  const task = glyphTask(7);
  const classifier = await own.fit(examplesOf(task), { steps: 1 });
  await own.dispose();
  await assert.rejects(own.fit(examplesOf(task)), /this learner was disposed: load it again/);
  assert.equal((await classifier.predict(queriesOf(task))).length, 5);
  await classifier.dispose();
  await classifier.dispose();
  await assert.rejects(classifier.predict(queriesOf(task)), /was disposed/);
});

test('a prediction that is under way ends well, also where all is disposed meanwhile', async () => {
  const task = glyphTask(8);
  const own = await load('glyphs-5way');
  const classifier = await own.fit(examplesOf(task), { steps: 1 });
  await own.dispose();
  const expected = await classifier.predict(queriesOf(task));
  const again = await loadAdapted(classifier.save());
  const running = again.predict(queriesOf(task)); // still to be compiled
  await Promise.all([again.dispose(), classifier.dispose()]);
  assert.deepEqual(await running, expected);
});

test('shipped weights keep parameters, and second moments in brief', () => {
  const settings = resolveSettings({ task: 'glyphs' });
  const { model, innerOptimizer } = layoutFor(settings);
  const random = Random.stream(0, 'moments');
  const { size } = model.layout;
  // of rank one in every leaf: those come back whole
  const secondMoments = new Float32Array(size);
  for (const { shape, offset } of model.layout.leaves) {
    const columns = shape.length < 2 ? 1 : shape.at(-1)!;
    const count = shape.reduce((a, b) => a * b, 1);
    const across = Array.from({ length: columns }, () => random.uniform(1e-6, 1e-3));
    for (let row = 0; row < count / columns; row++) {
      const down = random.uniform(0.1, 1);
      for (let column = 0; column < columns; column++) {
        secondMoments[offset + row * columns + column] = down * across[column]!;
      }
    }
  }
  const parameters = model.init(random);
  const innerState = { secondMoments, secondMomentsWeight: Float32Array.of(0.75) };
  assert.deepEqual(
    Object.keys(innerState),
    Object.keys(innerOptimizer.state({ dtype: 'float32', shape: [size] })),
  );
  const made = { metaIterations: 3 };
  const bytes = encodeWeights({ settings, start: { parameters, innerState }, made });
  assert.ok(bytes.length < 500_000, `${bytes.length} bytes`);
  const again = decodeWeights(bytes, 'again');
  assert.deepEqual(again.start.parameters, parameters);
  assert.deepEqual([again.settings, again.made], [settings, made]);
  assert.equal(again.start.innerState.secondMomentsWeight![0], 0.75);
  for (const [i, moment] of again.start.innerState.secondMoments!.entries()) {
    assert.ok(Math.abs(moment / secondMoments[i]! - 1) < 1e-5, `${moment} and ${secondMoments[i]}`);
  }
});

test('a sine is fitted to ten points', async () => {
  const settings = resolveSettings({ task: 'sine', given: { metaIterations: 8000 } });
  let state: TrainingState | undefined;
  for await (const progress of metaTrain(trainingOptions(setUp(settings), runtime))) state = progress.state;
  const bytes = encodeWeights({ settings, start: state!, made: {} });
  const sines = await load(bytes, { targets: 'values', runtime });
  const tasks = sineTasks();
  const random = Random.stream(0, 'sines');
  let [before, after] = [0, 0];
  for (let i = 0; i < 20; i++) {
    const { support, query } = tasks.sample(random, { support: 10, query: 50 });
    const points = Array.from(support.inputs, (input, at) => ({ input, target: support.targets[at]! }));
    const error = async (steps: number) => {
      const regressor = await sines.fit(points, { steps });
      const values = await regressor.predict(query.inputs);
      const again = await loadAdapted(regressor.save(), { targets: 'values', runtime });
      assert.deepEqual(await again.predict(query.inputs), values);
      assert.equal(await regressor.predict(query.inputs[7]!), values[7]);
      return values.reduce((total, y, at) => total + (y - query.targets[at]!) ** 2, 0) / values.length;
    };
    before += (await error(0)) / 20;
    after += (await error(32)) / 20;
  }
  assert.ok(after < 0.5 * before && after < 2, `${before} before, ${after} after`);
  await assert.rejects(load(bytes), /fit values .*: in an app, load them with \{ targets: 'values' \}/);
  await assert.rejects(sines.fit([]), /no points: give one or more/);
  await assert.rejects(sines.fit([{ input: 1, target: Number.NaN }]), /point 0: expected finite numbers/);
});

describe('errors say what to do', () => {
  const good = () => [...(examplesOf(glyphTask(8)) as readonly { input: Float32Array; label: Name }[])];
  const refused: Readonly<
    Record<string, readonly [() => Promise<unknown>, RegExp, typeof DataError | typeof OptionError]>
  > = {
    'no examples': [() => learner.fit([]), /no examples: give one or more of every class/, DataError],
    'an empty class': [
      () => learner.fit({ a: [good()[0]!.input], b: [] }),
      /class "b" has no examples/,
      DataError,
    ],
    'one class': [
      () => learner.fit({ a: [good()[0]!.input] }),
      /all examples are of one class, "a": give examples of another/,
      DataError,
    ],
    'too many classes': [
      () => learner.fit(examplesOf(glyphTask(8, { ways: 6 }))),
      /6 classes, but the weights were trained for 5: pass head: 'fresh'/,
      OptionError,
    ],
    'another size': [
      () => learner.fit({ a: [new Float32Array(100)], b: [good()[0]!.input] }),
      /example 0 \("a"\): expected 784 values \[28,28,1\], got 100: resize it, or give it as ImageData/,
      DataError,
    ],
    'not a number': [
      () => learner.fit({ a: [new Float32Array(784).fill(Number.NaN)], b: [good()[0]!.input] }),
      /example 0 \("a"\): expected brightness from 0 to 1, got NaN at 0/,
      DataError,
    ],
    'bytes in floats': [
      () => learner.fit({ a: [new Float32Array(784).fill(255)], b: [good()[0]!.input] }),
      /got 255 at 0: divide by 255, or give a Uint8Array/,
      DataError,
    ],
    'ImageData cut short': [
      () => learner.fit({ a: [{ width: 9, height: 9, data: new Uint8Array(9) }], b: [good()[0]!.input] }),
      /expected RGBA, 4 bytes for each of 9 × 9 pixels, got 9 bytes/,
      DataError,
    ],
    'a large batch': [
      () => learner.fit(good(), { batch: 6 }),
      /batch: expected a whole number from 1 to 5, got 6/,
      OptionError,
    ],
    'half a step': [() => learner.fit(good(), { steps: 0.5 }), /steps: expected a whole number/, OptionError],
    'a missing file': [
      () => learner.fit({ a: ['no.png'], b: [good()[0]!.input] }),
      /no.png: can not be read/,
      DataError,
    ],
    'a wrong name': [() => load('glyphs-5wya'), /did you mean "glyphs-5way"\?/, DataError],
    'no weights': [() => load(new Uint8Array(4)), /not a sound safetensors file/, DataError],
    'the other kind': [() => load('glyphs-5way', { targets: 'values' }), /tell classes apart/, OptionError],
    'weights that are not adapted': [
      () => loadAdapted('glyphs-5way'),
      /expected an adapted model/,
      DataError,
    ],
  };
  for (const [what, [attempt, message, kind]] of Object.entries(refused)) {
    it(what, async () => {
      await assert.rejects(attempt(), (error) => error instanceof kind && message.test(error.message));
    });
  }

  it('adapted where weights are asked for', async () => {
    const bytes = (await learner.fit(good(), { steps: 1 })).save();
    await assert.rejects(
      load(bytes),
      /what was adapted to a task already is for `anole predict`, or loadAdapted/,
    );
    await assert.rejects(loadAdapted(bytes.slice(0, -4)), DataError);
    const damaged = bytes.slice();
    new DataView(damaged.buffer).setFloat32(damaged.length - 4, Number.NaN, true);
    await assert.rejects(loadAdapted(damaged), /expected finite numbers, found NaN/);
  });

  it('stopped before or in between, by the reason of the signal', async () => {
    const reason = new Error('the user went away');
    await assert.rejects(learner.fit(good(), { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    let steps = 0;
    const fitting = learner.fit(good(), {
      signal: controller.signal,
      onProgress: (done) => {
        steps = done;
        controller.abort(reason);
      },
    });
    await assert.rejects(fitting, reason);
    assert.equal(steps, 10);
    const classifier = await learner.fit(good(), { steps: 1 });
    await assert.rejects(classifier.predict([good()[0]!.input], { signal: controller.signal }), reason);
  });

  it('weights without moments', () => {
    const settings = resolveSettings({ task: 'glyphs' });
    const { model } = layoutFor(settings);
    const bytes = encodeWeights({
      settings,
      start: { parameters: model.init(Random.stream(0, 'a')), innerState: {} },
      made: {},
    });
    assert.throws(
      () => decodeWeights(bytes, 'file'),
      /file: tensor "inner\/secondMoments.*": expected .*, found none/,
    );
  });
});
