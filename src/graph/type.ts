/** Shapes and dtypes: what is known of a tensor before anything runs. */
import { ShapeError } from '../errors.ts';

/** Element types. `bool` is stored as one byte, 0 or 1. */
export type DType = 'float32' | 'float64' | 'int32' | 'bool';

/** Sizes of the axes, outermost first; `[]` is a scalar. */
export type Shape = readonly number[];

export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/** What is known of a tensor before anything runs. */
export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A concrete tensor: row-major `data` of `size(shape)` elements. */
export interface Value extends TensorType {
  readonly data: TypedArray;
}

/** The type `float32` of a shape; `float32()` is a scalar. */
export const float32 = (...shape: number[]): TensorType => ({ dtype: 'float32', shape });
/** The type `float64` of a shape; `float64()` is a scalar. */
export const float64 = (...shape: number[]): TensorType => ({ dtype: 'float64', shape });
/** The type `int32` of a shape; `int32()` is a scalar. */
export const int32 = (...shape: number[]): TensorType => ({ dtype: 'int32', shape });
/** The type `bool` of a shape; `bool()` is a scalar. */
export const bool = (...shape: number[]): TensorType => ({ dtype: 'bool', shape });

/** How many elements a shape holds; 1 for a scalar. */
export function size(shape: Shape): number {
  let product = 1;
  for (const length of shape) product *= length;
  return product;
}

/** @throws {ShapeError} when a length is not a whole number from 0 on. */
export function requireShape(where: string, shape: Shape): void {
  if (shape.some((length) => !Number.isInteger(length) || length < 0)) {
    throw new ShapeError(`${where}: [${shape.join(',')}] is no shape: lengths are whole numbers from 0 on`);
  }
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64';
}

/** A zero-filled array for `count` elements of `dtype`. */
export function arrayOf(dtype: DType, count: number): TypedArray {
  switch (dtype) {
    case 'float32':
      return new Float32Array(count);
    case 'float64':
      return new Float64Array(count);
    case 'int32':
      return new Int32Array(count);
    case 'bool':
      return new Uint8Array(count);
  }
}

/** `float32[5,784]`, as it stands in messages and printed graphs. */
export function formatType(type: TensorType): string {
  return `${type.dtype}[${type.shape.join(',')}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

/** The common shape two shapes broadcast to, aligned at their last axes as in NumPy; undefined if none. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const result = new Array<number>(rank);
  for (let axis = 0; axis < rank; axis++) {
    const lengthA = a[axis - rank + a.length] ?? 1;
    const lengthB = b[axis - rank + b.length] ?? 1;
    if (lengthA !== lengthB && lengthA !== 1 && lengthB !== 1) return undefined;
    result[axis] = lengthA === 1 ? lengthB : lengthA;
  }
  return result;
}

/** Row-major strides, in elements. */
export function strides(shape: Shape): number[] {
  const result = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = stride;
    stride *= shape[axis]!;
  }
  return result;
}

/** Counts negative axes from the end, checks the range and sorts. */
export function normalizeAxes(where: string, axes: readonly number[], rank: number): number[] {
  const result = axes.map((axis) => normalizeAxis(where, axis, rank)).sort((a, b) => a - b);
  if (new Set(result).size !== result.length) {
    throw new ShapeError(`${where}: an axis is given twice in [${axes.join(',')}]: name each axis once`);
  }
  return result;
}

export function normalizeAxis(where: string, axis: number, rank: number): number {
  const result = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || result < 0 || result >= rank) {
    const allowed = rank === 0 ? 'a scalar has none' : `use ${-rank} … ${rank - 1}`;
    throw new ShapeError(`${where}: axis ${axis} is outside a tensor of ${rank} axes: ${allowed}`);
  }
  return result;
}
