/** Layers for `sequential`. Images are NHWC; x is [..., batch, ...shape of one input]. */
import { conv2d as convolve, maxPool2d, type WindowOptions } from '../graph/convolution.ts';
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
import { mean } from '../graph/reductions.ts';
import { reshape } from '../graph/shaping.ts';
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
  /** Adds a learned constant to every filter's output. Batch norm takes it out again. @default false */
  bias?: boolean;
}

/** Convolution, [H, W, C] → [H', W', filters]. Glorot-uniform filters, zero biases. */
export function conv2d({ filters, kernel = 3, bias = false, ...window }: ConvOptions): Layer {
  return (shape) => ({
    name: 'conv',
    parameters: {
      filter: { shape: [kernel, kernel, shape.at(-1)!, filters], init: glorotUniform },
      ...(bias ? { bias: { shape: [filters], init: zeros } } : {}),
    },
    apply({ filter, bias: constants }, x) {
      const y = convolve(x, filter!, window);
      return constants === undefined ? y : add(y, constants);
    },
  });
}

/**
 * Batch normalization by the statistics of the batch itself, always: there are no running averages, so a
 * prediction depends on what else is in its batch. Biased variance, ε = 1e-3, learned scale and shift.
 */
export const batchNorm: Layer = (shape) => {
  const channels = shape.at(-1)!;
  const axes = shape.map((_, i) => -2 - i); // the batch and all spatial axes
  return {
    name: 'norm',
    parameters: { scale: { shape: [channels], init: ones }, shift: { shape: [channels], init: zeros } },
    apply({ scale, shift }, x) {
      const centered = sub(x, mean(x, { axes, keepDims: true }));
      const variance = mean(mul(centered, centered), { axes, keepDims: true });
      return add(mul(centered, div(scale!, sqrt(add(variance, 1e-3)))), shift!);
    },
  };
};

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
