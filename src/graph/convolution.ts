/**
 * 2-d convolution (NHWC inputs, [height, width, in, out] filters, cross-correlation as in every deep
 * learning library) and pooling. Convolution is bilinear, so three operators close it under
 * differentiation: each one's gradients are the other two.
 */
import { ShapeError } from '../errors.ts';
import { add, div, maximum } from './elementwise.ts';
import { gather } from './linear.ts';
import { requireFloat } from './reductions.ts';
import { broadcastTo, concat, pad, reshape } from './shaping.ts';
import { apply, constant, type Padding2d, type RulesOf, type Tensor } from './tensor.ts';
import { arrayOf, formatType, isFloat, type Shape, sameShape, size, type TensorType } from './type.ts';

interface Geometry {
  strides: readonly [number, number];
  padding: Padding2d;
}

/** Output length of one spatial axis. */
function outputLength(
  length: number,
  kernel: number,
  stride: number,
  padding: readonly [number, number],
): number {
  return Math.floor((length + padding[0] + padding[1] - kernel) / stride) + 1;
}

/**
 * Visits every (input pixel, filter tap, output pixel) that meet, with the offsets of their channels.
 * x [..., N, H, W, C], w [..., kh, kw, C, F], y [..., N, H', W', F], all with the same leading axes.
 */
function forEachMeeting(
  { strides, padding }: Geometry,
  x: Shape,
  w: Shape,
  y: Shape,
  visit: (x: number, w: number, y: number) => void,
): void {
  const [batch, height, width, channels] = x.slice(-4) as [number, number, number, number];
  const [kernelHeight, kernelWidth] = w.slice(-4) as [number, number];
  const [outHeight, outWidth, filters] = y.slice(-3) as [number, number, number];
  const tapSize = channels * filters;
  for (let image = 0; image < size(x.slice(0, -3)); image++) {
    const filterStart = Math.floor(image / batch) * kernelHeight * kernelWidth * tapSize;
    for (let outRow = 0; outRow < outHeight; outRow++) {
      for (let outColumn = 0; outColumn < outWidth; outColumn++) {
        const yStart = ((image * outHeight + outRow) * outWidth + outColumn) * filters;
        for (let tapRow = 0; tapRow < kernelHeight; tapRow++) {
          const row = outRow * strides[0] - padding[0][0] + tapRow;
          if (row < 0 || row >= height) continue;
          for (let tapColumn = 0; tapColumn < kernelWidth; tapColumn++) {
            const column = outColumn * strides[1] - padding[1][0] + tapColumn;
            if (column < 0 || column >= width) continue;
            const xStart = ((image * height + row) * width + column) * channels;
            visit(xStart, filterStart + (tapRow * kernelWidth + tapColumn) * tapSize, yStart);
          }
        }
      }
    }
  }
}

function requireConvolution(where: string, a: TensorType, b: TensorType): void {
  if (!isFloat(a.dtype) || a.dtype !== b.dtype || a.shape.length < 4 || a.shape.length !== b.shape.length) {
    throw new ShapeError(
      `${where}: expected float images [N,H,W,C] and filters [kh,kw,C,F], got ${formatType(a)} and ${formatType(b)}`,
    );
  }
  if (!sameShape(a.shape.slice(0, -4), b.shape.slice(0, -4))) {
    throw new ShapeError(`${where}: leading axes differ, got ${formatType(a)} and ${formatType(b)}`);
  }
}

