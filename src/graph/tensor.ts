/**
 * A symbolic tensor: one node of the graph, made by applying a primitive to other nodes. Nodes are
 * immutable and numbered in order of creation, so sorting by `id` is a topological order.
 */
import { ShapeError } from '../errors.ts';
import {
  arrayOf,
  type DType,
  formatType,
  requireShape,
  type Shape,
  size,
  type TensorType,
  type TypedArray,
  type Value,
} from './type.ts';

// biome-ignore lint/complexity/noBannedTypes: a primitive without attributes
type None = {};

/** Zero padding below and above the two spatial axes: [[top, bottom], [left, right]]. */
export type Padding2d = readonly [readonly [number, number], readonly [number, number]];

/** Every operator and its attributes. Rules, lowering and tests are mapped over this table. */
export interface OperatorAttributes {
  // elementwise (elementwise.ts)
  neg: None;
  exp: None;
  log: None;
  sqrt: None;
  sin: None;
  cos: None;
  tanh: None;
  sigmoid: None;
  relu: None;
  step: None;
  abs: None;
  sign: None;
  add: None;
  sub: None;
  mul: None;
  div: None;
  pow: { exponent: number };
  maximum: None;
  minimum: None;
  equal: None;
  less: None;
  greater: None;
  lessEqual: None;
  greaterEqual: None;
  and: None;
  or: None;
  not: None;
  select: None;
  cast: { dtype: DType };
  identity: None;
  stopGradient: None;
  // shapes (shaping.ts)
  reshape: { shape: Shape };
  broadcastTo: { shape: Shape };
  transpose: { permutation: readonly number[] };
  slice: { starts: readonly number[]; sizes: readonly number[]; steps: readonly number[] };
  pad: { low: readonly number[]; high: readonly number[]; interior: readonly number[]; value: number };
  concat: { axis: number };
  // reductions (reductions.ts)
  sum: { axes: readonly number[]; keepDims: boolean };
  max: { axes: readonly number[]; keepDims: boolean };
  argMax: { axis: number };
  // products and tables (linear.ts, convolution.ts)
  matmul: { transposeA: boolean; transposeB: boolean };
  gather: { axis: number };
  scatterAdd: { axis: number; length: number };
  conv2d: { strides: readonly [number, number]; padding: Padding2d };
  conv2dInputGradient: {
    strides: readonly [number, number];
    padding: Padding2d;
    inputSize: readonly [number, number];
  };
  conv2dFilterGradient: {
    strides: readonly [number, number];
    padding: Padding2d;
    kernelSize: readonly [number, number];
  };
}

export type Operator = keyof OperatorAttributes;

/** Leaves: values fed at run time, and values known when the graph is built. */
interface LeafAttributes {
  input: { name: string };
  constant: { data: TypedArray };
}

type NodeAttributes = OperatorAttributes & LeafAttributes;
export type NodeKind = keyof NodeAttributes;

let nextId = 0;

/** A node of the graph; its `shape` and `dtype` are known at once, its value when a program runs. */
export class Tensor<K extends NodeKind = NodeKind> implements TensorType {
  readonly id = nextId++;
  readonly kind: K;
  readonly inputs: readonly Tensor[];
  readonly attributes: NodeAttributes[K];
  readonly dtype: DType;
  readonly shape: Shape;

  constructor(kind: K, inputs: readonly Tensor[], attributes: NodeAttributes[K], type: TensorType) {
    this.kind = kind;
    this.inputs = inputs;
    this.attributes = attributes;
    this.dtype = type.dtype;
    this.shape = type.shape;
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return size(this.shape);
  }

  toString(): string {
    return `${this.kind} ${formatType(this)}`;
  }
}

/** True if `tensor` was made by `kind`; narrows its attributes. */
export function isKind<K extends NodeKind>(tensor: Tensor, kind: K): tensor is Tensor<K> {
  return tensor.kind === kind;
}

/** The rules every operator carries. */
export interface Rules<K extends Operator> {
  /** Output type from input types. @throws {ShapeError} when they do not fit. */
  infer(inputs: readonly TensorType[], attributes: OperatorAttributes[K]): TensorType;
  /**
   * The vector-Jacobian products, in terms of operators: for the cotangent of the output, the cotangent
   * of each input, or undefined where the output does not depend on it differentiably.
   */
  gradient(node: Tensor<K>, cotangent: Tensor): readonly (Tensor | undefined)[];
  /** Plain reference evaluation into `out`, which is zero-filled. */
  evaluate(inputs: readonly Value[], attributes: OperatorAttributes[K], out: Value): void;
}

/** The rules of some operators; `operators.ts` joins the families into the full table. */
export type RulesOf<K extends Operator> = { readonly [Name in K]: Rules<Name> };

/** A new node: infers its type with the operator's rule. */
export function apply<K extends Operator>(
  kind: K,
  rules: Rules<K>,
  inputs: readonly Tensor[],
  attributes: OperatorAttributes[K],
): Tensor {
  const type = rules.infer(inputs, attributes);
  requireShape(kind, type.shape);
  return new Tensor(kind, inputs, attributes as NodeAttributes[K], type);
}

/** A constant of `type` holding `data`, row-major. */
export function constant(type: TensorType, data: TypedArray): Tensor {
  if (data.length !== size(type.shape)) {
    throw new ShapeError(
      `constant: ${formatType(type)} needs ${size(type.shape)} elements, got ${data.length}`,
    );
  }
  const wanted = arrayOf(type.dtype, 0).constructor;
  if (data.constructor !== wanted) {
    throw new ShapeError(
      `constant: ${formatType(type)} needs a ${wanted.name}, got a ${data.constructor.name}`,
    );
  }
  return new Tensor('constant', [], { data }, type);
}

/** A value fed at run time under `name`. */
export function input(name: string, type: TensorType): Tensor {
  requireShape(`input ${name}`, type.shape);
  return new Tensor('input', [], { name }, type);
}
