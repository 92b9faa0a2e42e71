import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fewShotTasks } from '../../src/data/few-shot.ts';
import { glyphs, glyphsSplit } from '../../src/data/glyphs.ts';
import { Random } from '../../src/data/random.ts';
import type { ImageClasses } from '../../src/data/task.ts';
import { OptionError } from '../../src/errors.ts';

function imageOf(images: ImageClasses, classIndex: number, image: number): Float32Array {
  const out = new Float32Array(784);
  images.read(classIndex, image, out, 0);
  return out;
}

test('an image depends on its seed, class and drawing alone', () => {
  const [forwards, backwards] = [glyphs({ seed: 7 }), glyphs({ seed: 7, classes: 30, drawings: 5 })];
  const first = Array.from({ length: 30 }, (_, i) => imageOf(forwards, i, i % 5));
  for (let i = 29; i >= 0; i--) assert.deepEqual(imageOf(backwards, i, i % 5), first[i]);
  assert.notDeepEqual(imageOf(glyphs({ seed: 8 }), 0, 0), first[0]);
});

test('the glyphs stay the glyphs: changing how they are drawn makes old results incomparable', () => {
  const image = imageOf(glyphs({ seed: 0 }), 407, 0);
  const rows = Array.from({ length: 28 }, (_, row) =>
    Array.from(image.subarray(28 * row, 28 * row + 28), (value) => (value === 0 ? '#' : '.')).join(''),
  );
  assert.deepEqual(rows.slice(8, 17), [
    '..........#####.............',
    '.........##...##............',
    '........##.....#............',
    '.........#.....##...#.......',
    '.........##.....#..##.......',
    '..........##....####........',
    '...........##...###.........',
    '.........#..#...###.........',
    '........##########..........',
  ]);
});

test('images are ink 0 on paper 1, with the ink of Omniglot', () => {
  const images = glyphs({ classes: 200 });
  let ink = 0;
  for (let i = 0; i < 200; i++) {
    const values = imageOf(images, i, i % 20);
    assert.ok(values.every((value) => value === 0 || value === 1));
    const inked = values.filter((value) => value === 0).length;
    assert.ok(inked > 10 && inked < 200, `class ${i} has ${inked} inked pixels`);
    ink += inked / 200;
  }
  assert.ok(ink > 45 && ink < 70, `${ink} inked pixels on average; Omniglot has 61`);
});

test('no two classes and no two drawings are the same image', () => {
  const images = glyphs({ classes: 300, drawings: 5 });
  const seen = new Set<string>();
  for (let i = 0; i < 1500; i++) seen.add(imageOf(images, i % 300, Math.floor(i / 300)).join(''));
  assert.equal(seen.size, 1500);
});

test('drawings of a class are more alike than drawings of others', () => {
  // nearest neighbour in pixels, 5-way 1-shot: chance is 0.2; Omniglot's test characters give 0.38
  const source = fewShotTasks(glyphsSplit(0).test, { ways: 5 });
  const random = Random.stream(1, 'nearest');
  let right = 0;
  for (let draw = 0; draw < 100; draw++) {
    const { support, query } = source.sample(random, { support: 1, query: 1 });
    for (let q = 0; q < 5; q++) {
      const distances = Array.from(support.targets, (_, s) => {
        let distance = 0;
        for (let i = 0; i < 784; i++)
          distance += Math.abs(support.inputs[784 * s + i]! - query.inputs[784 * q + i]!);
        return distance;
      });
      if (support.targets[distances.indexOf(Math.min(...distances))] === query.targets[q]) right++;
    }
  }
  assert.ok(right / 500 > 0.33 && right / 500 < 0.55, `accuracy ${right / 500}`);
});

test('train and test share no character', () => {
  const { train, test } = glyphsSplit(3);
  assert.deepEqual([train.classCount, test.classCount], [1000, 200]);
  assert.deepEqual([train.className(999), test.className(0)], ['glyph 999', 'glyph 1000']);
});

test('bad counts are named', () => {
  assert.throws(() => glyphs({ classes: 0 }), OptionError);
  assert.throws(
    () => glyphs({ drawings: 1.5 }),
    /glyphs: drawings: expected a whole number from 1 on, got 1.5/,
  );
});
