/** From the nodes of a graph to operations on regions of memory. */
import { isKind, type Operator, type Tensor } from '../graph/tensor.ts';
import { type Graph, nodesOf } from '../graph/trace.ts';
import { type DType, type Shape, size, strides, type TypedArray } from '../graph/type.ts';
import type { Blocks } from './blocks.ts';
import { translateConv2d, translateFilterGradient, translateInputGradient } from './convolution.ts';
import { expressionOf, literal, typeNames } from './expressions.ts';
import { inPieces, readable, turnedAround } from './moves.ts';
import type { Operations } from './operations.ts';
import { columnProducts, rowProduct } from './products.ts';
import {
  type Axis,
  alongShape,
  axesOfTable,
  axesWithout,
  collapse,
  isSideBySide,
  Memory,
  type Region,
  sideBySide,
  wholeOf,
} from './regions.ts';

/** What a translation is made with, and what it leaves behind. */
export interface Translation {
  readonly operations: Operations;
  readonly blocks: Blocks;
  /** Constants that are too long to stand in the code. */
  readonly constants: Map<Memory, TypedArray>;
  /** True of memory that ends where others' begins: nothing behind its last element may be read. */
  readonly isForeign: (memory: Memory) => boolean;
}

type Translate<K extends Operator> = (
  context: Translation & { readonly node: Tensor<K>; readonly inputs: readonly Region[] },
) => Region;

/**
 * Operators that cost less than it costs to keep what they make: each reader computes them anew. Gradients of ReLU
 * come long after it.
 */
const cheap: ReadonlySet<string> = new Set<Operator>(['step', 'neg', 'sign', 'cast']);

/** The regions of a graph's outputs, given those of its inputs. */
export function translate(
  graph: Graph,
  inputs: ReadonlyMap<Tensor, Region>,
  translation: Translation,
): Map<Tensor, Region> {
  const regions = new Map<Tensor, Region>(inputs);
  const regionOf = (node: Tensor): Region => regions.get(node) ?? operate(node as Tensor<Operator>);
  const { operations } = translation;
  const operate = (node: Tensor<Operator>): Region => {
    const translateNode = translations[node.kind] as Translate<Operator>;
    // Elementwise operators read what is kept as bytes as it is; others want it as what it stands for.
    const inputs = node.inputs.map((source) => {
      const region = regionOf(source);
      return readsElements.has(translateNode) ? region : inFull(operations, region, source);
    });
    return translateNode({ ...translation, node, inputs });
  };
  const outputs = new Set<Tensor>(Object.values(graph.outputs));
  for (const node of nodesOf([...outputs])) {
    if (regions.has(node)) continue;
    if (isKind(node, 'input')) throw new Error(`internal: input ${node.attributes.name} is of another graph`);
    if (isKind(node, 'constant')) {
      const memory = new Memory(node.dtype, node.size);
      translation.constants.set(memory, node.attributes.data);
      regions.set(node, wholeOf(memory));
    } else if (!cheap.has(node.kind) || outputs.has(node)) {
      const region = operate(node as Tensor<Operator>);
      regions.set(node, outputs.has(node) ? inFull(operations, region, node) : region);
    }
  }
  return regions;
}

/** A value in the dtype of its node: as it is, or copied. */
function inFull(operations: Operations, region: Region, { dtype, size: count }: Tensor): Region {
  if (region.memory.dtype === dtype) return region;
  const target = wholeOf(new Memory(dtype, count));
  operations.copy(region, target, count);
  return target;
}

/** The axes of an operand of an elementwise operator, broadcast to the shape of the result. */
function broadcast(operations: Operations, region: Region, from: Shape, to: Shape): Region {
  if (size(from) === size(to)) return region;
  const [aligned, lists] = aligning(operations, region, from);
  const lead = to.length - from.length;
  const axes = to.map((length, axis): Axis[] =>
    axis < lead || from[axis - lead] !== length ? [{ length, stride: 0 }] : lists[axis - lead]!,
  );
  return { ...aligned, axes: collapse(axes.flat()) };
}

/** A region whose axes are known along a shape: the same one, or a copy. */
function aligning(operations: Operations, region: Region, shape: Shape): [Region, Axis[][]] {
  const lists = alongShape(region.axes, shape);
  if (lists !== undefined) return [region, lists];
  const copy = operations.sideBySide(region, size(shape));
  return [copy, alongShape(copy.axes, shape)!];
}

