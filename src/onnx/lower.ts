/** The one table from operators to ONNX: every operator says how it is computed there. */
import { isKind, type Operator, type Tensor } from '../graph/tensor.ts';
import { type Graph, nodesOf } from '../graph/trace.ts';
import { arrayOf, size } from '../graph/type.ts';
import {
  type Lowering,
  type LoweringContext,
  type LoweringTarget,
  product,
  reshape,
  scalar,
} from './context.ts';
import { lowerConv2d, lowerConv2dFilterGradient, lowerConv2dInputGradient } from './convolution.ts';
import { ModelBuilder } from './model.ts';

/** An operator that ONNX has under another name. */
function same(type: string): Lowering<Operator> {
  return ({ model, inputs }) => model.op(type, inputs);
}

/** A reduction; over no axes it changes nothing, where ONNX would by itself reduce all. */
function reduction(type: string): Lowering<'sum' | 'max'> {
  return ({ model, inputs, attributes: { axes, keepDims } }) =>
    model.op(type, [inputs[0]!, model.integers(axes)], {
      keepdims: Number(keepDims),
      noop_with_empty_axes: 1,
    });
}

/**
 * On WebGPU ONNX Runtime 1.30 has no kernel for `sign` (so the gradient of `abs`), `or`, `equal` of bools,
 * slices of int32, moving bools (transpose, slice, pad, concat), the cast of ArgMax's int64, and float64 as
 * a whole: it computes these on the CPU, with copies there and back. Of all that, an inner loop has only
 * the slice of its table of mini-batches.
 */
const lowerings: { readonly [K in Operator]: Lowering<K> } = {
  neg: same('Neg'),
  exp: same('Exp'),
  log: same('Log'),
  sqrt: same('Sqrt'),
  sin: same('Sin'),
  cos: same('Cos'),
  tanh: same('Tanh'),
  sigmoid: same('Sigmoid'),
  relu: same('Relu'),
  abs: same('Abs'),
  sign: same('Sign'),
  add: same('Add'),
  sub: same('Sub'),
  mul: same('Mul'),
  div: same('Div'),
  pow: ({ model, node, inputs, attributes }) =>
    model.op('Pow', [inputs[0]!, scalar(model, node.dtype, attributes.exponent)]),
  maximum: same('Max'),
  minimum: same('Min'),
  equal: same('Equal'),
  less: same('Less'),
  greater: same('Greater'),
  lessEqual: same('LessOrEqual'),
  greaterEqual: same('GreaterOrEqual'),
  and: same('And'),
  or: same('Or'),
  not: same('Not'),
  select: same('Where'),
  cast: ({ model, inputs, attributes }) =>
    model.op('Cast', inputs, { to: model.elementType(attributes.dtype) }),
  identity: ({ inputs }) => inputs[0]!,
  stopGradient: ({ inputs }) => inputs[0]!,

  reshape: ({ model, inputs, attributes }) => reshape(model, inputs[0]!, attributes.shape),
  broadcastTo: ({ model, inputs, attributes }) =>
    model.op('Expand', [inputs[0]!, model.integers(attributes.shape)]),
  transpose: ({ model, inputs, attributes }) =>
    model.op('Transpose', inputs, { perm: attributes.permutation }),
  slice: ({ model, node, inputs, attributes: { starts, sizes, steps } }) => {
    const { shape } = node.inputs[0]!;
    const axes = shape.flatMap((length, axis) => (sizes[axis] === length ? [] : [axis]));
    const ends = axes.map((axis) => starts[axis]! + (sizes[axis]! - 1) * steps[axis]! + 1);
    const arguments_ = [axes.map((axis) => starts[axis]!), ends, axes, axes.map((axis) => steps[axis]!)];
    return model.op('Slice', [inputs[0]!, ...arguments_.map((values) => model.integers(values))]);
  },
  pad: lowerPad,
  concat: ({ model, inputs, attributes }) => model.op('Concat', inputs, { axis: attributes.axis }),

  sum: reduction('ReduceSum'),
  max: reduction('ReduceMax'),
  argMax: ({ model, inputs, attributes: { axis } }) =>
    model.op('Cast', [model.op('ArgMax', inputs, { axis, keepdims: 0 })], { to: model.elementType('int32') }),

  matmul: (context) => {
    const [a, b] = context.node.inputs.map(({ rank }, i) => ({ name: context.inputs[i]!, rank }));
    const { transposeA, transposeB } = context.attributes;
    return product(context, { ...a!, transposed: transposeA }, { ...b!, transposed: transposeB });
  },
  gather: ({ model, inputs, attributes }) => model.op('Gather', inputs, { axis: attributes.axis }),
  scatterAdd: lowerScatterAdd,
  conv2d: lowerConv2d,
  conv2dInputGradient: lowerConv2dInputGradient,
  conv2dFilterGradient: lowerConv2dFilterGradient,
};

