/**
 * What the algorithms learn from: tasks with a support and a query set, and sources that draw them.
 * Anything that implements `TaskSource` can be meta-trained on.
 */
import { OptionError } from '../errors.ts';
import type { Random } from './random.ts';

/** Labelled examples, packed row-major. */
export interface Examples {
  /** How many examples. */
  readonly count: number;
  /** float32 [count, ...inputShape]. */
  readonly inputs: Float32Array;
  /** Class ids in 0 … ways − 1, int32 [count]; or regression targets, float32 [count, outputs]. */
  readonly targets: Int32Array | Float32Array;
}

/** One task τ. Support and query share no example, but where a regression task is judged on its whole curve. */
export interface Task {
  readonly support: Examples;
  readonly query: Examples;
}

/** How many examples a task is drawn with: per class for classification, in all for regression. */
export interface TaskSize {
  readonly support: number;
  readonly query: number;
}

/** Draws tasks from a distribution. The same stream state always gives the same task. */
export interface TaskSource {
  /** Shape of one input, such as [28, 28, 1]. */
  readonly inputShape: readonly number[];
  /** `classes`: targets are class ids out of `outputs`; `values`: targets are vectors of length `outputs`. */
  readonly targets: 'classes' | 'values';
  /** Classes in a task (ways), or the length of a regression target. */
  readonly outputs: number;
  /**
   * Draws one task. `spent` is an earlier one of this size that nobody reads any more: its arrays may be written again,
   * which saves a training the making and collecting of fresh ones.
   * @throws {DataError} when a class has fewer than `size.support + size.query` examples.
   */
  sample(random: Random, size: TaskSize, spent?: Task): Task;
}

/**
 * Images sorted by class, held in memory: what Omniglot, glyphs and image folders are read into.
 * `few-shot.ts` draws tasks from it.
 */
export interface ImageClasses {
  /** [height, width, channels]. */
  readonly imageShape: readonly [number, number, number];
  readonly classCount: number;
  /** A name for messages, such as `Greek/character07`. */
  className(classIndex: number): string;
  /** How many images a class has; at least 1. */
  imageCount(classIndex: number): number;
  /** Writes one image as float32 in [0, 1], row-major HWC, into `out` at `offset`. */
  read(classIndex: number, imageIndex: number, out: Float32Array, offset: number): void;
}

/** @throws {OptionError} unless there is at least one support example and no part of one. */
export function checkTaskSize({ support, query }: TaskSize): void {
  if (!Number.isInteger(support) || support < 1 || !Number.isInteger(query) || query < 0) {
    throw new OptionError(
      `a task needs whole numbers of at least 1 support and 0 query examples, got ${support} and ${query}`,
    );
  }
}
