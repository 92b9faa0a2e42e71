/**
 * Convolution as table look-up and matrix product: a constant table picks the rows of every patch, an
 * extra row of zeros serves the padding, and the rest is one product. Its input gradient is the adjoint:
 * a product, then for every pixel the sum of the patch entries that came from it.
 */
import type { OperatorAttributes, Tensor } from '../graph/tensor.ts';
import { arrayOf, type Shape, size } from '../graph/type.ts';
import { type LoweringContext, product, reshape } from './context.ts';
import { isDirect, lowerDirectConv2d, lowerDirectInputGradient, wide } from './direct-convolution.ts';
import type { ModelBuilder } from './model.ts';

/** Sizes of a convolution: x [..., N, height·width, channels] → y [..., N, outputs, filters]. */
interface Geometry {
  readonly attributes: OperatorAttributes['conv2d'];
  readonly lead: Shape;
  readonly batch: number;
  readonly input: readonly [number, number];
  readonly kernel: readonly [number, number];
  readonly output: readonly [number, number];
  readonly channels: number;
  readonly filters: number;
}

function geometryOf(x: Shape, w: Shape, y: Shape, attributes: OperatorAttributes['conv2d']): Geometry {
  return {
    attributes,
    lead: x.slice(0, -4),
    batch: x.at(-4)!,
    input: x.slice(-3, -1) as [number, number],
    kernel: w.slice(-4, -2) as [number, number],
    output: y.slice(-3, -1) as [number, number],
    channels: x.at(-1)!,
    filters: y.at(-1)!,
  };
}

const pixels = ([height, width]: readonly [number, number]): number => height * width;

/** For every entry of every patch, the pixel it shows; the number of pixels where that is padding. */
function patchTable({ attributes, input, kernel, output }: Geometry): Int32Array {
  const { strides, padding } = attributes;
  const table = new Int32Array(pixels(output) * pixels(kernel));
  let entry = 0;
  for (let outRow = 0; outRow < output[0]; outRow++) {
    for (let outColumn = 0; outColumn < output[1]; outColumn++) {
      for (let tapRow = 0; tapRow < kernel[0]; tapRow++) {
        for (let tapColumn = 0; tapColumn < kernel[1]; tapColumn++) {
          const row = outRow * strides[0] - padding[0][0] + tapRow;
          const column = outColumn * strides[1] - padding[1][0] + tapColumn;
          const inside = row >= 0 && row < input[0] && column >= 0 && column < input[1];
          table[entry++] = inside ? row * input[1] + column : pixels(input);
        }
      }
    }
  }
  return table;
}

/** Input pixels that lie alike between the strides: the same filter taps reach them. */
interface ResidueClass {
  /** Taps, as indices into the filter. */
  readonly taps: readonly number[];
  /** The pixels, in order. */
  readonly members: readonly number[];
  /** For every pixel and tap, the output pixel they meet at; the number of outputs where there is none. */
  readonly table: Int32Array;
}

function residueClasses({ attributes, input, kernel, output }: Geometry): ResidueClass[] {
  const { strides, padding } = attributes;
  const along = (axis: 0 | 1, residue: number) => {
    const shifted = (position: number) => position + padding[axis][0];
    const positions = [...Array(input[axis]).keys()].filter((p) => shifted(p) % strides[axis] === residue);
    const taps = [...Array(kernel[axis]).keys()].filter((tap) => tap % strides[axis] === residue);
    const meeting = (position: number, tap: number) => {
      const place = (shifted(position) - tap) / strides[axis];
      return place >= 0 && place < output[axis] ? place : undefined;
    };
    return { positions, taps, meeting };
  };
  const classes: ResidueClass[] = [];
  for (let rowResidue = 0; rowResidue < strides[0]; rowResidue++) {
    for (let columnResidue = 0; columnResidue < strides[1]; columnResidue++) {
      const rows = along(0, rowResidue);
      const columns = along(1, columnResidue);
      const members = rows.positions.flatMap((row) =>
        columns.positions.map((column) => row * input[1] + column),
      );
      const taps = rows.taps.flatMap((row) => columns.taps.map((column) => row * kernel[1] + column));
      if (members.length === 0) continue;
      const table = rows.positions.flatMap((row) =>
        columns.positions.flatMap((column) =>
          rows.taps.flatMap((tapRow) =>
            columns.taps.map((tapColumn) => {
              const outRow = rows.meeting(row, tapRow);
              const outColumn = columns.meeting(column, tapColumn);
              return outRow === undefined || outColumn === undefined
                ? pixels(output)
                : outRow * output[1] + outColumn;
            }),
          ),
        ),
      );
      classes.push({ taps, members, table: Int32Array.from(table) });
    }
  }
  return classes;
}