export const convolution: RulesOf<'conv2d' | 'conv2dInputGradient' | 'conv2dFilterGradient'> = {
  conv2d: {
    infer([x, w], { strides, padding }) {
      requireConvolution('conv2d', x!, w!);
      const [batch, height, width, channels] = x!.shape.slice(-4) as [number, number, number, number];
      const [kernelHeight, kernelWidth, inputs, filters] = w!.shape.slice(-4) as [
        number,
        number,
        number,
        number,
      ];
      if (channels !== inputs) {
        throw new ShapeError(
          `conv2d: channels differ, got images ${formatType(x!)} and filters ${formatType(w!)} (${channels} ≠ ${inputs})`,
        );
      }
      const outHeight = outputLength(height, kernelHeight, strides[0], padding[0]);
      const outWidth = outputLength(width, kernelWidth, strides[1], padding[1]);
      if (outHeight < 1 || outWidth < 1) {
        throw new ShapeError(
          `conv2d: the filter ${formatType(w!)} is larger than the padded images ${formatType(x!)}`,
        );
      }
      return { dtype: x!.dtype, shape: [...x!.shape.slice(0, -4), batch, outHeight, outWidth, filters] };
    },
    gradient(node, g) {
      const [x, w] = node.inputs as [Tensor, Tensor];
      return [inputGradient(g, w, node.attributes, x.shape), filterGradient(x, g, node.attributes, w.shape)];
    },
    evaluate([x, w], attributes, out) {
      const channels = x!.shape.at(-1)!;
      const filters = w!.shape.at(-1)!;
      const sums = new Float64Array(out.data.length);
      forEachMeeting(attributes, x!.shape, w!.shape, out.shape, (xStart, wStart, yStart) => {
        for (let c = 0; c < channels; c++) {
          for (let f = 0; f < filters; f++) {
            sums[yStart + f]! += x!.data[xStart + c]! * w!.data[wStart + c * filters + f]!;
          }
        }
      });
      out.data.set(sums);
    },
  },
  conv2dInputGradient: {
    infer([g, w], { inputSize }) {
      requireConvolution('conv2dInputGradient', g!, w!);
      return { dtype: g!.dtype, shape: [...g!.shape.slice(0, -3), ...inputSize, w!.shape.at(-2)!] };
    },
    gradient(node, h) {
      const [g, w] = node.inputs as [Tensor, Tensor];
      return [plainConvolution(h, w, node.attributes), filterGradient(h, g, node.attributes, w.shape)];
    },
    evaluate([g, w], attributes, out) {
      const channels = out.shape.at(-1)!;
      const filters = w!.shape.at(-1)!;
      const sums = new Float64Array(out.data.length);
      forEachMeeting(attributes, out.shape, w!.shape, g!.shape, (xStart, wStart, yStart) => {
        for (let c = 0; c < channels; c++) {
          for (let f = 0; f < filters; f++) {
            sums[xStart + c]! += g!.data[yStart + f]! * w!.data[wStart + c * filters + f]!;
          }
        }
      });
      out.data.set(sums);
    },
  },
  conv2dFilterGradient: {
    infer([x, g], { kernelSize }) {
      requireConvolution('conv2dFilterGradient', x!, g!);
      return {
        dtype: x!.dtype,
        shape: [...x!.shape.slice(0, -4), ...kernelSize, x!.shape.at(-1)!, g!.shape.at(-1)!],
      };
    },
    gradient(node, h) {
      const [x, g] = node.inputs as [Tensor, Tensor];
      return [inputGradient(g, h, node.attributes, x.shape), plainConvolution(x, h, node.attributes)];
    },
    evaluate([x, g], attributes, out) {
      const channels = x!.shape.at(-1)!;
      const filters = g!.shape.at(-1)!;
      const sums = new Float64Array(out.data.length);
      forEachMeeting(attributes, x!.shape, out.shape, g!.shape, (xStart, wStart, yStart) => {
        for (let c = 0; c < channels; c++) {
          for (let f = 0; f < filters; f++) {
            sums[wStart + c * filters + f]! += x!.data[xStart + c]! * g!.data[yStart + f]!;
          }
        }
      });
      out.data.set(sums);
    },
  },
};

function plainConvolution(x: Tensor, w: Tensor, { strides, padding }: Geometry): Tensor {
  return apply('conv2d', convolution.conv2d, [x, w], { strides, padding });
}

function inputGradient(g: Tensor, w: Tensor, { strides, padding }: Geometry, input: Shape): Tensor {
  const inputSize = input.slice(-3, -1) as [number, number];
  return apply('conv2dInputGradient', convolution.conv2dInputGradient, [g, w], {
    strides,
    padding,
    inputSize,
  });
}

function filterGradient(x: Tensor, g: Tensor, { strides, padding }: Geometry, filter: Shape): Tensor {
  const kernelSize = filter.slice(-4, -2) as [number, number];
  return apply('conv2dFilterGradient', convolution.conv2dFilterGradient, [x, g], {
    strides,
    padding,
    kernelSize,
  });
}

