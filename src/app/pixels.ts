/**
 * What an app has at hand (typed arrays, `ImageData`, decoded files) as the inputs a model takes: float32 in
 * [0, 1], row-major [height, width, channels], 1 for white paper and 0 for black ink.
 */
import { DataError } from '../errors.ts';
import { type Shape, size } from '../graph/type.ts';

/** A picture of any size, RGBA, 8 bits each: what `ImageData` is. */
export interface PixelImage {
  readonly width: number;
  readonly height: number;
  /** [height, width, 4]. Transparency shows white paper. */
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** An image that is in memory. */
export type RawImage = Float32Array | Uint8Array | Uint8ClampedArray | PixelImage;

/**
 * One image, in any of these forms. The ink is dark on light paper: turn light strokes on a dark ground
 * around first.
 *
 * - `Float32Array` of [height, width, channels] as the model takes it, each value in [0, 1];
 * - `Uint8Array` or `Uint8ClampedArray` of the same shape, 0 … 255;
 * - `ImageData`, or any `{ width, height, data }` of RGBA bytes: stretched to the model's size by averaging,
 *   turned gray of the same luminance where the model has one channel, transparency on white;
 * - in Node the path (or address) of a JPEG, PNG or WebP file, read as `imageFolder` reads them; in browsers the
 *   address of an image, decoded and then taken as `ImageData`; of a `File` or `Blob`, `URL.createObjectURL` of it.
 */
export type ImageInput = RawImage | string | URL;

/**
 * Writes one image into `out` [height, width, channels] at `offset`.
 * @param where starts messages, such as `fit: example 3 ("cat")`
 * @throws {DataError} when it has another size, or values that are no brightness
 */
export function writeImage(
  image: RawImage,
  shape: Shape,
  out: Float32Array,
  offset: number,
  where: string,
): void {
  if (image instanceof Float32Array) {
    requireLength(image, shape, where);
    const bad = image.findIndex((value) => !(value >= 0 && value <= 1));
    if (bad >= 0) {
      const remedy = image[bad]! > 1 ? 'divide by 255, or give a Uint8Array' : 'see what made it';
      throw new DataError(
        `${where}: expected brightness from 0 to 1, got ${image[bad]} at ${bad}: ${remedy}`,
      );
    }
    out.set(image, offset);
  } else if (image instanceof Uint8Array || image instanceof Uint8ClampedArray) {
    requireLength(image, shape, where);
    for (let i = 0; i < image.length; i++) out[offset + i] = image[i]! / 255;
  } else {
    const { width, height, data } = requirePicture(image, where);
    const [rows, columns, channels] = shape as [number, number, number];
    const colours = stretch(onPaper(data), [height, width, 3], [rows, columns]);
    out.set(channels === 1 ? luminance(colours) : colours, offset);
  }
}

function requireLength(image: { readonly length: number }, shape: Shape, where: string): void {
  if (image.length === size(shape)) return;
  throw new DataError(
    `${where}: expected ${size(shape)} values [${shape}], got ${image.length}: ` +
      'resize it, or give it as ImageData, which is resized for you',
  );
}

function requirePicture(image: PixelImage, where: string): PixelImage {
  const { width, height, data } = (image ?? {}) as Partial<PixelImage>;
  if (!(data instanceof Uint8Array || data instanceof Uint8ClampedArray)) {
    throw new DataError(
      `${where}: expected a Float32Array, a Uint8Array, ImageData or a path, got ${describe(image)}`,
    );
  }
  const isSize = (value: unknown) => Number.isSafeInteger(value) && Number(value) > 0;
  if (!isSize(width) || !isSize(height) || data.length !== 4 * width! * height!) {
    throw new DataError(
      `${where}: expected RGBA, 4 bytes for each of ${width} × ${height} pixels, got ${data.length} bytes`,
    );
  }
  return image;
}

function describe(value: unknown): string {
  return typeof value === 'object' && value !== null ? `a ${value.constructor?.name}` : String(value);
}

/** RGBA bytes on white paper → float32 [pixels, 3]. */
function onPaper(data: Uint8Array | Uint8ClampedArray): Float32Array {
  const pixels = data.length / 4;
  const out = new Float32Array(pixels * 3);
  for (let i = 0; i < pixels; i++) {
    const cover = data[4 * i + 3]! / 255;
    for (let c = 0; c < 3; c++) out[3 * i + c] = 1 - cover + cover * (data[4 * i + c]! / 255);
  }
  return out;
}

/** [pixels, 3] → [pixels]: the gray that sends out as much light (Rec. 709), as `imageFolder` makes it of files. */
function luminance(colours: Float32Array): Float32Array {
  return Float32Array.from({ length: colours.length / 3 }, (_, i) => {
    const [red, green, blue] = colours.subarray(3 * i, 3 * i + 3) as unknown as [number, number, number];
    if (red === green && green === blue) return red;
    const light = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    return light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055; // sRGB
  });
}

/** sRGB's value as light. */
function linear(value: number): number {
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}

/** Stretches [height, width, channels] to [rows, columns, channels], one axis after the other. */
function stretch(
  image: Float32Array,
  [height, width, channels]: readonly [number, number, number],
  [rows, columns]: readonly [number, number],
): Float32Array {
  const narrowed = resample(image, { outer: height, from: width, to: columns, inner: channels });
  return resample(narrowed, { outer: 1, from: height, to: rows, inner: columns * channels });
}

interface Axis {
  /** Elements before, along (from → to) and after the axis. */
  readonly outer: number;
  readonly from: number;
  readonly to: number;
  readonly inner: number;
}

/** Means over the stretch of source pixels that each pixel covers; between pixels where it is enlarged. */
function resample(image: Float32Array, { outer, from, to, inner }: Axis): Float32Array {
  if (from === to) return image;
  const out = new Float32Array(outer * to * inner);
  const scale = from / to;
  const reach = Math.max(scale, 1) / 2; // half of the stretch
  for (let target = 0; target < to; target++) {
    const center = (target + 0.5) * scale;
    const [start, end] = [Math.max(0, center - reach), Math.min(from, center + reach)];
    for (let source = Math.floor(start); source < end; source++) {
      const weight = (Math.min(end, source + 1) - Math.max(start, source)) / (end - start);
      for (let before = 0; before < outer; before++) {
        const read = (before * from + source) * inner;
        const write = (before * to + target) * inner;
        for (let i = 0; i < inner; i++) out[write + i]! += weight * image[read + i]!;
      }
    }
  }
  return out;
}