/** Looks rows [..., N, rows, C] up by a table that names row `rows`, all zeros, too. */
function lookUp(
  model: ModelBuilder,
  x: string,
  type: { readonly dtype: Tensor['dtype']; readonly shape: Shape },
  table: Int32Array,
): string {
  const axis = type.shape.length - 2;
  const rows = type.shape[axis]!;
  const zeroRow = { dtype: type.dtype, shape: type.shape.with(axis, 1) };
  const complete = table.includes(rows)
    ? model.op('Concat', [x, model.constant(zeroRow, arrayOf(type.dtype, size(zeroRow.shape)))], { axis })
    : x;
  return model.op('Gather', [complete, indexTable(model, table)], { axis });
}

function indexTable(model: ModelBuilder, table: Int32Array): string {
  return model.constant({ dtype: 'int32', shape: [table.length] }, table);
}

/** x [..., N, H, W, C] → patches [..., N·outputs, taps·C]. */
function patches(model: ModelBuilder, x: string, dtype: Tensor['dtype'], geometry: Geometry): string {
  const { lead, batch, input, kernel, output, channels } = geometry;
  const shape = [...lead, batch, pixels(input), channels];
  const rows = reshape(model, x, shape);
  const table = patchTable(geometry);
  const unchanged = table.length === pixels(input) && table.every((pixel, entry) => pixel === entry);
  const found = unchanged ? rows : lookUp(model, rows, { dtype, shape }, table);
  const flat = [...lead, batch * pixels(output), pixels(kernel) * channels];
  return reshape(model, found, flat);
}

export function lowerConv2d(context: LoweringContext<'conv2d'>): string {
  const { model, node, attributes, inputs } = context;
  const [x, w] = node.inputs as [Tensor, Tensor];
  if (isDirect(context.target, x, w, node)) return lowerDirectConv2d(context);
  const geometry = geometryOf(x.shape, w.shape, node.shape, attributes);
  const columns = patches(model, inputs[0]!, node.dtype, geometry);
  const filter = reshape(model, inputs[1]!, filterMatrix(geometry));
  return reshape(model, model.op('MatMul', [columns, filter]), node.shape);
}

/** patchesᵀ · g */
export function lowerConv2dFilterGradient(context: LoweringContext<'conv2dFilterGradient'>): string {
  const { model, node, attributes, inputs } = context;
  const [x, g] = node.inputs as [Tensor, Tensor];
  const geometry = geometryOf(x.shape, node.shape, g.shape, attributes);
  if (attributes.strides[0] === 1 && node.dtype === 'float32' && pixels(geometry.output) >= wide) {
    return lowerWideFilterGradient(context, geometry);
  }
  const rank = geometry.lead.length + 2;
  const rows = reshape(model, inputs[1]!, outputMatrix(geometry));
  const columns = patches(model, inputs[0]!, node.dtype, geometry);
  const filter = product(context, { name: columns, rank, transposed: true }, { name: rows, rank });
  return reshape(model, filter, node.shape);
}

/**
 * With rows of the filter one pixel apart, what a tap reaches is its column's shift of x times its row's
 * shift of g. So one product of the kernel's width of shifts of x with its height of shifts of g has all
 * taps in it, and the shifts are a third of the patches.
 */
