/** The same body with a last layer of another width: how weights for 5 ways tell 2, or 20, classes apart. */
import { mapRecord } from '../graph/trace.ts';
import { type Shape, size } from '../graph/type.ts';
import type { Initialization } from '../meta/adapt.ts';
import type { Model } from '../nn/model.ts';

/**
 * Where the columns of the new last layer come from. `trained`: the first of the old, of which there must be
 * enough. `fresh`: every column starts as the mean of the old ones. The order of the classes of a task is
 * random in meta-training, so the columns are alike to begin with, and their mean is as good a start.
 */
export type HeadStart = 'trained' | 'fresh';

export interface HeadChange {
  /** The network for so many classes. */
  readonly modelFor: (ways: number) => Model;
  /** Ways of the initialization. */
  readonly from: number;
  /** Ways wanted. */
  readonly to: number;
  readonly head: HeadStart;
}

/** An initialization for `from` ways as one for `to`. */
export function withHead(start: Initialization, { modelFor, from, to, head }: HeadChange): Initialization {
  if (head === 'trained' && from === to) return start;
  const old = modelFor(from).layout;
  const { leaves, size: length } = modelFor(to).layout;
  const wider = modelFor(from + 1).layout.leaves;
  const widen = (vector: Float32Array) => {
    if (vector.length !== old.size) return vector; // a scalar of the optimizer's
    const out = new Float32Array(length);
    for (const { name, offset } of leaves) {
      const leaf = old.leaves.find((other) => other.name === name)!;
      const isHead = wider.find((other) => other.name === name)!.shape.at(-1) !== leaf.shape.at(-1);
      const values = vector.subarray(leaf.offset, leaf.offset + size(leaf.shape));
      out.set(isHead ? columns(values, leaf.shape, to, head) : values, offset);
    }
    return out;
  };
  return { parameters: widen(start.parameters), innerState: mapRecord(start.innerState, widen) };
}

/** [rows, from] → [rows, to], row-major. */
function columns(values: Float32Array, shape: Shape, to: number, head: HeadStart): Float32Array {
  const from = shape.at(-1)!;
  const rows = values.length / from;
  const out = new Float32Array(rows * to);
  for (let row = 0; row < rows; row++) {
    const old = values.subarray(row * from, (row + 1) * from);
    const mean = old.reduce((a, b) => a + b, 0) / from;
    for (let column = 0; column < to; column++) {
      out[row * to + column] = head === 'fresh' ? mean : old[column]!;
    }
  }
  return out;
}
