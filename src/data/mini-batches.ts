/** Which examples of a task make up each mini-batch. */
import { checkChoice, DataError } from '../errors.ts';
import type { Random } from './random.ts';

/**
 * `cycle`: shuffle, walk through, reshuffle, so that a batch may straddle two passes; `replacement`: every
 * batch is an independent draw without repetition inside it (§6.3).
 */
export type Sampling = 'cycle' | 'replacement';

const samplings: readonly Sampling[] = ['cycle', 'replacement'];

export interface MiniBatchOptions {
  /** How many examples there are. */
  readonly examples: number;
  /** Examples in a batch. */
  readonly batch: number;
  readonly batches: number;
  /** @default 'cycle' */
  readonly sampling?: Sampling;
}

/**
 * Indices of the examples of each batch, int32 [batches, batch].
 * @throws {OptionError} for an unknown way of sampling
 * @throws {DataError} when a batch is larger than the number of examples
 */
export function miniBatches(random: Random, options: MiniBatchOptions): Int32Array {
  const { examples, batch, batches, sampling = 'cycle' } = options;
  checkChoice('sampling', sampling, samplings);
  if (batch > examples && batches > 0) {
    throw new DataError(
      `a mini-batch of ${batch} needs as many examples, the task has ${examples}: lower the batch`,
    );
  }
  const indices = new Int32Array(batches * batch);
  if (sampling === 'replacement') {
    for (let i = 0; i < batches; i++) indices.set(random.choose(examples, batch), i * batch);
    return indices;
  }
  const order = Int32Array.from({ length: examples }, (_, i) => i);
  for (let filled = 0; filled < indices.length; filled += examples) {
    random.shuffle(order);
    indices.set(order.subarray(0, indices.length - filled), filled);
  }
  return indices;
}
