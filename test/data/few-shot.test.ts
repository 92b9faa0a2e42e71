import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fewShotTasks, selectClasses, splitClasses, withRotations } from '../../src/data/few-shot.ts';
import { Random } from '../../src/data/random.ts';
import type { ImageClasses } from '../../src/data/task.ts';
import { DataError, OptionError } from '../../src/errors.ts';

/** Images of `shape` whose every value is 100·class + image + its position/1000. */
function numbered(
  classCount: number,
  images: number,
  imageShape: [number, number, number] = [2, 2, 1],
): ImageClasses {
  const size = imageShape[0] * imageShape[1] * imageShape[2];
  return {
    imageShape,
    classCount,
    className: (classIndex) => `class ${classIndex}`,
    imageCount: () => images,
    read: (classIndex, imageIndex, out, offset) => {
      for (let i = 0; i < size; i++) out[offset + i] = 100 * classIndex + imageIndex + i / 1000;
    },
  };
}

/** Which images a set holds, as `100·class + image`, in order. */
function imagesOf(set: { count: number; inputs: Float32Array }): number[] {
  return Array.from({ length: set.count }, (_, i) => set.inputs[i * 4]!);
}

test('a task has different classes and images, and support and query share none', () => {
  const source = fewShotTasks(numbered(9, 20), { ways: 5 });
  const random = Random.stream(1, 'few-shot');
  for (let draw = 0; draw < 300; draw++) {
    const { support, query } = source.sample(random, { support: 15, query: 5 });
    assert.deepEqual([support.count, query.count], [75, 25]);
    const images = [...imagesOf(support), ...imagesOf(query)];
    assert.equal(new Set(images).size, 100);
    const classOfLabel = new Map<number, number>();
    for (const set of [support, query]) {
      for (const [i, image] of imagesOf(set).entries()) {
        const label = set.targets[i]!;
        const known = classOfLabel.get(label) ?? Math.floor(image / 100);
        assert.equal(Math.floor(image / 100), known, 'a label means one class');
        classOfLabel.set(label, known);
      }
    }
    assert.deepEqual([...classOfLabel.keys()].sort(), [0, 1, 2, 3, 4]);
    assert.equal(new Set(classOfLabel.values()).size, 5);
  }
});

test('classes are labelled in random order, and every class and image is drawn', () => {
  const source = fewShotTasks(numbered(3, 4), { ways: 3 });
  const random = Random.stream(2, 'few-shot');
  const seen = new Map<string, number>();
  for (let draw = 0; draw < 1200; draw++) {
    const { support } = source.sample(random, { support: 1, query: 0 });
    for (const [i, image] of imagesOf(support).entries()) {
      const key = `image ${image} as ${support.targets[i]}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
  }
  assert.equal(seen.size, 3 * 4 * 3);
  for (const [key, count] of seen) assert.ok(Math.abs(count - 100) < 50, `${key} came ${count} times`);
});

test('every value of an image is read to its place', () => {
  const { support } = fewShotTasks(numbered(2, 3), { ways: 2 }).sample(Random.stream(3, 'few-shot'), {
    support: 3,
    query: 0,
  });
  const images = numbered(2, 3);
  for (const [i, image] of imagesOf(support).entries()) {
    const expected = new Float32Array(4);
    images.read(Math.floor(image / 100), image % 100, expected, 0);
    assert.deepEqual(support.inputs.subarray(4 * i, 4 * i + 4), expected);
  }
});

test('the same stream state draws the same task', () => {
  const source = fewShotTasks(numbered(9, 20), { ways: 5 });
  const random = Random.stream(4, 'few-shot');
  const state = random.state;
  const task = source.sample(random, { support: 5, query: 1 });
  assert.deepEqual(source.sample(Random.fromState(state), { support: 5, query: 1 }), task);
  assert.notDeepEqual(source.sample(random, { support: 5, query: 1 }), task);
});

test('bad options and sizes are named', () => {
  const random = Random.stream(5, 'few-shot');
  assert.throws(() => fewShotTasks(numbered(3, 4), { ways: 1 }), OptionError);
  assert.throws(() => fewShotTasks(numbered(3, 4), { ways: 5 }), /5 ways need 5 classes, but there are 3/);
  const source = fewShotTasks(numbered(3, 20), { ways: 3 });
  assert.throws(() => source.sample(random, { support: 0, query: 1 }), OptionError);
  assert.throws(() => source.sample(random, { support: 1.5, query: 1 }), OptionError);
  assert.throws(
    () => source.sample(random, { support: 15, query: 10 }),
    (error: Error) =>
      error instanceof DataError &&
      /^class "class \d" has 20 images, but 15 support \+ 10 query needs 25: lower the shots$/.test(
        error.message,
      ),
  );
});

test('selected classes are read from where they are, and none is chosen twice', () => {
  const chosen = selectClasses(numbered(9, 2), [7, 2]);
  const out = new Float32Array(4);
  chosen.read(0, 1, out, 0);
  assert.equal(out[0], 701);
  assert.deepEqual([chosen.classCount, chosen.className(1)], [2, 'class 2']);
  assert.throws(() => selectClasses(numbered(9, 2), [1, 9]), /no class 9, there are 9/);
  assert.throws(() => selectClasses(numbered(9, 2), [1, 1]), /class 1 is chosen twice/);
});

test('a split parts all classes, by the seed', () => {
  const names = (images: ImageClasses) =>
    Array.from({ length: images.classCount }, (_, i) => images.className(i));
  const { train, test } = splitClasses(numbered(50, 1), { train: 30, seed: 1 });
  assert.deepEqual([train.classCount, test.classCount], [30, 20]);
  assert.equal(new Set([...names(train), ...names(test)]).size, 50);
  assert.deepEqual(names(splitClasses(numbered(50, 1), { train: 30, seed: 1 }).train), names(train));
  assert.notDeepEqual(names(splitClasses(numbered(50, 1), { train: 30, seed: 2 }).train), names(train));
  assert.throws(() => splitClasses(numbered(5, 1), { train: 5, seed: 1 }), OptionError);
});

test('rotations are quarter turns counterclockwise, each a class of its own', () => {
  const upright: ImageClasses = {
    ...numbered(2, 1, [3, 3, 2]),
    // channel 0 counts 1 … 9 along the rows, channel 1 is its negative
    read: (classIndex, _, out, offset) => {
      for (let i = 0; i < 9; i++)
        out.set([10 * classIndex + i + 1, -(10 * classIndex + i + 1)], offset + 2 * i);
    },
  };
  const rotated = withRotations(upright);
  assert.equal(rotated.classCount, 8);
  assert.equal(rotated.className(4), 'class 1');
  assert.equal(rotated.className(7), 'class 1 rotated 270°');
  const read = (classIndex: number) => {
    const out = new Float32Array(20); // one value of margin on both sides
    rotated.read(classIndex, 0, out, 1);
    assert.deepEqual([out[0], out[19]], [0, 0]);
    for (let i = 0; i < 9; i++) assert.equal(out[2 + 2 * i], -out[1 + 2 * i]!, 'channels stay together');
    return Array.from({ length: 9 }, (_, i) => out[1 + 2 * i]);
  };
  assert.deepEqual(read(0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(read(1), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
  assert.deepEqual(read(2), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
  assert.deepEqual(read(3), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
  assert.deepEqual(read(5), [13, 16, 19, 12, 15, 18, 11, 14, 17]);
  assert.throws(() => withRotations(numbered(1, 1, [2, 3, 1])), /must be square, got 2x3/);
});
