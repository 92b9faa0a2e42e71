/** Pictures of any size as inputs: means of what each pixel covers, gray of the same luminance, paper behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from 'fast-png';
import { writeImage } from '../../src/app/pixels.ts';
import { imageDecoder } from '../../src/data/decode-images.ts';

function picture(width: number, height: number, color: (x: number, y: number) => readonly number[]) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) data.set(color(x, y), 4 * (y * width + x));
  }
  return { width, height, data };
}

function written(image: Parameters<typeof writeImage>[0], shape: readonly number[]): number[] {
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1) + 2).fill(9);
  writeImage(image, shape, out, 1, 'test');
  assert.deepEqual([out[0], out.at(-1)], [9, 9]); // nothing beside it
  return [...out.subarray(1, -1)].map((value) => Math.round(value * 1e5) / 1e5);
}

test('smaller pixels are means of those they cover', () => {
  const stripes = picture(4, 2, (x) =>
    [255, 255, 255, x % 2 === 0 ? 255 : 255].map((v, i) => (i < 3 && x < 1 ? 0 : v)),
  );
  assert.deepEqual(written(stripes, [1, 2, 1]), [0.5, 1]);
  const thirds = picture(3, 1, (x) => (x === 1 ? [0, 0, 0, 255] : [255, 255, 255, 255]));
  assert.deepEqual(written(thirds, [1, 2, 1]), [0.66667, 0.66667]);
});

test('an even picture stays even, larger or smaller', () => {
  const even = picture(5, 7, () => [51, 51, 51, 255]);
  for (const shape of [
    [28, 28, 1],
    [2, 3, 1],
    [7, 5, 1],
  ]) {
    assert.ok(written(even, shape).every((value) => value === 0.2));
  }
});

test('colours, gray and transparency', () => {
  const half = picture(1, 1, () => [0, 0, 0, 51]);
  assert.deepEqual(written(half, [1, 1, 1]), [0.8]);
  const red = picture(1, 1, () => [255, 0, 0, 255]);
  assert.deepEqual(written(red, [1, 1, 3]), [1, 0, 0]);
});

test('gray and transparency are those of files decoded in Node', async () => {
  const colors = [
    [255, 0, 0, 255],
    [0, 255, 0, 255],
    [10, 200, 90, 255],
    [2, 0, 9, 255],
    [90, 60, 20, 128],
    [77, 77, 77, 30],
  ];
  const image = picture(colors.length, 1, (x) => colors[x]!);
  const bytes = encode({ ...image, data: new Uint8Array(image.data), depth: 8, channels: 4 });
  for (const channels of [1, 3]) {
    const decode = await imageDecoder([1, colors.length, channels]);
    const expected = await decode(bytes);
    for (const [i, value] of written(image, [1, colors.length, channels]).entries()) {
      // Files are rounded to bytes, after the flattening and after the gray.
      assert.ok(Math.abs(255 * value - expected[i]!) <= 1.5, `${i}: ${255 * value}, not ${expected[i]}`);
    }
  }
});
