/** Reads meta_gradients.json and mirrors the formulas its script made parameters and data from. */
import { readFileSync } from 'node:fs';
import type { Layout, Leaf } from '../../src/nn/parameters.ts';

/** Uniform in [−1, 1) from an integer hash of the index and a salt. */
export function noise(count: number, salt: number): Float64Array {
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let h = (Math.imul(i, 2654435761) + Math.imul(salt, 40503) + 0x9e3779b9) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
    values[i] = ((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1;
  }
  return values;
}

/** A long vector in the reference file: its norm, eight projections on noise, twelve of its entries. */
export interface Summary {
  readonly length: number;
  readonly norm: number;
  readonly projections: readonly number[];
  readonly samples: readonly number[];
}

interface Inner {
  readonly lr: number;
  readonly losses: readonly number[];
  readonly reptile: Summary;
  readonly fomamlStep: Summary;
  readonly fomamlGradient: Summary;
}

interface InnerWithMaml extends Inner {
  readonly maml: Summary;
}

export interface ReferenceNetwork {
  readonly inputShape: readonly number[];
  readonly leaves: Readonly<Record<string, readonly number[]>>;
  readonly params: Summary;
  readonly inputs: Summary;
  readonly forward: {
    readonly batch: number;
    readonly output: readonly (readonly number[])[];
    readonly loss: number;
    readonly lossSum: number;
    readonly gradient: Summary;
  };
  readonly task?: {
    readonly joint: Summary;
    readonly sgd: InnerWithMaml;
    readonly adamCarried: InnerWithMaml & { readonly secondMoments: Summary; readonly stepsTaken: number };
    readonly adamReset: Inner & { readonly secondMoments: Summary };
  };
}

export type NetworkName = 'sine' | 'omniglotSmall' | 'omniglot' | 'miniImagenetSmall' | 'miniImagenet';

export const reference = JSON.parse(
  // Compiled tests run from dist/test/…, two folders below the package.
  readFileSync(new URL('../../../test/reference/meta_gradients.json', import.meta.url), 'utf8'),
) as {
  readonly batches: readonly (readonly number[])[];
  readonly networks: Readonly<Record<NetworkName, ReferenceNetwork>>;
};

/** Elements of a leaf. */
const count = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The leaves Anole leaves out: biases of convolutions, which batch norm cancels. Their gradients are zero. */
const isConvBias = (name: string): boolean => /^conv\d+\/bias$/.test(name);

/** Anole's leaf of a reference's name: its batch norm belongs to the convolution. */
function leafOf(layout: Layout, reference: string): Leaf | undefined {
  const leaf = layout.leaves.find(
    ({ name }) => name === reference.replace('norm', 'conv').replace('dense/', 'dense1/'),
  );
  if (isConvBias(reference)) return undefined;
  if (leaf === undefined) throw new Error(`no leaf for ${reference}`);
  return leaf;
}

/** The reference's parameters, laid out as Anole does. */
export function referenceParameters(network: ReferenceNetwork, layout: Layout): Float32Array {
  const values: number[] = [];
  Object.entries(network.leaves).forEach(([name, shape], i) => {
    const leaf = noise(count(shape), i + 1);
    const [inputs, outputs] = shape.slice(-2) as [number, number];
    const limit = shape.length > 1 ? Math.sqrt(6 / (count(shape.slice(0, -2)) * (inputs + outputs))) : 0;
    for (const x of leaf)
      values.push(shape.length > 1 ? x * limit : (name.endsWith('scale') ? 1 : 0) + 0.1 * x);
  });
  return fromReference(network, layout, values);
}

/** 50 inputs and targets of the reference's task. */
export function referenceData({ inputShape }: ReferenceNetwork, examples = 50) {
  const size = count(inputShape);
  if (inputShape.length === 1) {
    return {
      inputs: Float32Array.from(noise(examples, 100), (x) => 5 * x),
      targets: Float32Array.from(noise(examples, 101), (x) => 2 * x),
    };
  }
  return {
    inputs: Float32Array.from(noise(examples * size, 100), (x) => (x + 1) / 2),
    targets: Int32Array.from({ length: examples }, (_, i) => i % 5),
  };
}

/** Adam's second moments the carried inner loop starts from. */
export function referenceMoments(network: ReferenceNetwork, layout: Layout): Float32Array {
  const all = Object.values(network.leaves).reduce((total, shape) => total + count(shape), 0);
  const full = noise(all, 500).map((x) => (0.01 * (x + 1.5)) ** 2);
  return fromReference(network, layout, full);
}

/** A vector in the reference's layout put into Anole's, without the convolutions' biases. */
export function fromReference(
  { leaves }: ReferenceNetwork,
  layout: Layout,
  vector: ArrayLike<number>,
): Float32Array {
  const result = new Float32Array(layout.size);
  let offset = 0;
  for (const [name, shape] of Object.entries(leaves)) {
    const leaf = leafOf(layout, name);
    for (let i = 0; i < count(shape); i++, offset++) {
      if (leaf !== undefined) result[leaf.offset + i] = vector[offset]!;
    }
  }
  return result;
}

/** A vector in Anole's layout put into the reference's, with zeros for the convolutions' biases. */
function toReference({ leaves }: ReferenceNetwork, layout: Layout, vector: ArrayLike<number>): Float64Array {
  const full = Object.entries(leaves).flatMap(([name, shape]) => {
    const leaf = leafOf(layout, name);
    return Array.from({ length: count(shape) }, (_, i) =>
      leaf === undefined ? 0 : vector[leaf.offset + i]!,
    );
  });
  return Float64Array.from(full);
}

/**
 * The error of a vector against its summary, relative to the size of the vector: the largest over norm,
 * projections and samples, each on its own scale.
 */
export function summaryError(
  network: ReferenceNetwork,
  layout: Layout,
  vector: ArrayLike<number>,
  summary: Summary,
): number {
  const full = toReference(network, layout, vector);
  if (full.length !== summary.length)
    throw new Error(`expected ${summary.length} elements, got ${full.length}`);
  let largest = 0;
  let squares = 0;
  for (const x of full) {
    squares += x * x;
    largest = Math.max(largest, Math.abs(x));
  }
  const errors = [Math.abs(Math.sqrt(squares) - summary.norm) / summary.norm];
  summary.projections.forEach((expected, j) => {
    const direction = noise(full.length, 900 + j);
    const projection = full.reduce((total, x, i) => total + x * direction[i]!, 0);
    errors.push(Math.abs(projection - expected) / (summary.norm * Math.sqrt(1 / 3)));
  });
  summary.samples.forEach((expected, i) => {
    const index = Math.floor((i * (full.length - 1)) / 11);
    errors.push(Math.abs(full[index]! - expected) / largest);
  });
  return Math.max(...errors);
}