/** The ONNX model of a graph, serialized. */
export function lower(graph: Graph, target: LoweringTarget): Uint8Array {
  const model = new ModelBuilder();
  const names = new Map<Tensor, string>();
  for (const [name, node] of Object.entries(graph.inputs)) names.set(node, model.input(name, node));
  for (const node of nodesOf(Object.values(graph.outputs))) {
    if (isKind(node, 'input')) {
      if (!names.has(node)) throw new Error(`internal: input ${node.attributes.name} is of another graph`);
    } else if (isKind(node, 'constant')) {
      names.set(node, model.constant(node, node.attributes.data));
    } else {
      const operation = node as Tensor<Operator>;
      const lowering = lowerings[operation.kind] as unknown as Lowering<Operator>;
      const inputs = node.inputs.map((source) => names.get(source)!);
      names.set(node, lowering({ model, node: operation, attributes: operation.attributes, inputs, target }));
    }
  }
  for (const [name, node] of Object.entries(graph.outputs)) model.output(name, node, names.get(node)!);
  return model.finish();
}

/** Interior padding becomes a new axis that is padded and folded back; what it adds at the end is cut. */
function lowerPad({ model, node, inputs, attributes }: LoweringContext<'pad'>): string {
  const { low, high, interior, value } = attributes;
  const { shape } = node.inputs[0]!;
  const pads = (x: string, before: readonly number[], after: readonly number[]) =>
    model.op('Pad', [x, model.integers([...before, ...after]), scalar(model, node.dtype, value)]);
  let spread = inputs[0]!;
  if (interior.some((gap) => gap > 0)) {
    spread = reshape(
      model,
      spread,
      shape.flatMap((length) => [length, 1]),
    );
    spread = pads(
      spread,
      interior.flatMap(() => [0, 0]),
      interior.flatMap((gap) => [0, gap]),
    );
    spread = reshape(
      model,
      spread,
      shape.map((length, axis) => length * (interior[axis]! + 1)),
    );
    const lengths = shape.map((length, axis) => length + (length - 1) * interior[axis]!);
    const axes = shape.map((_, axis) => axis);
    const bounds = [axes.map(() => 0), lengths, axes];
    spread = model.op('Slice', [spread, ...bounds.map((values) => model.integers(values))]);
  }
  return [...low, ...high].some((length) => length > 0) ? pads(spread, low, high) : spread;
}

/** ScatterND adds along the first axis: another axis is brought there and back. */
function lowerScatterAdd({ model, node, inputs, attributes }: LoweringContext<'scatterAdd'>): string {
  const { axis, length } = attributes;
  const [updates, indices] = node.inputs as [Tensor, Tensor];
  const window = Array.from({ length: indices.rank }, (_, i) => axis + i);
  const others = updates.shape.flatMap((_, i) => (window.includes(i) ? [] : [i]));
  const moved =
    axis === 0 ? inputs[0]! : model.op('Transpose', [inputs[0]!], { perm: [...window, ...others] });
  const target = { dtype: node.dtype, shape: [length, ...others.map((i) => updates.shape[i]!)] };
  const zeros = model.constant(target, arrayOf(node.dtype, size(target.shape)));
  const places = reshape(model, inputs[1]!, [...indices.shape, 1]);
  const wide = model.op('Cast', [places], { to: 7 }); // int64
  const sums = model.op('ScatterND', [zeros, wide, moved], { reduction: 'add' });
  if (axis === 0) return sums;
  const back = Array.from({ length: node.rank }, (_, i) => (i === axis ? 0 : i < axis ? i + 1 : i));
  return model.op('Transpose', [sums], { perm: back });
}
