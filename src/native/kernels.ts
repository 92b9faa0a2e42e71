/**
 * Which operations become one loop, and in which order loops and calls run. Two elementwise operations over the same
 * elements belong together where one reads what the other writes, or both read the same; unless something else has
 * to happen in between.
 */
import type { Call, Elementwise, Operation } from './operations.ts';
import { readsOf, writesOf } from './operations.ts';
import { type Axis, commonGrid, isWhole, type Memory, type Region } from './regions.ts';

/** One function of the program. */
export class Kernel {
  readonly operations: Operation[];
  /** Those that have to run before. */
  readonly after = new Set<Kernel>();
  /** Places of its first and last operation in the program. */
  first: number;
  last: number;

  constructor(operation: Operation, place: number) {
    this.operations = [operation];
    [this.first, this.last] = [place, place];
  }

  get loop(): readonly Elementwise[] | undefined {
    return this.operations[0]!.kind === 'elementwise' ? (this.operations as Elementwise[]) : undefined;
  }

  get call(): Call | undefined {
    const [operation] = this.operations;
    return operation!.kind === 'call' ? operation : undefined;
  }
}

/** All kernels, and which of them makes what. */
export class Kernels {
  readonly all = new Set<Kernel>();
  /** The kernels that write to a memory, or to a stretch of it. */
  readonly #makers = new Map<Memory, Set<Kernel>>();
  /** The kernel that writes all of a memory element by element, and nobody else does. */
  readonly #elementwise = new Map<Memory, Kernel>();
  /** Loops that read a whole region in its order. */
  readonly #readers = new Map<string, Kernel[]>();
  readonly #numbers = new Map<Memory, number>();
  /** Where an operation stood in the program. */
  readonly #places = new Map<Operation, number>();

  constructor(operations: readonly Operation[]) {
    operations.forEach((operation, place) => {
      this.#add(operation, place);
    });
  }

  /**
   * Kernels in an order in which each finds what it reads: that of the program, but for those nobody waits for, such as an
   * optimizer's step. They come at once, while what they read is still in the processor's cache.
   */
  inOrder(): Kernel[] {
    const users = new Map<Kernel, Kernel[]>([...this.all].map((kernel) => [kernel, []]));
    for (const kernel of this.all) for (const before of kernel.after) users.get(before)!.push(kernel);
    const missing = new Map([...this.all].map((kernel) => [kernel, kernel.after.size]));
    const ready = [...this.all].filter(({ after }) => after.size === 0);
    const order: Kernel[] = [];
    while (ready.length > 0) {
      const rank = (kernel: Kernel) => (users.get(kernel)!.length === 0 ? -1 : kernel.last);
      const next = ready.reduce((best, kernel) => (rank(kernel) < rank(best) ? kernel : best));
      ready.splice(ready.indexOf(next), 1);
      order.push(next);
      for (const user of users.get(next)!) {
        missing.set(user, missing.get(user)! - 1);
        if (missing.get(user) === 0) ready.push(user);
      }
    }
    if (order.length < this.all.size) throw new Error('internal: loops that wait for one another');
    return order;
  }

  /** A kernel of its own at the end. */
  append(operation: Operation): Kernel {
    const kernel = new Kernel(operation, Number.MAX_SAFE_INTEGER);
    this.all.add(kernel);
    for (const { memory } of readsOf(operation))
      for (const maker of this.makersOf(memory)) kernel.after.add(maker);
    return kernel;
  }

  /** Lets one kernel wait for another, wherever they stood. */
  delay(late: Kernel, early: Kernel): void {
    late.after.add(early);
  }

  makersOf(memory: Memory): ReadonlySet<Kernel> {
    return this.#makers.get(memory) ?? new Set();
  }

  /** Whether `early` has to run before `late`. */
  precedes(early: Kernel, late: Kernel): boolean {
    const seen = new Set([late]);
    for (const kernel of seen) {
      for (const before of kernel.after) {
        if (before === early) return true;
        seen.add(before); // loops that were joined run later than where their first operations stood
      }
    }
    return false;
  }

  #add(operation: Operation, place: number): void {
    const own = new Kernel(operation, place);
    this.all.add(own);
    this.#places.set(operation, place);
    for (const region of readsOf(operation)) {
      for (const maker of this.makersOf(region.memory)) own.after.add(maker);
    }
    let kernel = own;
    if (operation.kind === 'elementwise') {
      if (operation.overwrites)
        for (const maker of this.makersOf(operation.target.memory)) own.after.add(maker);
      for (const other of this.#neighbours(operation)) kernel = this.#merge(other, kernel) ?? kernel;
      for (const operand of operation.operands) this.#remember(operand, kernel);
    }
    for (const { memory } of writesOf(operation)) {
      const isFirst = this.makersOf(memory).size === 0;
      const isWritten = operation.kind === 'elementwise' && operation.reduction === undefined;
      if (isFirst && isWritten && isWhole(operation.target)) this.#elementwise.set(memory, kernel);
      else this.#elementwise.delete(memory);
      this.#made(memory, kernel);
    }
  }

