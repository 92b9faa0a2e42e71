/** What a program does, one operation after another, before it is written in C. */
import type { DType } from '../graph/type.ts';
import {
  collapse,
  isSideBySide,
  isWhole,
  lengthOf,
  Memory,
  type Region,
  sideBySide,
  wholeOf,
} from './regions.ts';

/**
 * The same expression for each of `count` elements. Several over the same elements become one loop: what one
 * writes and another reads at the same places then stays in registers.
 */
export interface Elementwise {
  readonly kind: 'elementwise';
  readonly count: number;
  readonly dtype: DType;
  readonly operands: readonly Region[];
  /** In C, from the operands of an element. */
  readonly expression: (operands: readonly string[]) => string;
  /** Where the elements go; with a reduction, several to one place. */
  readonly target: Region;
  readonly reduction?: 'sum' | 'max';
  /** Writes again where earlier operations have written. */
  readonly overwrites?: boolean;
}

/** A function of its own. */
export interface Call {
  readonly kind: 'call';
  readonly reads: readonly Region[];
  readonly writes: readonly Region[];
  /** The body of the function, given the names of its pointers to what it reads and writes. */
  readonly code: (names: { reads: string[]; writes: string[] }) => string;
}

export type Operation = Elementwise | Call;

export function writesOf(operation: Operation): readonly Region[] {
  return operation.kind === 'call' ? operation.writes : [operation.target];
}

export function readsOf(operation: Operation): readonly Region[] {
  return operation.kind === 'call' ? operation.reads : operation.operands;
}

/** Operations in order, and memories that begin with zeros, which nobody else may have written to. */
export class Operations {
  readonly list: Operation[] = [];
  /** Memories of which only a part is written: the rest stays 0. By what the written part looks like. */
  readonly zeroed = new Map<Memory, string>();

  /** Values that also stand in a larger memory, with something around them. */
  readonly #windows = new Map<Memory, Region>();
  readonly #bordered = new Map<string, Region>();
  readonly #numbers = new Map<Memory, number>();
  /** What operations write. */
  readonly #made = new Set<Memory>();

  add(operation: Operation): void {
    this.list.push(operation);
    for (const { memory } of writesOf(operation)) this.#made.add(memory);
  }

  /** Lets a value be made as a stretch of a larger memory; false where it must stay what it is. */
  place(region: Region, within: { readonly memory: Memory; readonly offset: number }): boolean {
    if (!this.isFree(region)) return false;
    region.memory.within = within;
    this.#made.add(within.memory);
    return true;
  }

  /** Whether a region is all of a memory that is made here and lies nowhere else. */
  isFree(region: Region): boolean {
    const { memory } = region;
    return (
      isWhole(region) && memory.within === undefined && this.#made.has(memory) && !this.zeroed.has(memory)
    );
  }

  /** An elementwise operation into a memory of its own, of the same dtype unless `kept` is another that holds its values. */
  elementwise(operation: Omit<Elementwise, 'kind' | 'target'>, kept = operation.dtype): Region {
    const target = wholeOf(new Memory(kept, operation.count));
    this.add({ kind: 'elementwise', ...operation, target });
    return target;
  }

  copy(from: Region, target: Region, count: number, overwrites = false): void {
    const { dtype } = target.memory;
    const expression = ([x]: readonly string[]) => x!;
    this.add({ kind: 'elementwise', count, dtype, operands: [from], expression, target, overwrites });
  }

  /**
   * A memory of zeros with a region's elements in a window of it, at `offset` along `axes`; the same one for the same
   * request. What reads the value element by element reads it there from now on, so that it need not stand twice.
   */
  bordered(region: Region, size: number, { offset, axes }: Pick<Region, 'offset' | 'axes'>): Region {
    const { dtype } = region.memory;
    const geometry = JSON.stringify([dtype, size, offset, axes]);
    const key = `${this.#numberOf(region.memory)} ${region.offset} ${JSON.stringify(region.axes)} ${geometry}`;
    const known = this.#bordered.get(key);
    if (known !== undefined) return known;
    const memory = new Memory(dtype, size);
    const window = { memory, offset, axes };
    this.zeroed.set(memory, geometry);
    this.copy(region, window, lengthOf(axes));
    if (isWhole(region)) this.#windows.set(region.memory, window);
    this.#bordered.set(key, wholeOf(memory));
    return wholeOf(memory);
  }

  /** Where a value is best read element by element. */
  nearest(region: Region): Region {
    return (isWhole(region) ? this.#windows.get(region.memory) : undefined) ?? region;
  }

  #numberOf(memory: Memory): number {
    const number = this.#numbers.get(memory) ?? this.#numbers.size;
    this.#numbers.set(memory, number);
    return number;
  }

  /** The same elements side by side: where they are, or copied. */
  sideBySide(region: Region, count: number): Region {
    if (isSideBySide(collapse(region.axes))) return { ...region, axes: sideBySide(count) };
    const target = wholeOf(new Memory(region.memory.dtype, count));
    this.copy(region, target, count);
    return target;
  }
}
