/** Networks: layers, models, losses, initializers. */
export * as layers from './layers.ts';
export { type Loss, type LossReduction, logSoftmax, softmaxCrossEntropy, squaredError } from './losses.ts';
export { defineModel, type Layer, type Model, type ModelDefinition, sequential } from './model.ts';
export { type ConvNetOptions, type MlpOptions, miniImagenetNet, mlp, omniglotNet } from './networks.ts';
export {
  glorotUniform,
  type Initializer,
  type Layout,
  type Leaf,
  type Leaves,
  ones,
  type Parameter,
  type Part,
  type UniformSource,
  unflatten,
  type Vector,
  zeros,
} from './parameters.ts';