export interface WindowOptions {
  /** Step between windows, one number for both axes. @default 1 for conv2d, the window's size for pooling */
  stride?: number;
  /**
   * `same`: as many outputs as ⌈length / stride⌉, padding shared before and after with the odd one after
   * (TensorFlow's rule); `valid`: none. @default 'same'
   */
  padding?: 'same' | 'valid';
}

function requireWhole(where: string, what: string, length: number): void {
  if (!Number.isInteger(length) || length < 1) {
    throw new ShapeError(`${where}: expected ${what} of whole pixels from 1 on, got ${length}`);
  }
}

function resolvePadding(
  padding: 'same' | 'valid',
  lengths: readonly [number, number],
  kernel: readonly [number, number],
  stride: number,
): Padding2d {
  const sides = (axis: 0 | 1): [number, number] => {
    if (padding === 'valid') return [0, 0];
    const outputs = Math.ceil(lengths[axis] / stride);
    const total = Math.max((outputs - 1) * stride + kernel[axis] - lengths[axis], 0);
    return [Math.floor(total / 2), Math.ceil(total / 2)];
  };
  return [sides(0), sides(1)];
}

/**
 * Convolution of images x [..., N, H, W, C] with filters w [kh, kw, C, F] → [..., N, H', W', F]. Filters
 * with the leading axes of x give every leading entry its own.
 */
export function conv2d(x: Tensor, w: Tensor, options: WindowOptions = {}): Tensor {
  const { stride = 1, padding = 'same' } = options;
  requireWhole('conv2d', 'a stride', stride);
  const geometry: Geometry = {
    strides: [stride, stride],
    padding: resolvePadding(
      padding,
      x.shape.slice(-3, -1) as [number, number],
      w.shape.slice(-4, -2) as [number, number],
      stride,
    ),
  };
  if (w.rank > 4 || x.rank <= 4) return plainConvolution(x, w, geometry);
  const merged = plainConvolution(reshape(x, [-1, ...x.shape.slice(-3)]), w, geometry);
  return reshape(merged, [...x.shape.slice(0, -3), ...merged.shape.slice(1)]);
}

export interface PatchOptions extends WindowOptions {
  /** End every patch with a 1, so that a product with it can add a shift. @default false */
  one?: boolean;
}

/**
 * The patches a convolution sees: images [..., N, H, W, C] → [..., N, H', W', kernel²·C], each patch in the
 * order of a filter's [kernel, kernel, C]: one look-up in the images' pixels, by a constant table.
 */
export function patches2d(x: Tensor, kernel: number, options: PatchOptions = {}): Tensor {
  return patchesByPlace2d(x, kernel, { ...options, window: 1 })[0]!;
}

/**
 * The same patches parted by their place in the squares of `window` × `window` outputs that a pooling goes
 * over: `window²` tensors [..., N, H' / window, W' / window, kernel²·C].
 * @throws {ShapeError} when the outputs are no whole number of windows
 */
export function patchesByPlace2d(
  x: Tensor,
  kernel: number,
  options: PatchOptions & { window: number },
): Tensor[] {
  const { stride = 1, padding = 'same', one = false, window } = options;
  requireWhole('patches2d', 'a stride', stride);
  requireWhole('patches2d', 'a kernel', kernel);
  requireWhole('patches2d', 'a window', window);
  const [height, width, channels] = x.shape.slice(-3) as [number, number, number];
  const [rows, columns] = resolvePadding(padding, [height, width], [kernel, kernel], stride);
  const outHeight = outputLength(height, kernel, stride, rows);
  const outWidth = outputLength(width, kernel, stride, columns);
  if (outHeight < 1 || outWidth < 1) {
    throw new ShapeError(
      `patches2d: patches of ${kernel}x${kernel} are larger than the images ${formatType(x)}: use padding "same"`,
    );
  }
  if (outHeight % window !== 0 || outWidth % window !== 0) {
    throw new ShapeError(
      `patches2d: ${outHeight}x${outWidth} patches can not be parted in windows of ${window}`,
    );
  }
  const pixels = height * width * channels;
  const patch = (outRow: number, outColumn: number): number[] => {
    const taps = Array.from({ length: kernel * kernel }, (_, tap) => {
      const row = outRow * stride - rows[0] + Math.floor(tap / kernel);
      const column = outColumn * stride - columns[0] + (tap % kernel);
      const inside = row >= 0 && row < height && column >= 0 && column < width;
      const first = (row * width + column) * channels;
      return Array.from({ length: channels }, (_, channel) => (inside ? first + channel : pixels));
    });
    return one ? [...taps.flat(), pixels + 1] : taps.flat();
  };
  const lead = x.shape.slice(0, -3);
  // Behind the pixels stand a 0, for the padding, and a 1.
  const beside = broadcastTo(constant({ dtype: x.dtype, shape: [2] }, arrayOf(x.dtype, 2).fill(1, 1)), [
    ...lead,
    2,
  ]);
  const complete = concat([reshape(x, [...lead, pixels]), beside], -1);
  const length = kernel * kernel * channels + Number(one);
  const [placeRows, placeColumns] = [outHeight / window, outWidth / window];
  return Array.from({ length: window * window }, (_, place) => {
    const table: number[] = [];
    for (let row = Math.floor(place / window); row < outHeight; row += window) {
      for (let column = place % window; column < outWidth; column += window)
        table.push(...patch(row, column));
    }
    return reshape(lookUp(complete, table, -1), [...lead, placeRows, placeColumns, length]);
  });
}

