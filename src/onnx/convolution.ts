/**
 * Convolution as table look-up and matrix product: a constant table picks the rows of every patch, an
 * extra row of zeros serves the padding, and the rest is one product. Its input gradient is the adjoint:
 * a product, then for every pixel the sum of the patch entries that came from it.
 */
import type { OperatorAttributes, Tensor } from '../graph/tensor.ts';
import { arrayOf, type Shape, size } from '../graph/type.ts';
import { type LoweringContext, product, reshape } from './context.ts';
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

/** For every pixel, the patch entries that show it, filled up with the number of entries. */
function transposedTable(table: Int32Array, pixelCount: number): { table: Int32Array; width: number } {
  const shows = Array.from({ length: pixelCount }, (): number[] => []);
  table.forEach((pixel, entry) => {
    shows[pixel]?.push(entry); // padding shows no pixel
  });
  const width = Math.max(1, ...shows.map((entries) => entries.length));
  const transposed = new Int32Array(pixelCount * width).fill(table.length);
  shows.forEach((entries, pixel) => {
    transposed.set(entries, pixel * width);
  });
  return { table: transposed, width };
}

/** Looks rows [..., rows, C] up by a table that names row `rows`, all zeros, too. */
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
  const indices = model.constant({ dtype: 'int32', shape: [table.length] }, table);
  return model.op('Gather', [complete, indices], { axis });
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
  const geometry = geometryOf(x.shape, w.shape, node.shape, attributes);
  const filter = reshape(model, inputs[1]!, filterMatrix(geometry));
  const rows = model.op('MatMul', [patches(model, inputs[0]!, node.dtype, geometry), filter]);
  return reshape(model, rows, node.shape);
}

/** patchesᵀ · g */
export function lowerConv2dFilterGradient(context: LoweringContext<'conv2dFilterGradient'>): string {
  const { model, node, attributes, inputs } = context;
  const [x, g] = node.inputs as [Tensor, Tensor];
  const geometry = geometryOf(x.shape, node.shape, g.shape, attributes);
  const rank = geometry.lead.length + 2;
  const rows = reshape(model, inputs[1]!, outputMatrix(geometry));
  const columns = patches(model, inputs[0]!, node.dtype, geometry);
  const filter = product(context, { name: columns, rank, transposed: true }, { name: rows, rank });
  return reshape(model, filter, node.shape);
}

/** g · wᵀ, which holds the gradient of every patch entry; then its sum over the entries of each pixel. */
export function lowerConv2dInputGradient(context: LoweringContext<'conv2dInputGradient'>): string {
  const { model, node, attributes, inputs } = context;
  const [g, w] = node.inputs as [Tensor, Tensor];
  const geometry = geometryOf(node.shape, w.shape, g.shape, attributes);
  const { lead, batch, input, kernel, output, channels } = geometry;
  const rank = lead.length + 2;
  const rows = reshape(model, inputs[0]!, outputMatrix(geometry));
  const filter = reshape(model, inputs[1]!, filterMatrix(geometry));
  const entries = product(context, { name: rows, rank }, { name: filter, rank, transposed: true });
  const shape = [...lead, batch, pixels(output) * pixels(kernel), channels];
  const { table, width } = transposedTable(patchTable(geometry), pixels(input));
  const found = lookUp(model, reshape(model, entries, shape), { dtype: node.dtype, shape }, table);
  const grouped = reshape(model, found, [...lead, batch, pixels(input), width, channels]);
  const sums =
    width === 1
      ? grouped
      : model.op('ReduceSum', [grouped, model.integers([lead.length + 2])], { keepdims: 0 });
  return reshape(model, sums, node.shape);
}

/** [..., taps·C, F] */
function filterMatrix({ lead, kernel, channels, filters }: Geometry): Shape {
  return [...lead, pixels(kernel) * channels, filters];
}

/** [..., N·outputs, F] */
function outputMatrix({ lead, batch, output, filters }: Geometry): Shape {
  return [...lead, batch * pixels(output), filters];
}
