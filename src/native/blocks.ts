/** Functions in C that compute a block of a matrix product, all of it in vector registers, and that move vectors. */
import type { DType } from '../graph/type.ts';
import { typeNames } from './expressions.ts';
import { bytesOf } from './regions.ts';

/** What the compiler's machine has. */
export interface Machine {
  /** Bytes of a vector register. */
  readonly vectorBytes: 16 | 32 | 64;
  /** How many there are. */
  readonly vectorRegisters: 16 | 32;
}

/** Elements of a vector. */
export function lanesOf({ vectorBytes }: Machine, dtype: DType): number {
  return vectorBytes / bytesOf[dtype];
}

/** A block of results: so many rows, and columns of so many vectors. */
export interface Block {
  readonly rows: number;
  readonly vectors: number;
}

/** Blocks for columns `columns` wide, by how many columns each covers; the registers left hold a row of the right side. */
export function columnBlocks(
  columns: number,
  machine: Machine,
  dtype: DType,
): { start: number; width: number; block: Block }[] {
  const lanes = lanesOf(machine, dtype);
  const wide = machine.vectorRegisters === 32 ? 4 : 2;
  const blocks: { start: number; width: number; block: Block }[] = [];
  for (let start = 0; start < columns; ) {
    const vectors = Math.min(wide, Math.ceil((columns - start) / lanes));
    const rows = Math.min(14, Math.floor((machine.vectorRegisters - vectors - 2) / vectors));
    const width = Math.min(columns - start, vectors * lanes);
    blocks.push({ start, width, block: { rows, vectors } });
    start += width;
  }
  return blocks;
}

/** Types and the functions for single blocks, by name. */
export class Blocks {
  readonly #machine: Machine;
  readonly #functions = new Map<string, string>();
  /** Functions around them, by their text after the name. */
  readonly #wrappers = new Map<string, string>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get code(): string {
    const wrappers = [...this.#wrappers].map(
      ([text, name]) => `static __attribute__((noinline)) void ${name}${text}`,
    );
    return [...this.#functions.values(), ...wrappers].join('');
  }

  get machine(): Machine {
    return this.#machine;
  }

