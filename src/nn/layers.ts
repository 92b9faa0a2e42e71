/** Layers for `sequential`. Images are NHWC; x is [..., batch, ...shape of one input]. */
import { conv2d as convolve, maxPool2d, patchesByPlace2d, type WindowOptions } from '../graph/convolution.ts';
import {
  add,
  div,
  tanh as hyperbolicTangent,
  maximum,
  mul,
  neg,
  relu as rectify,
  sqrt,
  step,
  sub,
} from '../graph/elementwise.ts';
import { matmul } from '../graph/linear.ts';
import { mean, sum } from '../graph/reductions.ts';
import { broadcastTo, concat, reshape, slice } from '../graph/shaping.ts';
import type { Tensor } from '../graph/tensor.ts';
import { size } from '../graph/type.ts';
import type { Layer } from './model.ts';
import { glorotUniform, ones, zeros } from './parameters.ts';

function withoutParameters(name: string, apply: (x: Tensor) => Tensor): Layer {
  return () => ({ name, parameters: {}, apply: (_, x) => apply(x) });
}

export const relu: Layer = withoutParameters('relu', rectify);

export const tanh: Layer = withoutParameters('tanh', hyperbolicTangent);

/** x·W + b: [..., inputs] → [..., outputs]. Glorot-uniform weights, zero biases. */
export function dense(outputs: number): Layer {
  return (shape) => {
    const inputs = shape.at(-1)!;
    return {
      name: 'dense',
      parameters: {
        weights: { shape: [inputs, outputs], init: glorotUniform },
        bias: { shape: [outputs], init: zeros },
      },
      apply({ weights, bias }, x) {
        const rows = reshape(x, [-1, inputs]); // one wide product, whatever the leading axes
        return reshape(add(matmul(rows, weights!), bias!), [...x.shape.slice(0, -1), outputs]);
      },
    };
  };
}

export interface ConvOptions extends WindowOptions {
  filters: number;
  /** Height and width of a filter. @default 3 */
  kernel?: number;
}

/** Convolution, [H, W, C] → [H', W', filters]. Glorot-uniform filters, zero biases. */
export function conv2d({ filters, kernel = 3, ...window }: ConvOptions): Layer {
  return (shape) => ({
    name: 'conv',
    parameters: {
      filter: { shape: [kernel, kernel, shape.at(-1)!, filters], init: glorotUniform },
      bias: { shape: [filters], init: zeros },
    },
    apply: ({ filter, bias }, x) => add(convolve(x, filter!, window), bias!),
  });
}

/** ε of batch norm: TensorFlow's default, which the authors used. */
const normEpsilon = 1e-3;

/** √(variance + ε). Not a power of −½: WebGPU's powers are only good to three digits or so. */
const deviation = (variance: Tensor): Tensor => sqrt(add(variance, normEpsilon));

const normParameters = (channels: number) => ({
  scale: { shape: [channels], init: ones },
  shift: { shape: [channels], init: zeros },
});

/** x [..., N, H, W, C] minus its mean over the batch and all pixels, and the (biased) variance. */
function center(x: Tensor, axes: readonly number[] = [-4, -3, -2]): { centered: Tensor; variance: Tensor } {
  const centered = sub(x, mean(x, { axes, keepDims: true }));
  return { centered, variance: mean(mul(centered, centered), { axes, keepDims: true }) };
}

function normalize(
  x: Tensor,
  { scale, shift }: { scale: Tensor; shift: Tensor },
  axes?: readonly number[],
): Tensor {
  const { centered, variance } = center(x, axes);
  return add(mul(centered, div(scale, deviation(variance))), shift);
}

/**
 * Batch normalization by the statistics of the batch itself, always: there are no running averages, so a
 * prediction depends on what else is in its batch. Biased variance, ε = 1e-3, learned scale and shift.
 */
export const batchNorm: Layer = (shape) => {
  const axes = shape.map((_, i) => -2 - i); // the batch and all spatial axes
  return {
    name: 'norm',
    parameters: normParameters(shape.at(-1)!),
    apply: ({ scale, shift }, x) => normalize(x, { scale: scale!, shift: shift! }, axes),
  };
};

export interface NormalizedConvOptions extends ConvOptions {
  /** Then takes the largest of each `pool` × `pool` square, SAME padding. @default 1, all of them */
  pool?: number;
}

