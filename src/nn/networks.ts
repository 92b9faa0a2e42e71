/** The networks of the paper. */
import type { Shape } from '../graph/type.ts';
import { dense, flatten, normalizedConv2d, relu, tanh } from './layers.ts';
import { type Layer, type Model, sequential } from './model.ts';

export interface MlpOptions {
  /** Shape of one input. @default [1] */
  inputShape?: Shape;
  /** Units of the hidden layers. @default [64, 64] */
  hidden?: readonly number[];
  /** @default 1 */
  outputs?: number;
  /** @default 'tanh', of the authors' sine script */
  activation?: 'tanh' | 'relu';
}

/** A multilayer perceptron; by default the 1→64→64→1 of the sine experiment (§4). */
export function mlp(options: MlpOptions = {}): Model {
  const { inputShape = [1], hidden = [64, 64], outputs = 1, activation = 'tanh' } = options;
  const activate = activation === 'tanh' ? tanh : relu;
  const layers = hidden.flatMap((units) => [dense(units), activate]);
  return sequential(inputShape, [...(inputShape.length > 1 ? [flatten] : []), ...layers, dense(outputs)]);
}

export interface ConvNetOptions {
  /** Classes in a task: outputs of the last layer. */
  ways: number;
  /** @default 64 for Omniglot, 32 for Mini-ImageNet */
  filters?: number;
  /** @default [28, 28, 1] for Omniglot, [84, 84, 3] for Mini-ImageNet */
  inputShape?: Shape;
}

/**
 * The Omniglot network (§6.1): four times [convolution 3×3 with stride 2, batch norm, ReLU], then a dense
 * layer. The authors' convolutions have biases too, which batch norm cancels; ours have none, so there
 * are 112,965 parameters for 5 ways where theirs has 113,221.
 */
export function omniglotNet({ ways, filters = 64, inputShape = [28, 28, 1] }: ConvNetOptions): Model {
  const block: readonly Layer[] = [normalizedConv2d({ filters, stride: 2 }), relu];
  return sequential(inputShape, [...block, ...block, ...block, ...block, flatten, dense(ways)]);
}

/**
 * The Mini-ImageNet network (§6.1): four times [convolution 3×3, batch norm, max-pooling 2×2, ReLU], then a
 * dense layer. Without the biases that batch norm cancels, as above.
 */
export function miniImagenetNet({ ways, filters = 32, inputShape = [84, 84, 3] }: ConvNetOptions): Model {
  const block: readonly Layer[] = [normalizedConv2d({ filters, pool: 2 }), relu];
  return sequential(inputShape, [...block, ...block, ...block, ...block, flatten, dense(ways)]);
}