  /** The type of a vector, wherever it lies. */
  #vector(dtype: DType): string {
    const name = `${typeNames[dtype]}_vector`;
    const { vectorBytes } = this.#machine;
    const aligned = bytesOf[dtype];
    this.#functions.set(
      name,
      `typedef ${typeNames[dtype]} ${name} __attribute__((vector_size(${vectorBytes}), aligned(${aligned}), may_alias));\n`,
    );
    return name;
  }

  /** A function that moves one vector. */
  move(dtype: DType): string {
    const [name, type, vector] = [`move_${dtype}`, typeNames[dtype], this.#vector(dtype)];
    this.#functions.set(
      name,
      `static inline void ${name}(const ${type} *from, ${type} *to) { *(${vector} *)to = *(const ${vector} *)from; }\n`,
    );
    return name;
  }

  /** A function that turns a square of one vector a side around: halves of rows change place, then quarters, and so on. */
  turn(dtype: DType): string {
    const [name, type, vector] = [`turn_${dtype}`, typeNames[dtype], this.#vector(dtype)];
    const lanes = lanesOf(this.#machine, dtype);
    const each = Array.from({ length: lanes }, (_, i) => i);
    const lines: string[] = [];
    for (let half = 1; half < lanes; half *= 2) {
      const upper = each.map((lane) => ((lane & half) === 0 ? lane : lanes + lane - half));
      const lower = each.map((lane) => ((lane & half) === 0 ? lane + half : lanes + lane));
      for (const i of each) {
        if ((i & half) !== 0) continue;
        const pair = `rows[${i}], rows[${i + half}]`;
        lines.push(`  next = __builtin_shufflevector(${pair}, ${upper.join(', ')});`);
        lines.push(`  rows[${i + half}] = __builtin_shufflevector(${pair}, ${lower.join(', ')});`);
        lines.push(`  rows[${i}] = next;`);
      }
    }
    this.#functions.set(
      name,
      `#ifndef __has_builtin
#define __has_builtin(name) 0
#endif
static inline void ${name}(const ${type} *from, long fromStep, ${type} *to, long toStep) {
#if __has_builtin(__builtin_shufflevector)
  ${vector} rows[${lanes}], next;
  for (int i = 0; i < ${lanes}; i++) rows[i] = *(const ${vector} *)(from + i * fromStep);
${lines.join('\n')}
  for (int i = 0; i < ${lanes}; i++) *(${vector} *)(to + i * toStep) = rows[i];
#else
  for (int i = 0; i < ${lanes}; i++) for (int j = 0; j < ${lanes}; j++) to[i * toStep + j] = from[j * fromStep + i];
#endif
}
`,
    );
    return name;
  }

  /** The end of a block's function: results into rows `c(i)`, of which the first `width` columns count. */
  #store(dtype: DType, { rows, vectors }: Block, row: (i: number) => string): string {
    const vector = this.#vector(dtype);
    const lanes = lanesOf(this.#machine, dtype);
    const each = Array.from({ length: rows }, (_, i) => i);
    return `
  if (width == ${vectors * lanes}) {
${each.map((i) => `    for (int j = 0; j < ${vectors}; j++) *(${vector} *)(${row(i)} + j * ${lanes}) = sums[${i}][j];`).join('\n')}
  } else {
    ${typeNames[dtype]} spilled[${vectors * lanes}];
${each
  .map(
    (i) =>
      `    for (int j = 0; j < ${vectors}; j++) *(${vector} *)(spilled + j * ${lanes}) = sums[${i}][j];\n    for (int j = 0; j < width; j++) (${row(i)})[j] = spilled[j];`,
  )
  .join('\n')}
  }
`;
  }

  /**
   * Σ over `stretches` and k of a[i][k] · b[k]: rows of the left side lie in stretches, side by side. Its rows, and those
   * of the result, have a pointer each, or are at equal distances from the first: then one register points to all.
   */
  rows(dtype: DType, block: Block, are: 'anywhere' | 'even'): string {
    const { rows, vectors } = block;
    const name = `rows_${are}_${dtype}_${rows}x${vectors}`;
    const [type, vector, lanes] = [typeNames[dtype], this.#vector(dtype), lanesOf(this.#machine, dtype)];
    const [parameters, start, left, result] =
      are === 'even'
        ? [
            `const ${type} *a, long stepA, ${type} *c, long stepC`,
            `const ${type} *row = a + s * stretch;`,
            (i: string) => `row[${i} * stepA + k]`,
            (i: number) => `c + ${i} * stepC`,
          ]
        : [
            `const ${type} *const *a, ${type} *const *c`,
            `const ${type} *row[${rows}]; for (int i = 0; i < ${rows}; i++) row[i] = a[i] + s * stretch;`,
            (i: string) => `row[${i}][k]`,
            (i: number) => `c[${i}]`,
          ];
    this.#functions.set(
      name,
      `static inline __attribute__((always_inline)) void ${name}(long stretches, long stretch, long length, const ${type} *b, long right, long width, ${parameters}) {
  ${vector} sums[${rows}][${vectors}] = {0};
  for (long s = 0; s < stretches; s++) {
    ${start}
    for (long k = 0; k < length; k++, b += right) {
      ${vector} values[${vectors}];
      for (int j = 0; j < ${vectors}; j++) values[j] = *(const ${vector} *)(b + j * ${lanes});
      for (int i = 0; i < ${rows}; i++) for (int j = 0; j < ${vectors}; j++) sums[i][j] += ${left('i')} * values[j];
    }
  }${this.#store(dtype, block, result)}}
`,
    );
    return name;
  }

  /** Σ over k of a[k][i] · b[k], k along three axes. */
  columns(dtype: DType, block: Block): string {
    const { rows, vectors } = block;
    const name = `columns_${dtype}_${rows}x${vectors}`;
    const [type, vector, lanes] = [typeNames[dtype], this.#vector(dtype), lanesOf(this.#machine, dtype)];
    this.#functions.set(
      name,
      `static inline __attribute__((always_inline)) void ${name}(const long *steps, const ${type} *a, const ${type} *b, ${type} *c, long below, long width, int adds) {
  ${vector} sums[${rows}][${vectors}] = {0};
  for (long x = 0; x < steps[0]; x++) for (long y = 0; y < steps[1]; y++) {
    const ${type} *left = a + x * steps[3] + y * steps[4], *right = b + x * steps[6] + y * steps[7];
    for (long z = 0; z < steps[2]; z++, left += steps[5], right += steps[8]) {
      ${vector} values[${vectors}];
      for (int j = 0; j < ${vectors}; j++) values[j] = *(const ${vector} *)(right + j * ${lanes});
      for (int i = 0; i < ${rows}; i++) for (int j = 0; j < ${vectors}; j++) sums[i][j] += left[i] * values[j];
    }
  }
  if (adds) for (int i = 0; i < ${rows}; i++) for (int j = 0; j < ${vectors}; j++) {
    const ${type} *before = c + i * below + j * ${lanes};
    if (width == ${vectors * lanes}) sums[i][j] += *(const ${vector} *)before;
    else for (int l = 0; l < ${lanes}; l++) if (j * ${lanes} + l < width) sums[i][j][l] += before[l];
  }${this.#store(dtype, block, (i) => `c + ${i} * below`)}}
`,
    );
    return name;
  }

  /**
   * A function of its own around a block with everything known that can be: the compiler then steps by constants, which
   * short sums need.
   */
  #around(parameters: string, call: string): string {
    const text = `(${parameters}) { ${call} }\n`;
    const known = this.#wrappers.get(text);
    if (known !== undefined) return known;
    const name = `block_${this.#wrappers.size}`;
    this.#wrappers.set(text, name);
    return name;
  }

  /** A function (left, b, result) for rows of a block that lie in known stretches. */
  rowsOf(
    dtype: DType,
    block: Block,
    sizes: readonly [stretches: number, stretch: number, length: number, right: number],
    width: number,
  ): string {
    const type = typeNames[dtype];
    const [stretches, stretch, length, right] = sizes;
    return this.#around(
      `const ${type} *const *a, const ${type} *b, ${type} *const *c`,
      `${this.rows(dtype, block, 'anywhere')}(${stretches}, ${stretch}, ${length}, b, ${right}, ${width}, a, c);`,
    );
  }

  /** A function (a, b, c) for rows of a block at equal distances. */
  evenRows(
    dtype: DType,
    block: Block,
    sizes: readonly [stretches: number, stretch: number, length: number, right: number],
    width: number,
    [stepA, stepC]: readonly [number, number],
  ): string {
    const type = typeNames[dtype];
    const [stretches, stretch, length, right] = sizes;
    return this.#around(
      `const ${type} *a, const ${type} *b, ${type} *c`,
      `${this.rows(dtype, block, 'even')}(${stretches}, ${stretch}, ${length}, b, ${right}, ${width}, a, ${stepA}, c, ${stepC});`,
    );
  }

  /** A function (left, right, result, x, adds) for sums along three axes, of which the one at `cut` has x steps. */
  columnsOf(dtype: DType, block: Block, steps: readonly string[], below: number, width: number): string {
    const type = typeNames[dtype];
    return this.#around(
      `const ${type} *a, const ${type} *b, ${type} *c, long strip, int adds`,
      `const long steps[9] = {${steps.join(', ')}}; ${this.columns(dtype, block)}(steps, a, b, c, ${below}, ${width}, adds);`,
    );
  }
}