/** `gather` by a constant table. */
function lookUp(x: Tensor, table: readonly number[], axis: number): Tensor {
  return gather(x, constant({ dtype: 'int32', shape: [table.length] }, Int32Array.from(table)), axis);
}

/** The elements at each place of a pooling window: `window²` tensors of the output's shape. */
function windowParts(x: Tensor, window: number, options: WindowOptions, fill: number): Tensor[] {
  if (x.rank < 3) throw new ShapeError(`pooling: expected images [...,H,W,C], got ${formatType(x)}`);
  requireFloat('pooling', x);
  const { stride = window, padding = 'same' } = options;
  requireWhole('pooling', 'a window', window);
  requireWhole('pooling', 'a stride', stride);
  const lead = x.rank - 3;
  const [height, width, channels] = x.shape.slice(-3) as [number, number, number];
  const [rows, columns] = resolvePadding(padding, [height, width], [window, window], stride);
  if (padding === 'valid' && window > Math.min(height, width)) {
    throw new ShapeError(
      `pooling: a window of ${window} is larger than the images ${formatType(x)}: use padding "same"`,
    );
  }
  const around = (side: 0 | 1) => [...new Array<number>(lead).fill(0), rows[side], columns[side], 0];
  const isPadded = [...rows, ...columns].some((length) => length > 0);
  const padded = isPadded ? pad(x, { low: around(0), high: around(1), value: fill }) : x;
  const outHeight = outputLength(height, window, stride, rows);
  const outWidth = outputLength(width, window, stride, columns);
  const [paddedHeight, paddedWidth] = padded.shape.slice(-3) as [number, number];
  const pixels = reshape(padded, [...x.shape.slice(0, lead), paddedHeight * paddedWidth, channels]);
  return Array.from({ length: window * window }, (_, place) => {
    const table: number[] = [];
    for (let row = 0; row < outHeight; row++) {
      for (let column = 0; column < outWidth; column++) {
        const from = row * stride + Math.floor(place / window);
        table.push(from * paddedWidth + column * stride + (place % window));
      }
    }
    return reshape(lookUp(pixels, table, -2), [...x.shape.slice(0, lead), outHeight, outWidth, channels]);
  });
}

const lowestFloat32 = -3.4028234663852886e38;

/**
 * Largest element of each `window` × `window` square of images [..., H, W, C]. A tie's gradient goes to
 * the first in reading order, as in TensorFlow and PyTorch.
 */
export function maxPool2d(x: Tensor, window: number, options: WindowOptions = {}): Tensor {
  return windowParts(x, window, options, lowestFloat32).reduce((a, b) => maximum(a, b));
}

/** Mean of each `window` × `window` square of images [..., H, W, C]; padding does not count. */
export function averagePool2d(x: Tensor, window: number, options: WindowOptions = {}): Tensor {
  const total = windowParts(x, window, options, 0).reduce((a, b) => add(a, b));
  const type = { dtype: x.dtype, shape: [...x.shape.slice(-3, -1), 1] };
  const ones = constant(type, arrayOf(x.dtype, size(type.shape)).fill(1));
  return div(
    total,
    windowParts(ones, window, options, 0).reduce((a, b) => add(a, b)),
  );
}
