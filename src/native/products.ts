/**
 * Matrix products, and convolutions as such, in C. A block of results stays in vector registers while it goes
 * through all that is summed. The rows of a product may lie anywhere: those of a convolution are the patches of its
 * images where they are, each as a few stretches of pixels side by side, and nothing is gathered.
 */
import type { DType } from '../graph/type.ts';
import { typeNames } from './expressions.ts';
import { type Axis, bytesOf, commonGrid, type Grid, lengthOf } from './regions.ts';

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
interface Block {
  readonly rows: number;
  readonly vectors: number;
}

/** Blocks for columns `columns` wide, by how many columns each covers; the registers left hold a row of the right side. */
function columnBlocks(
  columns: number,
  machine: Machine,
  dtype: DType,
): { start: number; width: number; block: Block }[] {
  const lanes = lanesOf(machine, dtype);
  const wide = machine.vectorRegisters === 32 ? 4 : 2;
  const blocks: { start: number; width: number; block: Block }[] = [];
  for (let start = 0; start < columns; ) {
    const left = Math.ceil((columns - start) / lanes);
    const vectors = left >= wide ? wide : left === 3 ? 3 : left;
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

/** A · B with the rows of A and of the result along axes, each row of A as `stretches` of `length`; B row-major. */
export interface RowProduct {
  readonly dtype: DType;
  readonly rowsOfA: readonly Axis[];
  readonly rowsOfC: readonly Axis[];
  readonly stretches: number;
  /** From one stretch to the next. */
  readonly stretch: number;
  readonly length: number;
  readonly columns: number;
  /** First elements. */
  readonly a: number;
  readonly c: number;
}

/** Statements that compute it from pointers to A, B and C. */
export function rowProduct(
  blocks: Blocks,
  product: RowProduct,
  [a, b, c]: readonly [string, string, string],
): string {
  const { dtype, rowsOfA, rowsOfC, stretches, stretch, length, columns } = product;
  const grid = commonGrid([rowsOfA, rowsOfC], lengthOf(rowsOfC))!;
  const parts = columnBlocks(columns, blocks.machine, dtype).map(({ start, width, block }): string => {
    const sizes = [stretches, stretch, length, columns] as const;
    const starts = [`${a} + ${product.a}`, `${b} + ${start}`, `${c} + ${product.c + start}`] as const;
    const run = grid.lengths.at(-1) ?? 1;
    const tiles = Math.ceil(run / block.rows);
    // Rows at equal distances need no pointer each; but few rows at a time read the right side too often.
    return grid.lengths.length <= 1 || run / tiles >= 0.75 * block.rows
      ? evenRows(blocks, { dtype, block, sizes, width, grid }, starts)
      : scatteredRows(blocks, { dtype, block, sizes, width, grid }, starts);
  });
  return parts.join('');
}

interface RowTiles {
  readonly dtype: DType;
  readonly block: Block;
  readonly sizes: readonly [stretches: number, stretch: number, length: number, right: number];
  readonly width: number;
  /** Of the rows of A and of the result. */
  readonly grid: Grid;
}

/** Tiles within the innermost axis of the rows. */
function evenRows(
  blocks: Blocks,
  { dtype, block, sizes, width, grid }: RowTiles,
  [a, b, c]: readonly [string, string, string],
): string {
  const outer = grid.lengths.slice(0, -1);
  const run = grid.lengths.at(-1) ?? 1;
  const [stepA, stepC] = grid.strides.map((strides) => strides.at(-1) ?? 0) as [number, number];
  const place = (list: number) => outer.map((_, i) => ` + i${i} * ${grid.strides[list]![i]}`).join('');
  const loops = outer.map((n, i) => `for (long i${i} = 0; i${i} < ${n}; i${i}++) `).join('');
  // A long run in full tiles and a rest, a short one in tiles of about the same size.
  const isLong = run > 4 * block.rows;
  const tiles = Math.ceil(run / block.rows);
  const rows = isLong ? block.rows : Math.ceil(run / tiles);
  const full = Math.floor(run / rows);
  const call = (count: number, at: string) =>
    `${blocks.evenRows(dtype, { ...block, rows: count }, sizes, width, [stepA, stepC])}(${a}${place(0)} + ${at} * ${stepA}, ${b}, ${c}${place(1)} + ${at} * ${stepC});`;
  const rest = run - full * rows;
  const body = [
    `    for (long row = 0; row < ${full * rows}; row += ${rows}) ${call(rows, 'row')}\n`,
    ...(rest > 0 ? [`    ${call(rest, `${full * rows}L`)}\n`] : []),
  ];
  return `  ${loops}{\n${body.join('')}  }\n`;
}

/** Tiles of rows wherever they lie. */
function scatteredRows(
  blocks: Blocks,
  { dtype, block, sizes, width, grid }: RowTiles,
  [a, b, c]: readonly [string, string, string],
): string {
  const type = typeNames[dtype];
  const count = grid.lengths.reduce((x, y) => x * y, 1);
  const tile = (rows: number) => `    const ${type} *left[${rows}];
    ${type} *result[${rows}];
    for (long i = 0; i < ${rows}; i++) {
      long at = row + i;
${stepAlong(grid, 'at', [
  ['from', 0],
  ['to', 1],
])}
      left[i] = ${a} + from;
      result[i] = ${c} + to;
    }
    ${blocks.rowsOf(dtype, { ...block, rows }, sizes, width)}(left, ${b}, result);`;
  const full = count - (count % block.rows);
  const loop =
    full === 0
      ? ''
      : `  for (long row = 0; row < ${full}; row += ${block.rows}) {\n${tile(block.rows)}\n  }\n`;
  const rest = count === full ? '' : `  {\n    const long row = ${full};\n${tile(count - full)}\n  }\n`;
  return loop + rest;
}

/** Statements that find the offsets of element `at` of a grid in several of its lists. */
function stepAlong(
  { lengths, strides }: Grid,
  at: string,
  offsets: readonly [name: string, list: number][],
): string {
  const lines = offsets.map(([name]) => `      long ${name} = 0;`);
  for (let axis = lengths.length - 1; axis >= 0; axis--) {
    const place = axis === 0 ? at : `(${at} % ${lengths[axis]})`;
    for (const [name, list] of offsets) lines.push(`      ${name} += ${place} * ${strides[list]![axis]};`);
    if (axis > 0) lines.push(`      ${at} /= ${lengths[axis]};`);
  }
  return lines.join('\n');
}

/** Aᵀ · B, both with their rows along axes; the result row-major. */
export interface ColumnProduct {
  readonly dtype: DType;
  readonly rowsOfA: readonly Axis[];
  readonly rowsOfB: readonly Axis[];
  /** Columns of A, which are the rows of the result. */
  readonly rows: number;
  readonly columns: number;
  /** First elements. */
  readonly a: number;
  readonly c: number;
}

/** How much of the right side is gone through at a time, in bytes: it should stay in a core's own cache. */
const stripBytes = 2 ** 17;

/** In rows: a sum of more is less exact than the sum of such sums. */
const longestStrip = 512;

/** Statements that compute several products of the same right side from pointers to A, B and C. */
export function columnProducts(
  blocks: Blocks,
  products: readonly ColumnProduct[],
  [a, b, c]: readonly [string, string, string],
): string {
  const { dtype, rowsOfA, rowsOfB, columns } = products[0]!;
  const count = lengthOf(rowsOfA);
  const grid = commonGrid([rowsOfA, rowsOfB], count)!;
  if (grid.lengths.length > 3) throw new Error('internal: a sum along more than three axes');
  const pad = (list: readonly number[], fill: number) => [
    ...new Array<number>(3 - list.length).fill(fill),
    ...list,
  ];
  const lengths = pad(grid.lengths, 1);
  const [stepsOfA, stepsOfB] = grid.strides.map((list) => pad(list, 0)) as [number[], number[]];
  // Strips of one axis: the outermost, or the one within it where that has enough rows by itself.
  const wanted = Math.max(1, Math.min(longestStrip, Math.floor(stripBytes / (columns * bytesOf[dtype]))));
  const within = (axis: number) => lengths.slice(axis + 1).reduce((x, y) => x * y, 1);
  const outermost = Math.max(
    0,
    lengths.findIndex((length) => length > 1),
  );
  const isLong = count > 1.5 * wanted;
  const cut = isLong && outermost < 2 && within(outermost) > wanted ? outermost + 1 : outermost;
  const strip = isLong
    ? Math.max(1, Math.min(lengths[cut]!, Math.round(wanted / within(cut))))
    : lengths[cut]!;
  const turns = cut === outermost ? 1 : lengths[outermost]!;
  const isCut = turns > 1 || strip < lengths[cut]!;
  const inStrip = lengths.map((length, axis) =>
    axis < cut ? '1' : axis > cut || !isCut ? `${length}` : 'strip',
  );
  const steps = [...inStrip, ...stepsOfA.map(String), ...stepsOfB.map(String)];
  const body = products.flatMap((product) =>
    columnBlocks(columns, blocks.machine, dtype).flatMap(({ start, width, block }) => {
      const call = (rows: number, row: string) => {
        const name = blocks.columnsOf(dtype, { ...block, rows }, steps, columns, width);
        const result = `${c} + ${product.c + start} + ${row} * ${columns}`;
        return `${name}(left + ${product.a} + ${row}, right + ${start}, ${result}, strip, ${isCut ? 'adds' : 0});`;
      };
      const { rows } = block;
      const full = product.rows - (product.rows % rows);
      return [
        ...(full > 0 ? [`    for (long row = 0; row < ${full}; row += ${rows}) ${call(rows, 'row')}\n`] : []),
        ...(full < product.rows ? [`    ${call(product.rows - full, `${full}L`)}\n`] : []),
      ];
    }),
  );
  const type = typeNames[dtype];
  const [lengthCut, turnA, turnB] = [
    lengths[cut]!,
    turns > 1 ? stepsOfA[outermost]! : 0,
    turns > 1 ? stepsOfB[outermost]! : 0,
  ];
  return `  for (long turn = 0; turn < ${turns}; turn++) for (long first = 0; first < ${lengthCut}; first += ${strip}) {
    const long strip = ${lengthCut} - first < ${strip} ? ${lengthCut} - first : ${strip};
    const int adds = turn > 0 || first > 0;
    const ${type} *left = ${a} + turn * ${turnA} + first * ${stepsOfA[cut]};
    const ${type} *right = ${b} + turn * ${turnB} + first * ${stepsOfB[cut]};
${body.join('')}  }
`;
}
