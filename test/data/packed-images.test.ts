import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../../src/data/crc32.ts';
import { PackedImages } from '../../src/data/packed-images.ts';
import { Random } from '../../src/data/random.ts';
import type { ImageClasses } from '../../src/data/task.ts';
import { DataError } from '../../src/errors.ts';

const classes = [
  { name: 'Greek/character07', count: 3 },
  { name: 'Ge’ez/ä', count: 1 },
];

function packed(white: 1 | 255): PackedImages {
  const random = Random.stream(1, 'packed');
  const pixels = Uint8Array.from({ length: 4 * 5 * 3 }, () => random.integer(white + 1));
  return new PackedImages({ imageShape: [5, 3, 1], classes, pixels, white });
}

function valuesOf(images: ImageClasses): number[] {
  const size = images.imageShape.reduce((product, length) => product * length);
  const values: number[] = [];
  for (let classIndex = 0; classIndex < images.classCount; classIndex++) {
    for (let image = 0; image < images.imageCount(classIndex); image++) {
      const out = new Float32Array(size + 1);
      images.read(classIndex, image, out, 1);
      values.push(...out.subarray(1));
    }
  }
  return values;
}

test('the checksum is the CRC-32 of zip and PNG', () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926); // the check value of its definition
});

for (const white of [1, 255] as const) {
  test(`encode and decode keep names, counts and pixels, white ${white}`, () => {
    const images = packed(white);
    const again = PackedImages.decode(images.encode());
    assert.deepEqual(valuesOf(again), valuesOf(images));
    assert.deepEqual(again.imageShape, [5, 3, 1]);
    assert.deepEqual([again.className(1), again.imageCount(0)], ['Ge’ez/ä', 3]);
    assert.deepEqual(again.encode(), images.encode());
  });
}

test('values are in [0, 1], white is 1', () => {
  const pixels = Uint8Array.from({ length: 256 }, (_, i) => i);
  const grey = new PackedImages({
    imageShape: [16, 16, 1],
    classes: [{ name: 'a', count: 1 }],
    pixels,
    white: 255,
  });
  assert.deepEqual(
    valuesOf(grey),
    Array.from(pixels, (value) => Math.fround(value / 255)),
  );
  assert.deepEqual([...new Set(valuesOf(packed(1)))].sort(), [0, 1]);
});

test('black and white images take a bit a pixel', () => {
  assert.equal(packed(255).encode().length - packed(1).encode().length, 60 - 8 + '255'.length - '1'.length);
});

test('damage anywhere is noticed', () => {
  const bytes = packed(1).encode();
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at]! ^= 0x10;
    assert.throws(() => PackedImages.decode(damaged), DataError, `byte ${at}`);
    assert.throws(() => PackedImages.decode(bytes.subarray(0, at)), DataError, `cut at ${at}`);
  }
});

test('what does not fit or does not exist is named', () => {
  const pixels = new Uint8Array(59);
  assert.throws(
    () => new PackedImages({ imageShape: [5, 3, 1], classes, pixels, white: 1 }),
    /4 images of 5x3x1 need 60 bytes, got 59/,
  );
  const out = new Float32Array(15);
  assert.throws(() => packed(1).read(0, 3, out, 0), /"Greek\/character07" has images 0 to 2, but image 3/);
  assert.throws(() => packed(1).className(2), /no class 2: there are 2/);
});
