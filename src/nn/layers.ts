/** Layers for `sequential`. Images are NHWC; x is [..., batch, ...shape of one input]. */
import { conv2d as convolve, maxPool2d, patches2d, type WindowOptions } from '../graph/convolution.ts';
import {
  add,
  div,
  tanh as hyperbolicTangent,
  mul,
  relu as rectify,
  sqrt,
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
  return ([inputs]) => ({
    name: 'dense',
    parameters: {
      weights: { shape: [inputs!, outputs], init: glorotUniform },
      bias: { shape: [outputs], init: zeros },
    },
    apply({ weights, bias }, x) {
      const rows = reshape(x, [-1, inputs!]); // one wide product, whatever the leading axes
      return reshape(add(matmul(rows, weights!), bias!), [...x.shape.slice(0, -1), outputs]);
    },
  });
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

/**
 * Batch normalization by the statistics of the batch itself, always: there are no running averages, so a
 * prediction depends on what else is in its batch. Biased variance, ε = 1e-3, learned scale and shift.
 */
export const batchNorm: Layer = (shape) => {
  const axes = shape.map((_, i) => -2 - i); // the batch and all spatial axes
  return {
    name: 'norm',
    parameters: normParameters(shape.at(-1)!),
    apply({ scale, shift }, x) {
      const centered = sub(x, mean(x, { axes, keepDims: true }));
      const variance = mean(mul(centered, centered), { axes, keepDims: true });
      return add(mul(centered, div(scale!, deviation(variance))), shift!);
    },
  };
};

/**
 * Convolution without bias, then batch norm, [H, W, C] → [H', W', filters]. Where a patch has fewer
 * entries than there are filters, as in a first layer, the statistics of the outputs are worked out from
 * those of the patches: with rows p of covariance Σ, the outputs W·p have variances diag(WᵀΣW). The
 * outputs are then normalized by scaling W, in no pass of their own.
 */
export function normalizedConv2d({ filters, kernel = 3, ...window }: ConvOptions): Layer {
  return (shape) => {
    const taps = kernel * kernel * shape.at(-1)!;
    const norm = batchNorm([1, 1, filters]);
    return {
      name: 'conv',
      parameters: {
        filter: { shape: [kernel, kernel, shape.at(-1)!, filters], init: glorotUniform },
        ...norm.parameters,
      },
      apply({ filter, scale, shift }, x) {
        if (taps >= filters)
          return norm.apply({ scale: scale!, shift: shift! }, convolve(x, filter!, window));
        const patches = patches2d(x, kernel, { ...window, one: true }); // [..., batch, H', W', taps + 1]
        const rows = reshape(patches, [...x.shape.slice(0, -4), -1, taps + 1]);
        const weights = reshape(filter!, [taps, filters]);
        return reshape(normalizedProduct(rows, weights, { scale: scale!, shift: shift! }), [
          ...patches.shape.slice(0, -1),
          filters,
        ]);
      },
    };
  };
}

/** rows [..., n, taps + 1], which end with a 1, × weights [taps, F], normalized over the rows: [..., n, F]. */
function normalizedProduct(
  rows: Tensor,
  weights: Tensor,
  { scale, shift }: { scale: Tensor; shift: Tensor },
): Tensor {
  const [taps, filters] = weights.shape as [number, number];
  const lead = rows.shape.slice(0, -2);
  const origin = lead.map(() => 0);
  const moments = mul(matmul(rows, rows, { transposeA: true }), 1 / rows.shape.at(-2)!);
  const products = slice(moments, [...origin, 0, 0], [...lead, taps, taps]);
  const means = slice(moments, [...origin, taps, 0], [...lead, 1, taps]);
  const covariance = sub(products, matmul(means, means, { transposeA: true })); // [..., taps, taps]
  const variance = sum(mul(weights, matmul(covariance, weights)), { axes: [-2], keepDims: true }); // [..., 1, F]
  const scaled = mul(weights, div(scale, deviation(variance))); // [..., taps, F]
  const shifts = sub(shift, matmul(means, scaled)); // [..., 1, F]
  return matmul(rows, concat([scaled, broadcastTo(shifts, [...lead, 1, filters])], -2));
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