function elementwise({ operations, node, inputs }: Parameters<Translate<Operator>>[0]): Region {
  const operation = {
    count: node.size,
    dtype: node.dtype,
    operands: inputs.map((region, i) =>
      broadcast(operations, operations.nearest(region), node.inputs[i]!.shape, node.shape),
    ),
    expression: expressionOf(node)!,
  };
  return operations.elementwise(operation, isKind(node, 'step') ? 'bool' : node.dtype); // a step is 0 or 1
}

function reduce({ operations, node, inputs }: Parameters<Translate<'sum' | 'max'>>[0]): Region {
  const memory = new Memory(node.dtype, node.size);
  const { shape } = node.inputs[0]!;
  operations.add({
    kind: 'elementwise',
    count: size(shape),
    dtype: node.dtype,
    operands: inputs.map((region) => operations.nearest(region)),
    expression: ([x]) => x!,
    target: { memory, offset: 0, axes: axesWithout(shape, node.attributes.axes) },
    reduction: node.kind as 'sum' | 'max',
  });
  return wholeOf(memory);
}

/** Parts that lie side by side already, as one region. */
function joined(regions: readonly Region[], parts: readonly Tensor[]): Region | undefined {
  const [first] = regions as [Region];
  let next = first.offset;
  for (const [i, { memory, offset, axes }] of regions.entries()) {
    if (memory !== first.memory || offset !== next || !isSideBySide(axes)) return undefined;
    next += parts[i]!.size;
  }
  return { ...first, axes: sideBySide(next - first.offset) };
}

/** Elements that are all the same. */
function constantOf(operations: Operations, value: number, dtype: DType, count: number): Region {
  return operations.elementwise({ count, dtype, operands: [], expression: () => literal(value, dtype) });
}

/** Whose operands may be kept in another dtype. */
const readsElements: ReadonlySet<unknown> = new Set([elementwise, reduce]);

const same: Translate<Operator> = ({ inputs }) => inputs[0]!;

