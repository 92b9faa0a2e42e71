import { OptionError } from '../errors.ts';
import type { TaskSize } from './task.ts';

/** @throws {OptionError} unless there is at least one support example and no part of one. */
export function checkTaskSize({ support, query }: TaskSize): void {
  if (!Number.isInteger(support) || support < 1 || !Number.isInteger(query) || query < 0) {
    throw new OptionError(
      `a task needs whole numbers of at least 1 support and 0 query examples, got ${support} and ${query}`,
    );
  }
}