/**
 * Convolution without bias, then batch norm and max-pooling, [H, W, C] → [H', W', filters]. Where a patch has
 * fewer entries than there are filters, as in a first layer, the statistics of the outputs are worked out
 * from those of the patches: with rows p of covariance Σ, the outputs W·p have variances diag(WᵀΣW). The
 * outputs are then normalized by scaling W, in no pass of their own. Elsewhere the pooling goes first and
 * only what it leaves is scaled and shifted, which is the same where a scale is positive; a filter whose
 * scale is negative is turned around, and its scale with it.
 */
export function normalizedConv2d({ filters, kernel = 3, pool = 1, ...window }: NormalizedConvOptions): Layer {
  return (shape) => {
    const taps = kernel * kernel * shape.at(-1)!;
    return {
      name: 'conv',
      parameters: {
        filter: { shape: [kernel, kernel, shape.at(-1)!, filters], init: glorotUniform },
        ...normParameters(filters),
      },
      apply(parameters, x) {
        const { filter, scale, shift } = parameters as Record<'filter' | 'scale' | 'shift', Tensor>;
        if (taps < filters) {
          const weights = reshape(filter, [taps, filters]);
          return patchNormalized(x, weights, { scale, shift, kernel, pool, window });
        }
        if (pool === 1) return normalize(convolve(x, filter, window), { scale, shift });
        const signs = sub(1, mul(step(neg(scale)), 2));
        const { centered, variance } = center(convolve(x, mul(filter, signs), window));
        const factors = div(mul(scale, signs), deviation(variance));
        return add(mul(maxPool2d(centered, pool), factors), shift);
      },
    };
  };
}

interface PatchNormalization {
  readonly scale: Tensor;
  readonly shift: Tensor;
  readonly kernel: number;
  readonly pool: number;
  readonly window: WindowOptions;
}

/** Convolution of x with weights [taps, F], normalized by the statistics of the patches, and pooled. */
function patchNormalized(
  x: Tensor,
  weights: Tensor,
  { scale, shift, kernel, pool, window }: PatchNormalization,
): Tensor {
  const [taps, filters] = weights.shape as [number, number];
  const [height, width] = x.shape.slice(-3) as [number, number];
  const { stride = 1, padding = 'same' } = window;
  const whole = padding === 'same' && [height, width].every((n) => Math.ceil(n / stride) % pool === 0);
  const patches = patchesByPlace2d(x, kernel, { ...window, one: true, window: whole ? pool : 1 });
  const lead = x.shape.slice(0, -4);
  const parts = patches.map((part) => reshape(part, [...lead, -1, taps + 1])); // [..., n, taps + 1]
  const count = parts.length * parts[0]!.shape.at(-2)!;
  const origin = lead.map(() => 0);
  const squares = parts.map((rows) => matmul(rows, rows, { transposeA: true }));
  const moments = mul(
    squares.reduce((a, b) => add(a, b)),
    1 / count,
  );
  const products = slice(moments, [...origin, 0, 0], [...lead, taps, taps]);
  const means = slice(moments, [...origin, taps, 0], [...lead, 1, taps]);
  const covariance = sub(products, matmul(means, means, { transposeA: true })); // [..., taps, taps]
  const variance = sum(mul(weights, matmul(covariance, weights)), { axes: [-2], keepDims: true }); // [..., 1, F]
  const scaled = mul(weights, div(scale, deviation(variance))); // [..., taps, F]
  const shifts = sub(shift, matmul(means, scaled)); // [..., 1, F]
  const normalized = concat([scaled, broadcastTo(shifts, [...lead, 1, filters])], -2);
  const outputs = parts.map((rows) => matmul(rows, normalized)).reduce((a, b) => maximum(a, b));
  const images = reshape(outputs, [...patches[0]!.shape.slice(0, -1), filters]);
  return whole || pool === 1 ? images : maxPool2d(images, pool);
}

/** Largest of each square of `window` × `window` pixels, SAME padding. @default 2 */
export function maxPool(window = 2): Layer {
  return withoutParameters('pool', (x) => maxPool2d(x, window));
}

/** [H, W, C] → [H·W·C]. */
export const flatten: Layer = (shape) => ({
  name: 'flatten',
  parameters: {},
  apply: (_, x) => reshape(x, [...x.shape.slice(0, x.rank - shape.length), size(shape)]),
});