function lowerWideFilterGradient(
  context: LoweringContext<'conv2dFilterGradient'>,
  geometry: Geometry,
): string {
  const { model, node, inputs } = context;
  const { lead, batch, input, kernel, output, channels, filters, attributes } = geometry;
  const { strides, padding } = attributes;
  const columns: number[] = []; // for every row of x, column of g and column of the filter: the pixel of x
  const rows: number[] = []; // for every row of x, column of g and row of the filter: the pixel of g
  for (let row = 0; row < input[0]; row++) {
    for (let column = 0; column < output[1]; column++) {
      for (let tap = 0; tap < kernel[1]; tap++) {
        const from = column * strides[1] - padding[1][0] + tap;
        columns.push(from >= 0 && from < input[1] ? row * input[1] + from : pixels(input));
      }
      for (let tap = 0; tap < kernel[0]; tap++) {
        const to = row + padding[0][0] - tap;
        rows.push(to >= 0 && to < output[0] ? to * output[1] + column : pixels(output));
      }
    }
  }
  const shifts = (source: string, shape: Shape, table: number[], width: number) => {
    const type = { dtype: node.dtype, shape };
    const found = lookUp(model, reshape(model, source, shape), type, Int32Array.from(table));
    return reshape(model, found, [...lead, batch * input[0] * output[1], width]);
  };
  const x = shifts(inputs[0]!, [...lead, batch, pixels(input), channels], columns, kernel[1] * channels);
  const g = shifts(inputs[1]!, [...lead, batch, pixels(output), filters], rows, kernel[0] * filters);
  const rank = lead.length + 2;
  const products = product(context, { name: x, rank, transposed: true }, { name: g, rank });
  const split = reshape(model, products, [...lead, kernel[1], channels, kernel[0], filters]);
  const axes = lead.map((_, axis) => axis);
  const perm = [...axes, ...[2, 0, 1, 3].map((axis) => axis + lead.length)];
  return reshape(model, model.op('Transpose', [split], { perm }), node.shape);
}

/**
 * For every residue class one look-up of the output gradients its pixels meet, and one product with the
 * taps they meet them through; then the classes are put in order. Nothing is scattered or added up.
 */
export function lowerConv2dInputGradient(context: LoweringContext<'conv2dInputGradient'>): string {
  const { model, node, attributes, inputs } = context;
  const [g, w] = node.inputs as [Tensor, Tensor];
  const { dtype } = node;
  const isStep = attributes.strides.every((stride) => stride === 1);
  if (isStep && isDirect(context.target, g, w, node)) return lowerDirectInputGradient(context);
  const geometry = geometryOf(node.shape, w.shape, g.shape, attributes);
  const { lead, batch, input, kernel, output, channels, filters } = geometry;
  const rank = lead.length + 3;
  const tapRows = reshape(model, inputs[1]!, [...lead, pixels(kernel) * channels, filters]);
  const shape = [...lead, batch, pixels(output), filters];
  const rows = reshape(model, inputs[0]!, shape);

  const classes = residueClasses(geometry);
  const parts = classes.map(({ taps, members, table }) => {
    const part = [...lead, batch, members.length, channels];
    if (taps.length === 0) return model.constant({ dtype, shape: part }, arrayOf(dtype, size(part)));
    const found = lookUp(model, rows, { dtype, shape }, table);
    const left = reshape(model, found, [...lead, batch * members.length, taps.length * filters]);
    const order = Array.from({ length: channels }, (_, channel) =>
      taps.map((tap) => tap * channels + channel),
    );
    const chosen = model.op('Gather', [tapRows, indexTable(model, Int32Array.from(order.flat()))], {
      axis: lead.length,
    }); // [..., C, taps, F], rows of F
    const right = reshape(model, chosen, [...lead, channels, taps.length * filters]);
    const pixelRows = product(
      context,
      { name: left, rank: rank - 1 },
      { name: right, rank: rank - 1, transposed: true },
    );
    return reshape(model, pixelRows, part);
  });
  if (parts.length === 1) return reshape(model, parts[0]!, node.shape);
  const order = new Int32Array(pixels(input));
  classes
    .flatMap(({ members }) => members)
    .forEach((pixel, place) => {
      order[pixel] = place;
    });
  const joined = model.op('Concat', parts, { axis: rank - 2 });
  return reshape(
    model,
    model.op('Gather', [joined, indexTable(model, order)], { axis: rank - 2 }),
    node.shape,
  );
}

/** [..., taps·C, F] */
function filterMatrix({ lead, kernel, channels, filters }: Geometry): Shape {
  return [...lead, pixels(kernel) * channels, filters];
}

/** [..., N·outputs, F] */
function outputMatrix({ lead, batch, output, filters }: Geometry): Shape {
  return [...lead, batch * pixels(output), filters];
}
