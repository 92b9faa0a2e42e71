/**
 * The three operators of convolution as products. Images get a border of zeros, so that every patch lies whole in
 * them: `kernel height` stretches of `kernel width` pixels side by side, all their channels.
 */
import type { OperatorAttributes, Tensor } from '../graph/tensor.ts';
import { size, strides } from '../graph/type.ts';
import { readable, turnedAround } from './moves.ts';
import type { Operations } from './operations.ts';
import { columnProducts, rowProduct } from './products.ts';
import { type Axis, alongShape, collapse, Memory, type Region, wholeOf } from './regions.ts';
import type { Translation } from './translate.ts';

type Context<K extends 'conv2d' | 'conv2dInputGradient' | 'conv2dFilterGradient'> = Translation & {
  readonly node: Tensor<K>;
  readonly inputs: readonly Region[];
};

/** Images [...lead, batch, height, width, channels], the first three lengths of which are `count` in all. */
interface Images {
  readonly region: Region;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly count: number;
}

function imagesOf({ shape }: Tensor, region: Region): Images {
  const [height, width, channels] = shape.slice(-3) as [number, number, number];
  return { region, height, width, channels, count: size(shape.slice(0, -3)) };
}

/** Images with so many rows and columns of zeros around them, side by side in memory. */
function bordered(
  operations: Operations,
  { region, height, width, channels, count }: Images,
  [rows, columns]: readonly [readonly [number, number], readonly [number, number]],
): Images {
  const pixels = count * height * width * channels;
  const isBare = [...rows, ...columns].every((length) => length <= 0);
  if (isBare) {
    return { region: operations.sideBySide(region, pixels), height, width, channels, count };
  }
  const [low, high] = [0, 1].map((side) => [Math.max(rows[side]!, 0), Math.max(columns[side]!, 0)]) as [
    [number, number],
    [number, number],
  ];
  const [tall, wide] = [height + low[0] + high[0], width + low[1] + high[1]];
  const shape = [count, tall, wide, channels];
  const places = strides(shape);
  const window = {
    offset: low[0] * places[1]! + low[1] * places[2]!,
    axes: collapse(
      [count, height, width, channels].map((length, axis) => ({ length, stride: places[axis]! })),
    ),
  };
  const memory = operations.bordered(region, size(shape), window);
  return { region: memory, height: tall, width: wide, channels, count };
}

type Geometry = OperatorAttributes['conv2d'];

/** The border that a convolution with outputs `rows` × `columns` reads; below, never less than none. */
function borderOf(
  { strides: [down, across], padding: [rows, columns] }: Geometry,
  images: Images,
  [tapRows, tapColumns]: readonly [number, number],
  [outRows, outColumns]: readonly [number, number],
): [[number, number], [number, number]] {
  const after = (outputs: number, stride: number, taps: number, length: number, before: number) =>
    Math.max(0, (outputs - 1) * stride + taps - length - before);
  return [
    [rows[0], after(outRows, down, tapRows, images.height, rows[0])],
    [columns[0], after(outColumns, across, tapColumns, images.width, columns[0])],
  ];
}

/** How often a product is repeated, and where its parts then lie: filters with leading axes are many convolutions. */
function repeated(
  count: number,
  [a, b, c]: readonly [number, number, number],
  code: (at: (i: 0 | 1 | 2) => string) => string,
): string {
  if (count === 1) return code(() => '0');
  const steps = [a, b, c];
  return `  for (long lead = 0; lead < ${count}; lead++) {\n${code((i) => `lead * ${steps[i]}`)}  }\n`;
}

/** The patches of images where they lie: each a few stretches of pixels side by side. */
interface Patches {
  /** The images, with a border. */
  readonly region: Region;
  /** From patch to patch, of one lead's images in their order. */
  readonly rows: Axis[];
  /** From one stretch of a patch to the next. */
  readonly stretch: number;
  /** From the images of one lead to those of the next. */
  readonly perLead: number;
}

/** What `taps` see of images for each of `outputs` [rows, columns]. */
function patchesOf(
  operations: Operations,
  images: Images,
  geometry: Geometry,
  { lead, taps, outputs }: { lead: number; taps: [number, number]; outputs: [number, number] },
): Patches {
  const around = bordered(operations, images, borderOf(geometry, images, taps, outputs));
  const batch = images.count / lead;
  const row = around.width * images.channels;
  const image = around.height * row;
  const rows = collapse([
    { length: batch, stride: image },
    { length: outputs[0], stride: geometry.strides[0] * row },
    { length: outputs[1], stride: geometry.strides[1] * images.channels },
  ]);
  return { region: around.region, rows, stretch: row, perLead: batch * image };
}

