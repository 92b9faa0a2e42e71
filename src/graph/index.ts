/** Symbolic tensors: operators, tracing, gradients, simplification, printing. */
export {
  averagePool2d,
  conv2d,
  maxPool2d,
  type PatchOptions,
  patches2d,
  patchesByPlace2d,
  type WindowOptions,
} from './convolution.ts';
export {
  abs,
  add,
  and,
  cast,
  cos,
  div,
  equal,
  exp,
  greater,
  greaterEqual,
  less,
  lessEqual,
  log,
  maximum,
  minimum,
  mul,
  neg,
  not,
  type Operand,
  or,
  pow,
  relu,
  scalar,
  select,
  sigmoid,
  sign,
  sin,
  sqrt,
  step,
  stopGradient,
  sub,
  tanh,
} from './elementwise.ts';
export { evaluate } from './evaluate.ts';
export { type Differentiable, type Gradient, grad, valueAndGrad } from './grad.ts';
export { gather, type MatmulOptions, matmul, scatterAdd } from './linear.ts';
export { printGraph } from './print.ts';
export { argMax, max, mean, type ReductionOptions, sum } from './reductions.ts';
export {
  broadcastTo,
  concat,
  type PadOptions,
  pad,
  reshape,
  slice,
  stack,
  take,
  transpose,
} from './shaping.ts';
export { simplify } from './simplify.ts';
export { constant, type Operator, type Tensor } from './tensor.ts';
export { type Graph, type Loop, trace } from './trace.ts';
export {
  bool,
  type DType,
  float32,
  float64,
  formatType,
  int32,
  type Shape,
  size,
  type TensorType,
  type TypedArray,
} from './type.ts';