const translations: { readonly [K in Operator]: Translate<K> } = {
  neg: elementwise,
  exp: elementwise,
  log: elementwise,
  sqrt: elementwise,
  sin: elementwise,
  cos: elementwise,
  tanh: elementwise,
  sigmoid: elementwise,
  relu: elementwise,
  step: elementwise,
  abs: elementwise,
  sign: elementwise,
  add: elementwise,
  sub: elementwise,
  mul: elementwise,
  div: elementwise,
  pow: elementwise,
  maximum: elementwise,
  minimum: elementwise,
  equal: elementwise,
  less: elementwise,
  greater: elementwise,
  lessEqual: elementwise,
  greaterEqual: elementwise,
  and: elementwise,
  or: elementwise,
  not: elementwise,
  select: elementwise,
  cast: elementwise,
  identity: same,
  stopGradient: same,

  reshape: same,
  broadcastTo: ({ operations, node, inputs: [x] }) =>
    broadcast(operations, x!, node.inputs[0]!.shape, node.shape),
  transpose({ operations, node, inputs: [x] }) {
    const [aligned, lists] = aligning(operations, x!, node.inputs[0]!.shape);
    return { ...aligned, axes: collapse(node.attributes.permutation.flatMap((axis) => lists[axis]!)) };
  },
  slice({ operations, node, inputs: [x] }) {
    const { starts, sizes, steps } = node.attributes;
    const { shape } = node.inputs[0]!;
    const cuts = shape.map((length, axis) => sizes[axis] !== length);
    const isOneAxis = (axes: readonly Axis[]) => axes.length <= 1;
    const lists = alongShape(x!.axes, shape);
    const fits = lists?.every((axes, i) => !cuts[i] || isOneAxis(axes)) ?? false;
    const from = fits ? x! : operations.sideBySide(x!, size(shape));
    let { offset } = from;
    const axes = (fits ? lists! : alongShape(from.axes, shape)!).flatMap((own, i): Axis[] => {
      if (!cuts[i]) return own;
      const { stride } = own[0]!;
      offset += starts[i]! * stride;
      return [{ length: sizes[i]!, stride: stride * steps[i]! }];
    });
    return { memory: from.memory, offset, axes: collapse(axes) };
  },
  pad({ operations, node, inputs: [x] }) {
    const { low, interior, value } = node.attributes;
    const source = node.inputs[0]!;
    const memory = new Memory(node.dtype, node.size);
    const places = strides(node.shape);
    const window = {
      memory,
      offset: low.reduce((total, before, axis) => total + before * places[axis]!, 0),
      axes: collapse(
        source.shape.map((length, axis) => ({ length, stride: places[axis]! * (interior[axis]! + 1) })),
      ),
    };
    if (value === 0) operations.zeroed.set(memory, JSON.stringify([node.dtype, node.size, window]));
    else {
      const filled = constantOf(operations, value, node.dtype, node.size);
      operations.copy(filled, wholeOf(memory), node.size);
    }
    if (source.size > 0) operations.copy(x!, window, source.size, value !== 0);
    return wholeOf(memory);
  },
  concat({ operations, node, inputs }) {
    const { axis } = node.attributes;
    const memory = new Memory(node.dtype, node.size);
    const places = strides(node.shape);
    const outer = size(node.shape.slice(0, axis));
    const known = outer === 1 ? joined(inputs, node.inputs) : undefined;
    if (known !== undefined) return known;
    let offset = 0;
    inputs.forEach((region, i) => {
      const part = node.inputs[i]!;
      if (part.size > 0) {
        if (outer !== 1 || !operations.place(region, { memory, offset })) {
          const axes = collapse(part.shape.map((length, other) => ({ length, stride: places[other]! })));
          operations.copy(region, { memory, offset, axes }, part.size);
        }
      }
      offset += part.shape[axis]! * places[axis]!;
    });
    return wholeOf(memory);
  },

  sum: reduce,
  max: reduce,
  argMax({ operations, node, inputs: [x] }) {
    const { shape, dtype } = node.inputs[0]!;
    const { axis } = node.attributes;
    const from = operations.sideBySide(x!, size(shape));
    const target = wholeOf(new Memory('int32', node.size));
    const [outer, length, inner] = [size(shape.slice(0, axis)), shape[axis]!, size(shape.slice(axis + 1))];
    operations.add({
      kind: 'call',
      reads: [from],
      writes: [target],
      code: ({ reads: [a], writes: [b] }) => `
  for (long i = 0; i < ${outer}; i++) for (long j = 0; j < ${inner}; j++) {
    int best = 0;
    ${typeNames[dtype]} most = ${literal(Number.NEGATIVE_INFINITY, dtype)};
    for (int k = 0; k < ${length}; k++) {
      const ${typeNames[dtype]} value = ${a}[(i * ${length} + k) * ${inner} + j];
      if (value > most) { most = value; best = k; }
    }
    ${b}[i * ${inner} + j] = best;
  }
`,
    });
    return target;
  },

  matmul: translateMatmul,
  gather({ operations, blocks, constants, node, inputs: [x, indices] }) {
    const { axis } = node.attributes;
    const [source, table] = node.inputs as [Tensor, Tensor];
    const length = source.shape[axis]!;
    const known = isKind(table, 'constant') ? table.attributes.data : undefined;
    const isSafe = known?.every((place) => place >= 0 && place < length) ?? false;
    const pattern = isSafe ? axesOfTable(known!) : undefined;
    if (pattern !== undefined && node.size > 0) {
      const lists = alongShape(x!.axes, source.shape);
      const fits = lists !== undefined && lists[axis]!.length <= 1;
      const from = fits ? x! : operations.sideBySide(x!, source.size);
      const axes = fits ? lists : alongShape(from.axes, source.shape)!;
      const step = axes[axis]![0]?.stride ?? 0;
      const own = pattern.axes.map(({ length, stride }) => ({ length, stride: stride * step }));
      return {
        memory: from.memory,
        offset: from.offset + pattern.offset * step,
        axes: collapse(axes.with(axis, own).flat()),
      };
    }
    const target = wholeOf(new Memory(node.dtype, node.size));
    const inner = size(source.shape.slice(axis + 1));
    const outer = size(source.shape.slice(0, axis));
    const count = table.size;
    const rowsFrom = operations.sideBySide(x!, source.size);
    if (isSafe && inner === 1) {
      const made = inPieces(operations, blocks, { from: rowsFrom, rows: outer, length, table: known! });
      if (made !== undefined) {
        constants.set(...made.constant);
        return made.target;
      }
    }
    operations.add({
      kind: 'call',
      reads: [rowsFrom, operations.sideBySide(indices!, count)],
      writes: [target],
      code: ({ reads: [from, places], writes: [to] }) => `
  for (long i = 0; i < ${outer}; i++) for (long j = 0; j < ${count}; j++) {
    const long place = ${places}[j];${isSafe ? '' : inRange(length)}
    ${inner === 1 ? '' : `for (long k = 0; k < ${inner}; k++) `}${to}[${step(count, inner)}] = ${from}[(i * ${length} + place) * ${inner}${inner === 1 ? '' : ' + k'}];
  }
`,
    });
    return target;
  },
  scatterAdd({ operations, node, inputs: [updates, indices] }) {
    const { axis, length } = node.attributes;
    const [source, table] = node.inputs as [Tensor, Tensor];
    const target = wholeOf(new Memory(node.dtype, node.size));
    const inner = size(node.shape.slice(axis + 1));
    const outer = size(node.shape.slice(0, axis));
    const count = table.size;
    operations.add({
      kind: 'call',
      reads: [operations.sideBySide(updates!, source.size), operations.sideBySide(indices!, count)],
      writes: [target],
      code: ({ reads: [from, places], writes: [to] }) => `
  for (long i = 0; i < ${node.size}; i++) ${to}[i] = 0;
  for (long i = 0; i < ${outer}; i++) for (long j = 0; j < ${count}; j++) {
    const long place = ${places}[j];${inRange(length)}
    for (long k = 0; k < ${inner}; k++) ${to}[(i * ${length} + place) * ${inner} + k] += ${from}[(i * ${count} + j) * ${inner} + k];
  }
`,
    });
    return target;
  },

  conv2d: translateConv2d,
  conv2dInputGradient: translateInputGradient,
  conv2dFilterGradient: translateFilterGradient,
};