export function translateConv2d(context: Context<'conv2d'>): Region {
  const { operations, blocks, node, inputs } = context;
  const [x, w] = node.inputs as [Tensor, Tensor];
  const { dtype } = node;
  const [tapRows, tapColumns, channels, filters] = w.shape.slice(-4) as [number, number, number, number];
  const right = readable(context, inputs[1]!, w.size, filters);
  const target = wholeOf(new Memory(dtype, node.size));
  const lead = size(w.shape.slice(0, -4));
  const patches = patchesOf(operations, imagesOf(x, inputs[0]!), node.attributes, {
    lead,
    taps: [tapRows, tapColumns],
    outputs: node.shape.slice(-3, -1) as [number, number],
  });
  operations.add({
    kind: 'call',
    reads: [patches.region, right],
    writes: [target],
    code: ({ reads: [a, b], writes: [c] }) =>
      repeated(lead, [patches.perLead, w.size / lead, node.size / lead], (at) =>
        rowProduct(
          blocks,
          {
            dtype,
            rowsOfA: patches.rows,
            rowsOfC: collapse([{ length: node.size / lead / filters, stride: filters }]),
            stretches: tapRows,
            stretch: patches.stretch,
            length: tapColumns * channels,
            columns: filters,
            a: 0,
            c: 0,
          },
          [`${a} + ${at(0)}`, `${b} + ${at(1)}`, `${c} + ${at(2)}`],
        ),
      ),
  });
  return target;
}

export function translateFilterGradient(context: Context<'conv2dFilterGradient'>): Region {
  const { operations, blocks, node, inputs } = context;
  const [x, g] = node.inputs as [Tensor, Tensor];
  const { dtype } = node;
  const [tapRows, tapColumns, channels, filters] = node.shape.slice(-4) as [number, number, number, number];
  const right = gradientRows(context, inputs[1]!, g);
  const target = wholeOf(new Memory(dtype, node.size));
  const lead = size(node.shape.slice(0, -4));
  const patches = patchesOf(operations, imagesOf(x, inputs[0]!), node.attributes, {
    lead,
    taps: [tapRows, tapColumns],
    outputs: g.shape.slice(-3, -1) as [number, number],
  });
  operations.add({
    kind: 'call',
    reads: [patches.region, right.region],
    writes: [target],
    code: ({ reads: [a, b], writes: [c] }) =>
      repeated(lead, [patches.perLead, right.perLead, node.size / lead], (at) =>
        columnProducts(
          blocks,
          Array.from({ length: tapRows }, (_, tap) => ({
            dtype,
            rowsOfA: patches.rows,
            rowsOfB: right.rows,
            rows: tapColumns * channels,
            columns: filters,
            a: tap * patches.stretch,
            c: tap * tapColumns * channels * filters,
          })),
          [`${a} + ${at(0)}`, `${b} + ${at(1)}`, `${c} + ${at(2)}`],
        ),
      ),
  });
  return target;
}

/** The pixels of an output's gradient: where they stand within a border already, or side by side. */
function gradientRows(
  context: Context<'conv2dFilterGradient'>,
  region: Region,
  g: Tensor,
): { readonly region: Region; readonly rows: Axis[]; readonly perLead: number } {
  const [height, width, filters] = g.shape.slice(-3) as [number, number, number];
  const lead = size(g.shape.slice(0, -4));
  const images = size(g.shape.slice(0, -3)) / lead;
  const near = context.operations.nearest(region);
  const along = alongShape(near.axes, [lead, images, height, width, filters]);
  if (near !== region && lead === 1 && along !== undefined) {
    return { region: near, rows: collapse(along.slice(0, -1).flat()), perLead: 0 };
  }
  const plain = readable(context, region, g.size, filters);
  const rows = collapse([{ length: images * height * width, stride: filters }]);
  return { region: plain, rows, perLead: g.size / lead };
}

/** Along one axis: the input places that lie equally between the strides, and the taps and outputs they meet. */
interface Phase {
  /** The first such place, and how many there are. */
  readonly first: number;
  readonly count: number;
  /** The last of its taps, and how many: every `stride`-th below it. */
  readonly lastTap: number;
  readonly taps: number;
  /** The output that the last tap meets at the first place; may be negative. */
  readonly output: number;
}

