/**
 * Matrix products, and convolutions as such, in C. A block of results stays in vector registers while it goes
 * through all that is summed. The rows of a product may lie anywhere: those of a convolution are the patches of its
 * images where they are, each as a few stretches of pixels side by side, and nothing is gathered.
 */
import type { DType } from '../graph/type.ts';
import { type Block, type Blocks, columnBlocks } from './blocks.ts';
import { typeNames } from './expressions.ts';
import { type Axis, bytesOf, commonGrid, type Grid, lengthOf } from './regions.ts';

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
