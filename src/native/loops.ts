/** Elementwise operations over the same elements as one loop in C. */
import type { TypedArray } from '../graph/type.ts';
import { literal, typeNames } from './expressions.ts';
import { axesOf } from './kernels.ts';
import type { Elementwise } from './operations.ts';
import { commonGrid, isWhole, type Memory, type Region } from './regions.ts';

/** A function's body, and what its pointers `p0`, `p1`, … are. */
export interface LoopCode {
  readonly body: string;
  readonly pointers: readonly { readonly region: Region; readonly isWritten: boolean }[];
}

export interface LoopContext {
  /** Whether others read what an operation makes. */
  readonly isStored: (memory: Memory) => boolean;
  readonly constants: ReadonlyMap<Memory, TypedArray>;
}

/** Writes the loop. Values that only it reads stay in variables. */
export function loopCode(operations: readonly Elementwise[], context: LoopContext): LoopCode {
  return new Loop(operations, context).write();
}

/** Loops of so few rounds are not worth a vector. */
const shortLoop = 4;

class Loop {
  readonly #operations: readonly Elementwise[];
  readonly #context: LoopContext;
  readonly #lengths: readonly number[];
  readonly #pointers: { region: Region; isWritten: boolean }[] = [];
  /** Statements before each loop's inner one, and in the innermost; after each in `#after`. */
  readonly #before: string[][];
  readonly #after: string[][];
  /** At the end of the innermost loop, when everything is read: a result may take the place of an operand. */
  readonly #stores: string[] = [];
  readonly #reductions: string[] = [];
  readonly #variables = new Map<string, string>();
  readonly #made = new Map<Memory, string>();

  constructor(operations: readonly Elementwise[], context: LoopContext) {
    this.#operations = operations;
    this.#context = context;
    const [{ count }] = operations as [Elementwise];
    this.#lengths = commonGrid(axesOf(operations), count)!.lengths;
    this.#before = Array.from({ length: this.#lengths.length + 1 }, () => []);
    this.#after = Array.from({ length: this.#lengths.length + 1 }, () => []);
  }

