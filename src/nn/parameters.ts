/**
 * Parameters: named leaves that cross the border of a program as one flat vector. The layout says where
 * each leaf lies, so outer updates are vector arithmetic and a checkpoint is one buffer.
 */
import { ShapeError } from '../errors.ts';
import { sub } from '../graph/elementwise.ts';
import { concat, reshape, slice } from '../graph/shaping.ts';
import type { Tensor } from '../graph/tensor.ts';
import { mapRecord } from '../graph/trace.ts';
import { type Shape, size } from '../graph/type.ts';

/** Where uniform random numbers come from; `Random` is one. */
export interface UniformSource {
  uniform(low: number, high: number): number;
}

/** Fills a leaf with its first values. */
export type Initializer = (shape: Shape, out: Float32Array, source: UniformSource) => void;

/** A leaf as it is declared. */
export interface Parameter {
  readonly shape: Shape;
  readonly init: Initializer;
}

/** A leaf in its place. */
export interface Leaf {
  /** Such as `conv1/filter`. */
  readonly name: string;
  readonly shape: Shape;
  /** Index of its first element in the flat vector. */
  readonly offset: number;
}

/** A stretch of the flat vector that programs compute with as one tensor. */
export interface Part {
  /** That of its first leaf. */
  readonly name: string;
  readonly leaves: readonly Leaf[];
  readonly offset: number;
  readonly size: number;
}

/** The leaves of a model in the order of the flat vector. */
export interface Layout {
  readonly leaves: readonly Leaf[];
  readonly parts: readonly Part[];
  /** Length of the flat vector. */
  readonly size: number;
}

/**
 * Leaves from this size on are a part of their own: an optimizer's step on one stays in the processor's
 * cache, and the leaf need not be cut out of a longer vector. All smaller ones are a part together.
 */
const largeLeaf = 8192;

/** Lays leaves out in the order they are declared, the large ones behind the others. */
export function layoutOf(parameters: Readonly<Record<string, Parameter>>): Layout {
  let offset = 0;
  const place = ([name, { shape }]: [string, Parameter]): Leaf => {
    const leaf = { name, shape, offset };
    offset += size(shape);
    return leaf;
  };
  const isLarge = ([, { shape }]: [string, Parameter]) => size(shape) >= largeLeaf;
  const declared = Object.entries(parameters);
  const small = declared.filter((leaf) => !isLarge(leaf)).map(place);
  const large = declared.filter(isLarge).map(place);
  const groups = [...(small.length > 0 ? [small] : []), ...large.map((leaf) => [leaf])];
  const parts = groups.map((leaves): Part => {
    const { name, offset } = leaves[0]!;
    return { name, leaves, offset, size: leaves.reduce((total, { shape }) => total + size(shape), 0) };
  });
  return { leaves: [...small, ...large], parts, size: offset };
}

/** The layout with every leaf a part of its own. */
export function leafwise(layout: Layout): Layout {
  const parts = layout.leaves.map((leaf): Part => {
    const { name, offset, shape } = leaf;
    return { name, leaves: [leaf], offset, size: size(shape) };
  });
  return { ...layout, parts };
}

/**
 * A vector of parameters, or one like it such as their gradient, cut into the parts of a layout: a leaf by itself
 * in its shape, several as a stretch of the flat vector.
 */
export type Vector = Readonly<Record<string, Tensor>>;

/** The leaves of a model by their names, in their shapes. */
export type Leaves = Readonly<Record<string, Tensor>>;

/** The parts of a flat vector [layout.size]. */
export function cut(flat: Tensor, layout: Layout): Vector {
  if (flat.rank !== 1 || flat.size !== layout.size) {
    throw new ShapeError(`parameters: expected ${layout.size} of them, got ${flat}`);
  }
  return Object.fromEntries(
    layout.parts.map(({ name, leaves, offset, size }) => {
      const stretch = slice(flat, [offset], [size]);
      return [name, leaves.length === 1 ? reshape(stretch, leaves[0]!.shape) : stretch];
    }),
  );
}

/** The flat vector [layout.size] of parts: the inverse of `cut`. */
export function join(vector: Vector, layout: Layout): Tensor {
  return concat(layout.parts.map(({ name, size }) => reshape(vector[name]!, [size])));
}

/** a − b. */
export function difference(a: Vector, b: Vector): Vector {
  return mapRecord(a, (part, name) => sub(part, b[name]!));
}

/** The leaves of a vector. */
export function leavesOf(vector: Vector, layout: Layout): Leaves {
  return Object.fromEntries(
    layout.parts.flatMap((part) => {
      const stretch = vector[part.name]!;
      return part.leaves.map(({ name, shape, offset }) => [
        name,
        part.leaves.length === 1
          ? stretch
          : reshape(slice(stretch, [offset - part.offset], [size(shape)]), shape),
      ]);
    }),
  );
}

/** The leaves of a flat vector [layout.size]. */
export function unflatten(flat: Tensor, layout: Layout): Leaves {
  return leavesOf(cut(flat, layout), layout);
}

/** All 0. */
export const zeros: Initializer = (_, out) => {
  out.fill(0);
};

/** All 1. */
export const ones: Initializer = (_, out) => {
  out.fill(1);
};

/**
 * Uniform in ±√(6 / (fan in + fan out)), after Glorot and Bengio (2010). The last two axes are inputs and
 * outputs; axes before them (a filter's height and width) multiply both fans.
 */
export const glorotUniform: Initializer = (shape, out, source) => {
  const [inputs, outputs] = shape.slice(-2) as [number, number];
  const limit = Math.sqrt(6 / (size(shape.slice(0, -2)) * (inputs + outputs)));
  for (let i = 0; i < out.length; i++) out[i] = source.uniform(-limit, limit);
};
