/**
 * Parameters: named leaves that cross the border of a program as one flat vector. The layout says where
 * each leaf lies, so outer updates are vector arithmetic and a checkpoint is one buffer.
 */
import { ShapeError } from '../errors.ts';
import { concat, reshape, slice } from '../graph/shaping.ts';
import type { Tensor } from '../graph/tensor.ts';
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

/** The leaves of a model in the order of the flat vector. */
export interface Layout {
  readonly leaves: readonly Leaf[];
  /** Length of the flat vector. */
  readonly size: number;
}

export function layoutOf(parameters: Readonly<Record<string, Parameter>>): Layout {
  let offset = 0;
  const leaves = Object.entries(parameters).map(([name, { shape }]) => {
    const leaf = { name, shape, offset };
    offset += size(shape);
    return leaf;
  });
  return { leaves, size: offset };
}

/** The leaves of a flat vector [layout.size]. */
export function unflatten(flat: Tensor, layout: Layout): Record<string, Tensor> {
  if (flat.rank !== 1 || flat.size !== layout.size) {
    throw new ShapeError(`unflatten: expected ${layout.size} parameters, got ${flat}`);
  }
  return Object.fromEntries(
    layout.leaves.map(({ name, shape, offset }) => [
      name,
      reshape(slice(flat, [offset], [size(shape)]), shape),
    ]),
  );
}

/** The flat vector of leaves: the inverse of `unflatten`. */
export function flatten(leaves: Readonly<Record<string, Tensor>>, layout: Layout): Tensor {
  return concat(layout.leaves.map(({ name }) => reshape(leaves[name]!, [-1])));
}

export const zeros: Initializer = (_, out) => {
  out.fill(0);
};

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