function phasesOf(length: number, stride: number, before: number, taps: number): Phase[] {
  return Array.from({ length: Math.min(stride, length) }, (_, first): Phase => {
    const phase = (first + before) % stride;
    const own = phase < taps ? Math.ceil((taps - phase) / stride) : 0;
    const lastTap = phase + (own - 1) * stride;
    return {
      first,
      count: Math.ceil((length - first) / stride),
      lastTap,
      taps: own,
      output: (first + before - lastTap) / stride,
    };
  });
}

/**
 * Input pixels of one phase meet the same filter taps, from the last to the first at outputs side by side: so each
 * phase is one convolution of the output's gradient, with a border, by filters that are turned around.
 */
export function translateInputGradient(context: Context<'conv2dInputGradient'>): Region {
  const { operations, blocks, node, inputs } = context;
  const [g, w] = node.inputs as [Tensor, Tensor];
  const { dtype } = node;
  const [tapRows, tapColumns, channels, filters] = w.shape.slice(-4) as [number, number, number, number];
  const [height, width] = node.shape.slice(-3) as [number, number];
  const { strides: step, padding } = node.attributes;
  const rows = phasesOf(height, step[0], padding[0][0], tapRows);
  const columns = phasesOf(width, step[1], padding[1][0], tapColumns);
  const images = imagesOf(g, inputs[0]!);
  const border = (phases: readonly Phase[], length: number): [number, number] => {
    const met = phases.filter(({ taps }) => taps > 0);
    return [
      Math.max(0, ...met.map(({ output }) => -output)),
      Math.max(0, ...met.map(({ output, count, taps }) => output + count - 1 + taps - length)),
    ];
  };
  const [above, left] = [border(rows, images.height), border(columns, images.width)];
  const around = bordered(operations, images, [above, left]);
  const [row, image] = [around.width * filters, around.height * around.width * filters];
  const memory = new Memory(dtype, node.size);
  const lead = size(w.shape.slice(0, -4));
  const batch = images.count / lead;
  const places = strides([images.count, height, width, channels]);
  const filter = operations.sideBySide(inputs[1]!, w.size);
  const [perTapRow, perTap] = [tapColumns * channels * filters, channels * filters];
  for (const down of rows) {
    for (const across of columns) {
      const target: Region = {
        memory,
        offset: down.first * places[1]! + across.first * places[2]!,
        axes: collapse([
          { length: images.count, stride: places[0]! },
          { length: down.count, stride: step[0] * places[1]! },
          { length: across.count, stride: step[1] * places[2]! },
          { length: channels, stride: 1 },
        ]),
      };
      const count = images.count * down.count * across.count * channels;
      const taps = down.taps * across.taps;
      if (taps === 0) {
        operations.add({ kind: 'elementwise', count, dtype, operands: [], expression: () => '0', target });
        continue;
      }
      const turned: Region = {
        memory: filter.memory,
        offset: filter.offset + down.lastTap * perTapRow + across.lastTap * perTap,
        axes: collapse([
          { length: lead, stride: tapRows * perTapRow },
          { length: down.taps, stride: -step[0] * perTapRow },
          { length: across.taps, stride: -step[1] * perTap },
          { length: filters, stride: 1 },
          { length: channels, stride: filters },
        ]),
      };
      const right = turnedAround(operations, blocks, turned, lead * taps * filters * channels);
      operations.add({
        kind: 'call',
        reads: [around.region, right],
        writes: [{ ...target, offset: 0 }],
        code: ({ reads: [a, b], writes: [c] }) =>
          repeated(lead, [batch * image, taps * filters * channels, batch * places[0]!], (at) =>
            rowProduct(
              blocks,
              {
                dtype,
                rowsOfA: collapse([
                  { length: batch, stride: image },
                  { length: down.count, stride: row },
                  { length: across.count, stride: filters },
                ]),
                rowsOfC: collapse([
                  { length: batch, stride: places[0]! },
                  { length: down.count, stride: step[0] * places[1]! },
                  { length: across.count, stride: step[1] * places[2]! },
                ]),
                stretches: down.taps,
                stretch: row,
                length: across.taps * filters,
                columns: channels,
                a: (down.output + above[0]) * row + (across.output + left[0]) * filters,
                c: target.offset,
              },
              [`${a} + ${at(0)}`, `${b} + ${at(1)}`, `${c} + ${at(2)}`],
            ),
          ),
      });
    }
  }
  return wholeOf(memory);
}
