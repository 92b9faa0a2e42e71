/** Copies that a compiler does not make fast by itself: matrices turned around, and pieces put together by a table. */
import { isFloat, type TypedArray } from '../graph/type.ts';
import { type Blocks, lanesOf } from './blocks.ts';
import { typeNames } from './expressions.ts';
import type { Operations } from './operations.ts';
import { collapse, lengthOf, Memory, type Region, wholeOf } from './regions.ts';
import type { Translation } from './translate.ts';

/** Fewer elements are moved one by one. */
const fewElements = 1024;

/** A region's elements side by side, where its two innermost axes are those of a matrix that lies turned around. */
export function turnedAround(operations: Operations, blocks: Blocks, region: Region, count: number): Region {
  const { dtype } = region.memory;
  const lanes = lanesOf(blocks.machine, dtype);
  const axes = collapse(region.axes);
  const [rows, columns] = axes.slice(-2);
  if (rows === undefined || columns === undefined) return operations.sideBySide(region, count);
  const isTurned = rows.stride === 1 && rows.length >= lanes && columns.length >= lanes;
  if (!isFloat(dtype) || count < fewElements || !isTurned) return operations.sideBySide(region, count);
  const target = wholeOf(new Memory(dtype, count));
  const outer = axes.slice(0, -2);
  const [type, stride] = [typeNames[dtype], columns.stride];
  const [height, width] = [rows.length, columns.length];
  const [tall, wide] = [height - (height % lanes), width - (width % lanes)];
  const loops = outer.map(({ length }, i) => `for (long i${i} = 0; i${i} < ${length}; i${i}++) `).join('');
  const from = outer.map((axis, i) => ` + i${i} * ${axis.stride}`).join('');
  const to = outer.map((_, i) => ` + i${i} * ${lengthOf(outer.slice(i + 1)) * height * width}`).join('');
  operations.add({
    kind: 'call',
    reads: [{ ...region, axes }],
    writes: [target],
    code: ({ reads: [a], writes: [b] }) => `
  ${loops}{
    const ${type} *from = ${a}${from};
    ${type} *to = ${b}${to};
    for (long row = 0; row < ${tall}; row += ${lanes}) for (long column = 0; column < ${wide}; column += ${lanes})
      ${blocks.turn(dtype)}(from + column * ${stride} + row, ${stride}, to + row * ${width} + column, ${width});
    for (long row = 0; row < ${height}; row++) for (long column = row < ${tall} ? ${wide} : 0; column < ${width}; column++)
      to[row * ${width} + column] = from[column * ${stride} + row];
  }
`,
  });
  return target;
}

/** Elements side by side at one place of a table that stand side by side at another. */
interface Piece {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/** The pieces of a table of indices, none longer than a vector. */
function piecesOf(table: TypedArray, lanes: number): Piece[] {
  const pieces: Piece[] = [];
  let to = 0;
  for (let i = 1; i <= table.length; i++) {
    if (i < table.length && table[i] === table[i - 1]! + 1 && i - to < lanes) continue;
    pieces.push({ from: table[to]!, to, length: i - to });
    to = i;
  }
  return pieces;
}

/**
 * Rows of `table.length` elements, looked up in rows of `length` by a table that has pieces: undefined where it has
 * none. A piece is moved as a whole vector; what of it is too much, the next piece writes over.
 */
export function inPieces(
  operations: Operations,
  blocks: Blocks,
  { from, rows, length, table }: { from: Region; rows: number; length: number; table: TypedArray },
): { readonly target: Region; readonly constant: readonly [Memory, Int32Array] } | undefined {
  const { dtype } = from.memory;
  const lanes = lanesOf(blocks.machine, dtype);
  const pieces = piecesOf(table, lanes);
  const count = table.length;
  if (!isFloat(dtype) || rows * count < fewElements || pieces.length * 2 > count) return undefined;
  // Whole vectors only where they end within both rows.
  const isInside = (piece: Piece) => piece.to + lanes <= count && piece.from + lanes <= length;
  const vectors = pieces.filter(isInside);
  const exact = pieces.filter((piece) => !isInside(piece)); // at last, for vectors may have written over them
  const places = Int32Array.from([
    ...vectors.flatMap((piece) => [piece.from, piece.to]),
    ...exact.flatMap((piece) => [piece.from, piece.to, piece.length]),
  ]);
  const memory = new Memory('int32', places.length);
  const target = wholeOf(new Memory(dtype, rows * count));
  const type = typeNames[dtype];
  operations.add({
    kind: 'call',
    reads: [from, wholeOf(memory)],
    writes: [target],
    code: ({ reads: [a, t], writes: [b] }) => `
  for (long row = 0; row < ${rows}; row++) {
    const ${type} *from = ${a} + row * ${length};
    ${type} *to = ${b} + row * ${count};
    const int *piece = ${t};
    for (long i = 0; i < ${vectors.length}; i++, piece += 2) ${blocks.move(dtype)}(from + piece[0], to + piece[1]);
    for (long i = 0; i < ${exact.length}; i++, piece += 3) for (int k = 0; k < piece[2]; k++) to[piece[1] + k] = from[piece[0] + k];
  }
`,
  });
  return { target, constant: [memory, places] };
}

/**
 * A right side of a product, row-major, that whole vectors can be read from: also at the end of its last row, where they
 * reach behind it.
 */
export function readable(
  { operations, blocks, isForeign }: Pick<Translation, 'operations' | 'blocks' | 'isForeign'>,
  region: Region,
  count: number,
  columns: number,
): Region {
  const from = operations.sideBySide(region, count);
  const { dtype } = from.memory;
  if (columns % lanesOf(blocks.machine, dtype) === 0 || !isForeign(from.memory)) return from;
  const copy = wholeOf(new Memory(dtype, count));
  operations.copy(from, copy, count);
  return copy;
}