  write(): LoopCode {
    const [{ count }] = this.#operations as [Elementwise];
    const start = this.#operations
      .filter(({ reduction }) => reduction !== undefined)
      .map(({ target, reduction, dtype }) => {
        const pointer = this.#pointer(target, true);
        const value = reduction === 'sum' ? '0' : literal(Number.NEGATIVE_INFINITY, dtype);
        return `  for (long i = 0; i < ${target.memory.size}; i++) ${pointer}[i] = ${value};\n`;
      });
    if (count === 0) return { body: start.join(''), pointers: this.#pointers };
    for (const operation of this.#operations) this.#operation(operation);
    return { body: start.join('') + this.#nest(0), pointers: this.#pointers };
  }

  /** The loops from an axis on, inwards. */
  #nest(depth: number): string {
    const indent = '  '.repeat(depth + 1);
    const lines = (statements: readonly string[]) => statements.map((line) => `${indent}${line}\n`).join('');
    if (depth === this.#lengths.length) return lines([...this.#before[depth]!, ...this.#stores]);
    const length = this.#lengths[depth]!;
    const isInnermost = depth === this.#lengths.length - 1;
    const simd =
      isInnermost && length > shortLoop ? `${indent}#pragma omp simd${this.#reductions.join('')}\n` : '';
    const loop = `${indent}for (long i${depth} = 0; i${depth} < ${length}; i${depth}++) {\n${this.#nest(depth + 1)}${indent}}\n`;
    return lines(this.#before[depth]!) + simd + loop + lines(this.#after[depth]!);
  }

  #operation({ operands, expression, dtype, target, reduction }: Elementwise): void {
    const innermost = this.#lengths.length;
    const value = expression(operands.map((operand) => this.#operand(operand)));
    const name = `v${this.#variables.size}`;
    this.#variables.set(name, name);
    this.#before[innermost]!.push(`const ${typeNames[dtype]} ${name} = ${value};`);
    if (reduction !== undefined) {
      this.#reduce(name, { target, reduction, dtype });
      return;
    }
    if (isWhole(target)) this.#made.set(target.memory, name);
    if (!this.#context.isStored(target.memory)) return;
    this.#stores.push(`${this.#element(target, true)} = ${name};`);
  }

  /** Adds to an element of the target; where that stays the same in the inner loops, to a variable first. */
  #reduce(
    value: string,
    { target, reduction, dtype }: Pick<Elementwise, 'target' | 'dtype'> & { reduction: 'sum' | 'max' },
  ): void {
    const innermost = this.#lengths.length;
    const place = this.#element(target, true);
    const fixed = this.#depthOf(target);
    const join = (to: string, from: string) =>
      reduction === 'sum'
        ? `${to} += ${from};`
        : `${to} = ${to} < ${from} || ${from} != ${from} ? ${from} : ${to};`;
    if (fixed === innermost) {
      this.#before[innermost]!.push(join(place, value));
      return;
    }
    const total = `t${this.#variables.size}`;
    this.#variables.set(total, total);
    const type = typeNames[dtype];
    if (reduction === 'sum') {
      this.#before[fixed]!.push(`${type} ${total} = 0;`);
      this.#before[innermost]!.push(join(total, value));
      this.#after[fixed]!.unshift(join(place, total));
      this.#reductions.push(` reduction(+:${total})`);
      return;
    }
    // Lanes are joined without regard to what is no number: whether there was any is kept beside.
    this.#before[fixed]!.push(`${type} ${total} = ${literal(Number.NEGATIVE_INFINITY, dtype)};`);
    this.#before[fixed]!.push(`int none_${total} = 0;`);
    this.#before[innermost]!.push(`${total} = ${total} < ${value} ? ${value} : ${total};`);
    this.#before[innermost]!.push(`none_${total} |= ${value} != ${value};`);
    const none = literal(Number.NaN, dtype);
    this.#after[fixed]!.push(`if (none_${total}) ${total} = ${none};`, join(place, total));
    this.#reductions.push(` reduction(max:${total}) reduction(|:none_${total})`);
  }

  /** A variable with an operand's element. */
  #operand(operand: Region): string {
    const made = isWhole(operand) ? this.#made.get(operand.memory) : undefined;
    if (made !== undefined) return made;
    const depth = this.#depthOf(operand);
    const constant = this.#context.constants.get(operand.memory);
    if (depth === 0 && constant !== undefined)
      return literal(constant[operand.offset]!, operand.memory.dtype);
    const element = this.#element(operand, false);
    const known = this.#variables.get(element);
    if (known !== undefined) return known;
    const name = `x${this.#variables.size}`;
    this.#variables.set(element, name);
    this.#before[depth]!.push(`const ${typeNames[operand.memory.dtype]} ${name} = ${element};`);
    return name;
  }

  /** How many loops there are around the one in which a region's element does not change any more. */
  #depthOf(region: Region): number {
    return this.#stridesOf(region).findLastIndex((stride) => stride !== 0) + 1;
  }

  /** The stride of each loop along a region. */
  #stridesOf({ axes }: Region): number[] {
    const rest = [...axes];
    return this.#lengths
      .toReversed()
      .map((length) => {
        const axis = rest.pop()!;
        if (axis.length > length) rest.push({ length: axis.length / length, stride: axis.stride * length });
        return axis.stride;
      })
      .reverse();
  }

  #element(region: Region, isWritten: boolean): string {
    const strides = this.#stridesOf(region);
    const terms = strides.flatMap((stride, i) =>
      stride === 0 ? [] : [stride === 1 ? `i${i}` : `i${i} * ${stride}`],
    );
    return `${this.#pointer(region, isWritten)}[${terms.join(' + ') || '0'}]`;
  }

  #pointer(region: Region, isWritten: boolean): string {
    const { memory, offset } = region;
    const known = this.#pointers.findIndex(
      (pointer) =>
        pointer.region.memory === memory &&
        pointer.region.offset === offset &&
        pointer.isWritten === isWritten,
    );
    if (known >= 0) return `p${known}`;
    this.#pointers.push({ region, isWritten });
    return `p${this.#pointers.length - 1}`;
  }
}