  /** Writes to a stretch of a memory are writes to that memory, too. */
  #made(memory: Memory, kernel: Kernel): void {
    for (let at: Memory | undefined = memory; at !== undefined; at = at.within?.memory) {
      const makers = this.#makers.get(at);
      if (makers === undefined) this.#makers.set(at, new Set([kernel]));
      else makers.add(kernel);
    }
  }

  /** Loops that an operation may join, latest first. */
  #neighbours({ operands, count }: Elementwise): Kernel[] {
    const makers = operands.flatMap((operand) =>
      isWhole(operand) ? [this.#elementwise.get(operand.memory)] : [],
    );
    const siblings = operands
      .filter(({ axes }) => axes.every(({ stride }) => stride !== 0)) // what is repeated is no reason to meet
      .flatMap((operand) => this.#readers.get(this.#keyOf(operand)) ?? []);
    const found = [...makers, ...siblings].filter(
      (kernel): kernel is Kernel =>
        kernel !== undefined && this.all.has(kernel) && kernel.loop![0]!.count === count,
    );
    return [...new Set(found)].sort((a, b) => b.last - a.last);
  }

  #remember(operand: Region, kernel: Kernel): void {
    const key = this.#keyOf(operand);
    const readers = this.#readers.get(key);
    if (readers === undefined) this.#readers.set(key, [kernel]);
    else if (!readers.includes(kernel)) readers.push(kernel);
  }

  #keyOf({ memory, offset, axes }: Region): string {
    const known = this.#numbers.get(memory) ?? this.#numbers.size;
    this.#numbers.set(memory, known);
    return `${known} ${offset} ${axes.map(({ length, stride }) => `${length}:${stride}`).join()}`;
  }

  /** Both in one loop, or undefined where that can not be. */
  #merge(a: Kernel, b: Kernel): Kernel | undefined {
    if (a === b) return a;
    const both = [...a.operations, ...b.operations] as Elementwise[];
    if (!fits(both)) return undefined;
    if (this.#mustWait(a, b) || this.#mustWait(b, a)) return undefined;
    a.operations.push(...b.operations);
    a.operations.sort((x, y) => this.#places.get(x)! - this.#places.get(y)!);
    for (const before of b.after) if (before !== a) a.after.add(before);
    a.after.delete(b);
    a.first = Math.min(a.first, b.first);
    a.last = Math.max(a.last, b.last);
    this.#replace(b, a);
    return a;
  }

  #replace(old: Kernel, kernel: Kernel): void {
    this.all.delete(old);
    if (old.operations.length === 1 && this.#places.get(old.operations[0]!) === this.#places.size - 1) return; // new: unknown to all
    for (const other of this.all) if (other.after.delete(old) && other !== kernel) other.after.add(kernel);
    for (const makers of this.#makers.values()) if (makers.delete(old)) makers.add(kernel);
    for (const [memory, maker] of this.#elementwise) if (maker === old) this.#elementwise.set(memory, kernel);
    for (const [key, readers] of this.#readers) {
      if (readers.includes(old)) {
        this.#readers.set(key, [...new Set(readers.map((reader) => (reader === old ? kernel : reader)))]);
      }
    }
  }

  /** Whether something of `late` needs all of `early` to be done. */
  #mustWait(early: Kernel, late: Kernel): boolean {
    if (late.after.has(early)) {
      const isLocal = (region: Region) => isWhole(region) && this.#elementwise.get(region.memory) === early;
      const reads = late.operations.flatMap(readsOf);
      if (reads.some((region) => this.makersOf(region.memory).has(early) && !isLocal(region))) return true;
      const writes = late.operations.flatMap(writesOf);
      if (writes.some(({ memory }) => this.#elementwise.get(memory) === early)) return true; // to be overwritten
    }
    return [...late.after].some((before) => before !== early && this.precedes(early, before));
  }

  /** The loop that alone makes all of a memory, element by element. */
  elementwiseMaker(memory: Memory): Kernel | undefined {
    return this.#elementwise.get(memory);
  }
}

/** Whether all go over the same elements along common axes. */
function fits(operations: readonly Elementwise[]): boolean {
  const [{ count }] = operations as [Elementwise];
  if (operations.some((operation) => operation.count !== count)) return false;
  return commonGrid(axesOf(operations), count) !== undefined;
}

/** The axes of everything that operations read and write. */
export function axesOf(operations: readonly Elementwise[]): (readonly Axis[])[] {
  return operations.flatMap(({ operands, target }) => [...operands.map(({ axes }) => axes), target.axes]);
}
