/**
 * Products with a factor, or added to a value or taken from one: ONNX's Gemm computes α·A·B + C in one pass. A sum
 * over rows is such a product, with a row of ones; so a dense layer, its bias included, and a step of SGD on it
 * are one operator each.
 */
import { isKind, type Tensor } from '../graph/tensor.ts';
import { type Graph, nodesOf } from '../graph/trace.ts';
import { arrayOf, isFloat, sameShape, size } from '../graph/type.ts';
import { reshape } from './context.ts';
import { float, type ModelBuilder, type OnnxAttributes } from './model.ts';

/** One side of a matrix product. */
interface Side {
  /** None where it is all ones. */
  readonly value?: Tensor;
  /** The matrix it is read as. */
  readonly shape: readonly [rows: number, columns: number];
  readonly transposed?: boolean;
}

/** α·A·B. */
interface Product {
  readonly a: Side;
  readonly b: Side;
  readonly alpha: number;
}

/** α·A·B + C. */
export interface Accumulation extends Product {
  readonly addend?: Tensor;
}

/** The accumulations of a graph, by the node whose value each is; plain products are none. */
export function accumulationsOf({ outputs }: Graph): Map<Tensor, Accumulation> {
  const nodes = nodesOf(Object.values(outputs));
  const uses = new Map<Tensor, number>();
  for (const value of [...nodes.flatMap(({ inputs }) => inputs), ...Object.values(outputs)]) {
    uses.set(value, (uses.get(value) ?? 0) + 1);
  }
  const isUsedOnce = (value: Tensor) => uses.get(value) === 1;
  const found = new Map<Tensor, Accumulation>();
  for (const node of nodes) {
    const accumulation = accumulationOf(node, isUsedOnce);
    if (accumulation === undefined) continue;
    const { alpha } = accumulation; // in ONNX a float32
    if (node.dtype === 'float32' || alpha === Math.fround(alpha)) found.set(node, accumulation);
  }
  return found;
}

type Test = (value: Tensor) => boolean;

function accumulationOf(node: Tensor, isUsedOnce: Test): Accumulation | undefined {
  if (!isFloat(node.dtype)) return undefined;
  const [left, right] = node.inputs;
  const plus = (addend: Tensor, value: Tensor, sign: number): Accumulation | undefined => {
    if (!isUsedOnce(value) || !sameShape(value.shape, node.shape)) return undefined;
    const product = productOf(value, isUsedOnce);
    return product && { ...product, alpha: sign * product.alpha, addend };
  };
  if (isKind(node, 'add')) return plus(left!, right!, 1) ?? plus(right!, left!, 1);
  if (isKind(node, 'sub')) return plus(left!, right!, -1);
  const product = productOf(node, isUsedOnce);
  return product?.alpha === 1 ? undefined : product;
}

/** A value as a product, if it is one of which nothing in between is needed otherwise. */
function productOf(value: Tensor, isUsedOnce: Test): Product | undefined {
  if (value.inputs.some(({ size }) => size === 0)) return undefined;
  if (isKind(value, 'mul')) {
    const { rest, factor } = unscaled(value);
    const product = rest !== value && isUsedOnce(rest) ? productOf(rest, isUsedOnce) : undefined;
    return product && { ...product, alpha: factor * product.alpha };
  }
  if (isKind(value, 'matmul') && value.rank === 2) {
    const [a, b] = value.inputs.map(unscaled);
    const { transposeA, transposeB } = value.attributes;
    return {
      a: { ...matrix(a!.rest), transposed: transposeA },
      b: { ...matrix(b!.rest), transposed: transposeB },
      alpha: a!.factor * b!.factor,
    };
  }
  return isKind(value, 'sum') ? productOfSum(value, isUsedOnce) : undefined;
}

/** Longer sums are faster by themselves: only a plain product with one row reads a matrix without packing it first. */
const longSum = 32;

/** Over all axes but the last, ones · x; over all axes of x · y, the inner product of both. */
function productOfSum(value: Tensor<'sum'>, isUsedOnce: Test): Product | undefined {
  const [summed] = value.inputs as [Tensor];
  const { axes, keepDims } = value.attributes;
  if (keepDims) return undefined;
  if (axes.length === summed.rank && isKind(summed, 'mul') && isUsedOnce(summed)) {
    const [x, y] = summed.inputs as [Tensor, Tensor];
    if (!sameShape(x.shape, y.shape) || summed.size >= longSum) return undefined;
    const shape = [summed.size, 1] as const;
    return { a: { value: x, shape, transposed: true }, b: { value: y, shape }, alpha: 1 };
  }
  if (axes.length !== summed.rank - 1 || axes.includes(summed.rank - 1)) return undefined;
  const { rest, factor } = unscaled(summed);
  const columns = summed.shape.at(-1)!;
  const rows = summed.size / columns;
  if (rows >= longSum) return undefined;
  return { a: { shape: [1, rows] }, b: { value: rest, shape: [rows, columns] }, alpha: factor };
}

function matrix(value: Tensor): Side {
  return { value, shape: value.shape as readonly [number, number] };
}

/** A value as a constant number times the rest. */
function unscaled(value: Tensor): { readonly rest: Tensor; readonly factor: number } {
  if (isKind(value, 'mul')) {
    for (const [factor, rest] of [value.inputs, value.inputs.toReversed()] as [Tensor, Tensor][]) {
      if (isKind(factor, 'constant') && factor.size === 1 && sameShape(rest.shape, value.shape)) {
        return { rest, factor: factor.attributes.data[0]! };
      }
    }
  }
  return { rest: value, factor: 1 };
}

/** Emits accumulations, and remembers their values as matrices: the next may add to one as it is. */
export class Accumulator {
  readonly #model: ModelBuilder;
  readonly #nameOf: (value: Tensor) => string;
  readonly #matrices = new Map<Tensor, string>();

  constructor(model: ModelBuilder, nameOf: (value: Tensor) => string) {
    this.#model = model;
    this.#nameOf = nameOf;
  }

  /** Returns the name of the node's value. */
  emit(node: Tensor, { a, b, alpha, addend }: Accumulation): string {
    const model = this.#model;
    const nameOf = this.#nameOf;
    const side = ({ value, shape }: Side) => {
      if (value === undefined) {
        return model.constant({ dtype: node.dtype, shape }, arrayOf(node.dtype, size(shape)).fill(1));
      }
      return sameShape(value.shape, shape) ? nameOf(value) : reshape(model, nameOf(value), shape);
    };
    const attributes: OnnxAttributes = {
      transA: Number(a.transposed ?? false),
      transB: Number(b.transposed ?? false),
      alpha: float(alpha),
    };
    const product = model.op('Gemm', [side(a), side(b), ...this.#addend(addend)], attributes);
    if (node.rank === 2) return product;
    this.#matrices.set(node, product);
    return reshape(model, product, node.shape);
  }

  /** A scalar as a matrix: ONNX Runtime 1.30 ends the process over one on WebGPU. */
  #addend(value: Tensor | undefined): string[] {
    if (value === undefined) return [];
    const matrix = this.#matrices.get(value);
    if (matrix !== undefined) return [matrix];
    const name = this.#nameOf(value);
    return [value.rank === 0 ? reshape(this.#model, name, [1, 1]) : name];
  }
}
