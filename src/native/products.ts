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
    const rows = Math.min(12, Math.floor((machine.vectorRegisters - vectors - 2) / vectors));
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

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get code(): string {
    return [...this.#functions.values()].join('');
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

  /** Σ over `stretches` and k of a[i][k] · b[k]: rows of the left side lie in stretches, side by side. */
  rows(dtype: DType, block: Block): string {
    const { rows, vectors } = block;
    const name = `rows_${dtype}_${rows}x${vectors}`;
    const [type, vector, lanes] = [typeNames[dtype], this.#vector(dtype), lanesOf(this.#machine, dtype)];
    this.#functions.set(
      name,
      `static __attribute__((noinline)) void ${name}(long stretches, long stretch, long length, const ${type} *const *a, const ${type} *b, long right, ${type} *const *c, long width) {
  ${vector} sums[${rows}][${vectors}] = {0};
  for (long s = 0; s < stretches; s++) {
    const ${type} *row[${rows}];
    for (int i = 0; i < ${rows}; i++) row[i] = a[i] + s * stretch;
    for (long k = 0; k < length; k++, b += right) {
      ${vector} values[${vectors}];
      for (int j = 0; j < ${vectors}; j++) values[j] = *(const ${vector} *)(b + j * ${lanes});
      for (int i = 0; i < ${rows}; i++) for (int j = 0; j < ${vectors}; j++) sums[i][j] += row[i][k] * values[j];
    }
  }${this.#store(dtype, block, (i) => `c[${i}]`)}}
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
      `static __attribute__((noinline)) void ${name}(const long *steps, const ${type} *a, const ${type} *b, ${type} *c, long below, long width, int adds) {
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
  const type = typeNames[dtype];
  const count = lengthOf(rowsOfC);
  const grid = commonGrid([rowsOfA, rowsOfC], count)!;
  const parts = columnBlocks(columns, blocks.machine, dtype).map(({ start, width, block }) => {
    const call = (rows: number) =>
      `${blocks.rows(dtype, { ...block, rows })}(${stretches}, ${stretch}, ${length}, left, ${b} + ${start}, ${columns}, result, ${width});`;
    const tile = (rows: number) => `    const ${type} *left[${rows}];
    ${type} *result[${rows}];
    for (long i = 0; i < ${rows}; i++) {
      long at = row + i;
${stepAlong(grid, 'at', [
  ['from', 0],
  ['to', 1],
])}
      left[i] = ${a} + ${product.a} + from;
      result[i] = ${c} + ${product.c} + to + ${start};
    }
    ${call(rows)}`;
    const full = count - (count % block.rows);
    const loop =
      full === 0
        ? ''
        : `  for (long row = 0; row < ${full}; row += ${block.rows}) {\n${tile(block.rows)}\n  }\n`;
    const rest = count === full ? '' : `  {\n    const long row = ${full};\n${tile(count - full)}\n  }\n`;
    return loop + rest;
  });
  return parts.join('');
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
  // The outermost axis that there is more than one of is gone along in strips.
  const wanted = Math.max(1, Math.floor(stripBytes / (columns * bytesOf[dtype])));
  const axis = lengths.findIndex((length) => length > 1);
  const cut =
    count <= 2 * wanted || axis < 0
      ? 0
      : lengths.slice(axis + 1).reduce((x, y) => x * y, 1) > wanted && axis < 2
        ? axis + 1
        : axis;
  const inner = lengths.slice(cut + 1).reduce((x, y) => x * y, 1);
  const strip =
    count <= 2 * wanted ? lengths[cut]! : Math.max(1, Math.min(lengths[cut]!, Math.round(wanted / inner)));
  const outer = cut > axis && axis >= 0 ? lengths[axis]! : 1;
  const isCut = outer > 1 || strip < lengths[cut]!;
  const body = products.flatMap((product) =>
    columnBlocks(columns, blocks.machine, dtype).flatMap(({ start, width, block }) => {
      const call = (rows: number, row: string) =>
        `${blocks.columns(dtype, { ...block, rows })}(steps, left + ${product.a} + ${row}, right + ${start}, ${c} + ${product.c} + ${row} * ${columns} + ${start}, ${columns}, ${width}, ${isCut ? 'adds' : 0});`;
      const { rows } = block;
      const full = product.rows - (product.rows % rows);
      return [
        ...(full > 0 ? [`    for (long row = 0; row < ${full}; row += ${rows}) ${call(rows, 'row')}`] : []),
        ...(full < product.rows ? [`    ${call(product.rows - full, `${full}L`)}`] : []),
      ];
    }),
  );
  const within = lengths.map((length, i) => (i === axis && cut > axis ? 1 : length));
  const steps = (length: string) =>
    `const long steps[9] = {${[...within.with(cut, 0).map((n, i) => (i === cut ? length : n)), ...stepsOfA, ...stepsOfB].join(', ')}};`;
  const type = typeNames[dtype];
  if (!isCut) {
    return `  {\n    const ${type} *left = ${a}, *right = ${b};\n    ${steps(`${lengths[cut]}`)}\n${body.join('\n')}\n  }\n`;
  }
  return `  for (long outer = 0; outer < ${outer}; outer++) for (long first = 0; first < ${lengths[cut]}; first += ${strip}) {
    const long length = ${lengths[cut]} - first < ${strip} ? ${lengths[cut]} - first : ${strip};
    const int adds = outer > 0 || first > 0;
    const ${type} *left = ${a} + outer * ${cut > axis ? stepsOfA[axis] : 0} + first * ${stepsOfA[cut]};
    const ${type} *right = ${b} + outer * ${cut > axis ? stepsOfB[axis] : 0} + first * ${stepsOfB[cut]};
    ${steps('length')}
${body.join('\n')}
  }
`;
}