/** Leaves the program where an index that is only known when it runs is out of range. */
const inRange = (length: number): string => `
    if (place < 0 || place >= ${length}) { *status = 1; return; }`;

const step = (count: number, inner: number): string =>
  inner === 1 ? `i * ${count} + j` : `(i * ${count} + j) * ${inner} + k`;

/** The matrix product, as one of rows, or of columns where A is transposed; B is transposed before. */
function translateMatmul({
  operations,
  blocks,
  isForeign,
  node,
  inputs,
}: Parameters<Translate<'matmul'>>[0]): Region {
  const [a, b] = node.inputs as [Tensor, Tensor];
  const { transposeA, transposeB } = node.attributes;
  const { dtype } = node;
  const [rows, columns] = node.shape.slice(-2) as [number, number];
  const inner = a.shape.at(transposeA ? -2 : -1)!;
  if (node.size === 0 || inner === 0) return constantOf(operations, 0, dtype, node.size);
  const lead = node.shape.slice(0, -2);
  const left = operations.sideBySide(inputs[0]!, a.size);
  let right = inputs[1]!;
  if (transposeB) {
    const [aligned, lists] = aligning(operations, right, b.shape);
    right = { ...aligned, axes: collapse(lists.with(-2, lists.at(-1)!).with(-1, lists.at(-2)!).flat()) };
  }
  right = readable(
    { operations, blocks, isForeign },
    turnedAround(operations, blocks, right, b.size),
    b.size,
    columns,
  );
  const target = wholeOf(new Memory(dtype, node.size));
  // Where a stack of matrices lies, by its place in the stack of the result.
  const stack = (source: Tensor) => {
    const axes = source.shape.slice(0, -2);
    const own = strides(axes).map((stride) => stride * size(source.shape.slice(-2)));
    const before = lead.length - axes.length;
    return lead.map((_, axis) => (axis < before || axes[axis - before] === 1 ? 0 : own[axis - before]!));
  };
  const [stackA, stackB] = [stack(a), stack(b)];
  const place = (steps: readonly number[]) =>
    steps.map((stride, axis) => `i${axis} * ${stride}`).join(' + ') || '0';
  const stackC = strides(lead).map((stride) => stride * rows * columns);
  operations.add({
    kind: 'call',
    reads: [left, right],
    writes: [target],
    code: ({ reads: [p, q], writes: [r] }) => {
      const pointers = [
        `(${p} + ${place(stackA)})`,
        `(${q} + ${place(stackB)})`,
        `(${r} + ${place(stackC)})`,
      ] as const;
      const product = transposeA
        ? columnProducts(
            blocks,
            [
              {
                dtype,
                rowsOfA: collapse([{ length: inner, stride: rows }]),
                rowsOfB: collapse([{ length: inner, stride: columns }]),
                rows,
                columns,
                a: 0,
                c: 0,
              },
            ],
            pointers,
          )
        : rowProduct(
            blocks,
            {
              dtype,
              rowsOfA: collapse([{ length: rows, stride: inner }]),
              rowsOfC: collapse([{ length: rows, stride: columns }]),
              stretches: 1,
              stretch: 0,
              length: inner,
              columns,
              a: 0,
              c: 0,
            },
            pointers,
          );
      const loops = lead.map((length, axis) => `for (long i${axis} = 0; i${axis} < ${length}; i${axis}++) `);
      return `\n  ${loops.join('')}{\n${product}  }\n`;
    },
  });
  return target;
}
