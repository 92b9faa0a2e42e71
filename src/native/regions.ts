/**
 * Where the elements of a value lie: a memory, an offset and axes to step along. Shapes do not matter here: axes
 * are any lengths whose elements, in row-major order, are those of the value. So a reshape changes nothing, and
 * slices, broadcasts and most transposes are other regions of the same memory.
 */
import { type DType, type Shape, strides } from '../graph/type.ts';

/** Elements at equal distances; a stride of 0 repeats one. Both in elements. */
export interface Axis {
  readonly length: number;
  readonly stride: number;
}

/** Elements of one dtype side by side. */
export class Memory {
  readonly dtype: DType;
  /** In elements. */
  readonly size: number;
  /** The memory it is a stretch of, if any. */
  within: { readonly memory: Memory; readonly offset: number } | undefined;

  constructor(dtype: DType, size: number) {
    this.dtype = dtype;
    this.size = size;
  }
}

export interface Region {
  readonly memory: Memory;
  /** Of the first element. */
  readonly offset: number;
  /** Outermost first, as few as possible; none for a single element. */
  readonly axes: readonly Axis[];
}

/** The axes of `count` elements side by side. */
export function sideBySide(count: number): Axis[] {
  return count === 1 ? [] : [{ length: count, stride: 1 }];
}

/** All of a memory. */
export function wholeOf(memory: Memory): Region {
  return { memory, offset: 0, axes: sideBySide(memory.size) };
}

export function isSideBySide(axes: readonly Axis[]): boolean {
  return axes.length === 0 || (axes.length === 1 && axes[0]!.stride === 1);
}

export function isWhole({ memory, offset, axes }: Region): boolean {
  return offset === 0 && isSideBySide(axes) && lengthOf(axes) === memory.size;
}

export function lengthOf(axes: readonly Axis[]): number {
  return axes.reduce((product, { length }) => product * length, 1);
}

/** Equal axes, as few as possible. */
export function collapse(axes: readonly Axis[]): Axis[] {
  const result: Axis[] = [];
  for (const axis of axes) {
    if (axis.length === 1) continue;
    const outer = result.at(-1);
    if (outer?.stride === axis.stride * axis.length) {
      result[result.length - 1] = { length: outer.length * axis.length, stride: axis.stride };
    } else result.push(axis);
  }
  return result;
}

/** The axes of each length of a shape; undefined where one of them lies across two lengths. */
export function alongShape(axes: readonly Axis[], shape: Shape): Axis[][] | undefined {
  if (shape.includes(0)) return shape.map((length) => [{ length, stride: 0 }]);
  const rest = [...axes];
  const result: Axis[][] = [];
  for (const length of shape.toReversed()) {
    const own: Axis[] = [];
    for (let missing = length; missing !== 1; ) {
      const axis = rest.pop();
      if (axis === undefined) throw new Error('internal: axes of fewer elements than a shape has');
      if (missing % axis.length === 0) {
        own.unshift(axis);
        missing /= axis.length;
      } else if (axis.length % missing === 0) {
        own.unshift({ length: missing, stride: axis.stride });
        rest.push({ length: axis.length / missing, stride: axis.stride * missing });
        missing = 1;
      } else return undefined;
    }
    result.unshift(own);
  }
  return result;
}

/** Several lists of axes over the same elements, by common lengths. */
export interface Grid {
  /** Outermost first. */
  readonly lengths: readonly number[];
  /** For every list, the stride of each length. */
  readonly strides: readonly (readonly number[])[];
}

/** The common lengths of lists of axes, as few as possible; undefined where there are none. */
export function commonGrid(lists: readonly (readonly Axis[])[], count: number): Grid | undefined {
  const rests = lists.map((axes) => [...axes]);
  const columns: { length: number; strides: number[] }[] = [];
  for (let missing = count; missing > 1; ) {
    const innermost = rests.map((rest) => rest.at(-1)!);
    const length = Math.min(...innermost.map((axis) => axis.length));
    if (innermost.some((axis) => axis.length % length !== 0)) return undefined;
    rests.forEach((rest, i) => {
      const { length: own, stride } = innermost[i]!;
      rest.pop();
      if (own > length) rest.push({ length: own / length, stride: stride * length });
    });
    const strides = innermost.map(({ stride }) => stride);
    const inner = columns[0];
    if (inner !== undefined && strides.every((stride, i) => stride === inner.strides[i]! * inner.length)) {
      columns[0] = { length: inner.length * length, strides: inner.strides };
    } else columns.unshift({ length, strides });
    missing /= length;
  }
  return {
    lengths: columns.map(({ length }) => length),
    strides: lists.map((_, i) => columns.map(({ strides }) => strides[i]!)),
  };
}

/** Row-major axes over `shape`, those of `repeated` with stride 0 and taking no room. */
export function axesWithout(shape: Shape, repeated: readonly number[]): Axis[] {
  const kept = strides(shape.map((length, axis) => (repeated.includes(axis) ? 1 : length)));
  return collapse(
    shape.map((length, axis) => ({ length, stride: repeated.includes(axis) ? 0 : kept[axis]! })),
  );
}

/** A table of indices as an offset and axes, where its entries follow a regular pattern of a few axes. */
export function axesOfTable(table: ArrayLike<number>): { offset: number; axes: Axis[] } | undefined {
  const axes: Axis[] = [];
  let entries = Array.from(table);
  while (entries.length > 1) {
    if (axes.length === 4) return undefined;
    const [first, second] = entries as [number, number];
    const stride = second - first;
    let length = 2;
    while (length < entries.length && entries[length]! - entries[length - 1]! === stride) length++;
    if (entries.length % length !== 0) return undefined;
    const regular = entries.every((entry, i) => i % length === 0 || entry - entries[i - 1]! === stride);
    if (!regular) return undefined;
    axes.unshift({ length, stride });
    entries = entries.filter((_, i) => i % length === 0);
  }
  return entries.length === 1 ? { offset: entries[0]!, axes } : undefined;
}

/** The places between the first and the last element of a region, both included. */
export function extentOf({ offset, axes }: Region): { readonly first: number; readonly last: number } {
  let [first, last] = [offset, offset];
  for (const { length, stride } of axes) {
    if (stride > 0) last += (length - 1) * stride;
    else first += (length - 1) * stride;
  }
  return { first, last };
}

/** Bytes of an element. */
export const bytesOf: Readonly<Record<DType, number>> = { float32: 4, float64: 8, int32: 4, bool: 1 };

/** The memory a memory lies in at last, and where. */
export function homeOf(memory: Memory): { readonly memory: Memory; readonly offset: number } {
  let [home, offset] = [memory, 0];
  while (home.within !== undefined) {
    offset += home.within.offset;
    home = home.within.memory;
  }
  return { memory: home, offset };
}
