/** The one table from operators to ONNX: every operator says how it is computed there. */
import { isKind, type Operator, type Tensor } from '../graph/tensor.ts';
import { type Graph, type Loop, nodesOf } from '../graph/trace.ts';
import { arrayOf, size } from '../graph/type.ts';
import { Accumulator, accumulationsOf } from './accumulation.ts';
import {
  type Binding,
  endOf,
  type InputPart,
  keyOf,
  type Place,
  partsOfInputs,
  partsOfOutputs,
  stretchesOf,
} from './border.ts';
import {
  type Lowering,
  type LoweringContext,
  type LoweringTarget,
  product,
  reshape,
  scalar,
} from './context.ts';
import { lowerConv2d, lowerConv2dFilterGradient, lowerConv2dInputGradient } from './convolution.ts';
import { float, ModelBuilder } from './model.ts';

/** An operator that ONNX has under another name. */
function same(type: string): Lowering<Operator> {
  return ({ model, inputs }) => model.op(type, inputs);
}

/** A reduction; over no axes it changes nothing, where ONNX would by itself reduce all. */
function reduction(type: string): Lowering<'sum' | 'max'> {
  return ({ model, inputs, attributes: { axes, keepDims } }) =>
    model.op(type, [inputs[0]!, model.integers(axes)], {
      keepdims: Number(keepDims),
      noop_with_empty_axes: 1,
    });
}

/**
 * On WebGPU ONNX Runtime 1.30 has no kernel for `sign` (so the gradient of `abs`), `or`, `equal` of bools,
 * slices of int32, moving bools (transpose, slice, pad, concat), the cast of ArgMax's int64, and float64 as
 * a whole: it computes these on the CPU, with copies there and back. Of all that, an inner loop has only
 * the slice of its table of mini-batches.
 */
const lowerings: { readonly [K in Operator]: Lowering<K> } = {
  neg: same('Neg'),
  exp: same('Exp'),
  log: same('Log'),
  sqrt: same('Sqrt'),
  sin: same('Sin'),
  cos: same('Cos'),
  tanh: same('Tanh'),
  sigmoid: same('Sigmoid'),
  relu: same('Relu'),
  step: lowerStep,
  abs: same('Abs'),
  sign: same('Sign'),
  add: same('Add'),
  sub: same('Sub'),
  mul: same('Mul'),
  div: same('Div'),
  pow: ({ model, node, inputs, attributes }) =>
    model.op('Pow', [inputs[0]!, scalar(model, node.dtype, attributes.exponent)]),
  maximum: same('Max'),
  minimum: same('Min'),
  equal: same('Equal'),
  less: same('Less'),
  greater: same('Greater'),
  lessEqual: same('LessOrEqual'),
  greaterEqual: same('GreaterOrEqual'),
  and: same('And'),
  or: same('Or'),
  not: same('Not'),
  // Where knows no bools.
  select: (context) => {
    const { model, node, inputs } = context;
    if (node.dtype !== 'bool') return same('Where')(context);
    const [condition, a, b] = inputs as [string, string, string];
    const other = model.op('And', [model.op('Not', [condition]), b]);
    return model.op('Or', [model.op('And', [condition, a]), other]);
  },
  cast: ({ model, inputs, attributes }) =>
    model.op('Cast', inputs, { to: model.elementType(attributes.dtype) }),
  identity: ({ inputs }) => inputs[0]!,
  stopGradient: ({ inputs }) => inputs[0]!,

  reshape: ({ model, inputs, attributes }) => reshape(model, inputs[0]!, attributes.shape),
  broadcastTo: ({ model, inputs, attributes }) =>
    model.op('Expand', [inputs[0]!, model.integers(attributes.shape)]),
  transpose: ({ model, inputs, attributes }) =>
    model.op('Transpose', inputs, { perm: attributes.permutation }),
  slice: ({ model, node, inputs, attributes: { starts, sizes, steps } }) => {
    const { shape } = node.inputs[0]!;
    const axes = shape.flatMap((length, axis) => (sizes[axis] === length ? [] : [axis]));
    const ends = axes.map((axis) => starts[axis]! + (sizes[axis]! - 1) * steps[axis]! + 1);
    const arguments_ = [axes.map((axis) => starts[axis]!), ends, axes, axes.map((axis) => steps[axis]!)];
    return model.op('Slice', [inputs[0]!, ...arguments_.map((values) => model.integers(values))]);
  },
  pad: lowerPad,
  concat: ({ model, inputs, attributes }) => model.op('Concat', inputs, { axis: attributes.axis }),

  sum: lowerSum,
  max: reduction('ReduceMax'),
  argMax: ({ model, inputs, attributes: { axis } }) =>
    model.op('Cast', [model.op('ArgMax', inputs, { axis, keepdims: 0 })], { to: model.elementType('int32') }),

  matmul: (context) => {
    const [a, b] = context.node.inputs.map(({ rank }, i) => ({ name: context.inputs[i]!, rank }));
    const { transposeA, transposeB } = context.attributes;
    return product(context, { ...a!, transposed: transposeA }, { ...b!, transposed: transposeB });
  },
  gather: lowerGather,
  scatterAdd: lowerScatterAdd,
  conv2d: lowerConv2d,
  conv2dInputGradient: lowerConv2dInputGradient,
  conv2dFilterGradient: lowerConv2dFilterGradient,
};

/** What `lower` returns. */
export interface LoweredProgram {
  /** Serialized. */
  readonly model: Uint8Array;
  readonly inputs: readonly Binding[];
  readonly outputs: readonly Binding[];
}

/** A program as an ONNX model; how its arrays cross into it is `border.ts`. */
export function lower(program: Graph | Loop, target: LoweringTarget): LoweredProgram {
  const entry = new Entry();
  const outputs = 'body' in program ? lowerLoop(program, entry, target) : lowerGraph(program, entry, target);
  return { model: entry.model.finish(), inputs: entry.inputs, outputs };
}

/** A model and what goes into it. */
class Entry {
  readonly model = new ModelBuilder();
  readonly #declared = new Map<string, Binding>();

  get inputs(): Binding[] {
    return [...this.#declared.values()];
  }

  /** The name of an input, new or already there. */
  declare(binding: Binding): string {
    if (!this.#declared.has(binding.value)) {
      this.model.input(binding.value, binding.type);
      this.#declared.set(binding.value, binding);
    }
    return binding.value;
  }

  /** The name of a part of an array, cut out of what goes in. */
  enter({ place, stretch }: InputPart): string {
    const value = this.declare(stretch);
    if (endOf(place) - place.offset === endOf(stretch) - stretch.offset) return value;
    const bounds = [[place.offset - stretch.offset], [endOf(place) - stretch.offset], [0]];
    return this.model.op('Slice', [value, ...bounds.map((values) => this.model.integers(values))]);
  }
}

function lowerGraph(graph: Graph, entry: Entry, target: LoweringTarget): Binding[] {
  const { model } = entry;
  const names = new Map(partsOfInputs(graph).map((input) => [input.part, entry.enter(input)]));
  lowerNodes(graph, { model, names, target });
  return declareOutputs(graph, { model, names, target });
}

/** What a loop carries from round to round. */
interface Carried {
  readonly place: Place;
  /** Its value before the first round, and in a round. */
  readonly first: string;
  readonly formal: string;
}

function lowerLoop({ body, end }: Loop, entry: Entry, target: LoweringTarget): Binding[] {
  const { model } = entry;
  const count = (name: string) =>
    entry.declare({ value: name, name, offset: 0, type: { dtype: 'int32', shape: [] } });
  const [firstRound, rounds] = [count('firstRound'), count('rounds')];
  const isCarried = ({ name }: Place) => Object.hasOwn(body.outputs, name);

  const inner = new ModelBuilder('body ');
  const names = new Map<Tensor, string>();
  const carried = new Map<string, Carried>();
  for (const input of partsOfInputs(body)) {
    const { part, place } = input;
    if (place.name === 'round') {
      const done = inner.op('Cast', [inner.round], { to: inner.elementType('int32') });
      names.set(part, inner.op('Add', [done, firstRound]));
    } else if (isCarried(place)) {
      const key = keyOf(place);
      const formal = carried.get(key)?.formal ?? inner.input(`carried ${key}`, part);
      names.set(part, formal);
      carried.set(key, { place, first: entry.enter(input), formal });
    } else {
      names.set(part, entry.enter(input)); // seen from inside the loop
    }
  }
  // What a round only writes is carried, too, where the end reads it.
  const read = new Set([...carried.values()].map(({ place }) => place.name));
  for (const input of partsOfInputs(end)) {
    const { part, place } = input;
    if (!isCarried(place) || read.has(place.name)) continue;
    const key = keyOf(place);
    carried.set(key, { place, first: entry.enter(input), formal: inner.input(`carried ${key}`, part) });
  }
  lowerNodes(body, { model: inner, names, target });
  // What is carried leaves a round as it enters the next: as the part that was made, or cut out of all of it.
  const leaving = new Map(partsOfOutputs(body).map(({ place, part }) => [keyOf(place), part]));
  for (const [key, { place }] of carried) {
    const part = leaving.get(key);
    const whole = body.outputs[place.name]!;
    inner.output(key, place.type, part ? names.get(part)! : cutOut(inner, names.get(whole)!, whole, place));
  }
  const wide = model.op('Cast', [rounds], { to: 7 }); // int64
  const starts = [...carried.values()].map(({ first }) => first);
  const last = model.loop(wide, starts, inner);

  const places = [...carried.values()].map(({ place }) => place);
  const endNames = partsOfInputs(end).map((input) => {
    const name = isCarried(input.place) ? joinParts(model, input.place, places, last) : entry.enter(input);
    return [input.part, name] as const;
  });
  const scope = { model, names: new Map(endNames), target };
  lowerNodes(end, scope);
  return declareOutputs(end, scope);
}

/** A part of a vector. */
function cutOut(model: ModelBuilder, name: string, { size: length }: Tensor, place: Place): string {
  if (size(place.type.shape) === length) return name;
  const bounds = [[place.offset], [endOf(place)], [0]];
  return model.op('Slice', [name, ...bounds.map((values) => model.integers(values))]);
}

/** A part of an array, joined from the values of the parts that it is made of. */
function joinParts(
  model: ModelBuilder,
  whole: Place,
  places: readonly Place[],
  values: readonly string[],
): string {
  const isWithin = (place: Place) =>
    place.name === whole.name && place.offset >= whole.offset && endOf(place) <= endOf(whole);
  const within = places
    .map((place, i) => ({ place, value: values[i]! }))
    .filter(({ place }) => isWithin(place))
    .sort((a, b) => a.place.offset - b.place.offset);
  const found = within.reduce((total, { place }) => total + size(place.type.shape), 0);
  if (found !== size(whole.type.shape)) {
    throw new Error(`internal: ${keyOf(whole)} is read after a loop otherwise than in it`);
  }
  const [first, ...others] = within.map(({ value }) => value);
  return others.length === 0 ? first! : model.op('Concat', [first!, ...others], { axis: 0 });
}

interface Scope {
  readonly model: ModelBuilder;
  /** The names of values that are known. */
  readonly names: Map<Tensor, string>;
  readonly target: LoweringTarget;
}

/** Emits all nodes of a graph that have no name yet. */
function lowerNodes(graph: Graph, { model, names, target }: Scope): void {
  const accumulations = accumulationsOf(graph);
  const accumulator = new Accumulator(model, (value) => names.get(value)!);
  for (const node of nodesOf(Object.values(graph.outputs))) {
    if (names.has(node)) continue;
    if (isKind(node, 'input')) {
      const known = Object.values(graph.inputs).includes(node); // then its slices stand for it
      if (!known) throw new Error(`internal: input ${node.attributes.name} is of another graph`);
    } else if (isKind(node, 'constant')) {
      names.set(node, model.constant(node, node.attributes.data));
    } else if (accumulations.has(node)) {
      names.set(node, accumulator.emit(node, accumulations.get(node)!));
    } else {
      const operation = node as Tensor<Operator>;
      const lowering = lowerings[operation.kind] as unknown as Lowering<Operator>;
      const sources = node.inputs.map((source) => names.get(source)!);
      const { attributes } = operation;
      names.set(node, lowering({ model, node: operation, attributes, inputs: sources, target }));
    }
  }
}

function declareOutputs(graph: Graph, { model, names }: Scope): Binding[] {
  return stretchesOf(partsOfOutputs(graph)).map(({ members, place }) => {
    const values = members.map(({ part }) => names.get(part)!);
    const joined = values.length === 1 ? values[0]! : model.op('Concat', values, { axis: 0 });
    return { ...place, value: model.output(keyOf(place), place.type, joined) };
  });
}

/**
 * One pass: HardSigmoid is x times a slope, clamped to 0 … 1. Positive numbers below the slope's inverse come
 * out as fractions; nothing that is computed with gets so small.
 */
function lowerStep({ model, node, inputs }: LoweringContext<'step'>): string {
  if (node.dtype === 'float32')
    return model.op('HardSigmoid', inputs, { alpha: float(1e30), beta: float(0) });
  const positive = model.op('Greater', [inputs[0]!, scalar(model, node.dtype, 0)]);
  return model.op('Cast', [positive], { to: model.elementType(node.dtype) });
}

/** Interior padding becomes a new axis that is padded and folded back; what it adds at the end is cut. */
function lowerPad({ model, node, inputs, attributes }: LoweringContext<'pad'>): string {
  const { low, high, interior, value } = attributes;
  const { shape } = node.inputs[0]!;
  const pads = (x: string, before: readonly number[], after: readonly number[]) =>
    model.op('Pad', [x, model.integers([...before, ...after]), scalar(model, node.dtype, value)]);
  let spread = inputs[0]!;
  if (interior.some((gap) => gap > 0)) {
    spread = reshape(
      model,
      spread,
      shape.flatMap((length) => [length, 1]),
    );
    spread = pads(
      spread,
      interior.flatMap(() => [0, 0]),
      interior.flatMap((gap) => [0, gap]),
    );
    spread = reshape(
      model,
      spread,
      shape.map((length, axis) => length * (interior[axis]! + 1)),
    );
    const lengths = shape.map((length, axis) => length + Math.max(length - 1, 0) * interior[axis]!);
    const axes = shape.map((_, axis) => axis);
    const bounds = [axes.map(() => 0), lengths, axes];
    spread = model.op('Slice', [spread, ...bounds.map((values) => model.integers(values))]);
  }
  return [...low, ...high].some((length) => length > 0) ? pads(spread, low, high) : spread;
}

/** Elements a table may have that names each element for itself. */
const largestElementTable = 2 ** 21;

/**
 * Single elements by a constant table are found several times faster by GatherElements, which wants the
 * table once for every row.
 */
function lowerGather({ model, node, inputs, attributes: { axis } }: LoweringContext<'gather'>): string {
  const [x, indices] = node.inputs as [Tensor, Tensor];
  const single = axis === x.rank - 1 && axis > 0 && indices.rank === 1;
  if (!single || !isKind(indices, 'constant') || node.size > largestElementTable) {
    return model.op('Gather', inputs, { axis });
  }
  const table = new Int32Array(node.size);
  for (let i = 0; i < table.length; i += indices.size) table.set(indices.attributes.data, i);
  return model.op(
    'GatherElements',
    [inputs[0]!, model.constant({ dtype: 'int32', shape: node.shape }, table)],
    { axis },
  );
}

/** Sums over all axes but the last are the product with a row of ones, which is faster from a few rows on. */
function lowerSum(context: LoweringContext<'sum'>): string {
  const { model, node, inputs, attributes } = context;
  const { shape, dtype, rank } = node.inputs[0]!;
  const rows = size(shape.slice(0, -1));
  const leading = attributes.axes.length === rank - 1 && !attributes.axes.includes(rank - 1);
  if (!leading || rows < 32) return reduction('ReduceSum')(context);
  const ones = model.constant({ dtype, shape: [1, rows] }, arrayOf(dtype, rows).fill(1));
  const matrix = reshape(model, inputs[0]!, [rows, shape.at(-1)!]);
  return reshape(model, model.op('MatMul', [ones, matrix]), node.shape);
}

/**
 * A constant table without repetition can be read backwards: every place looks its update up. Else
 * ScatterND adds along the first axis; another axis is brought there and back. Several threads of it lose sums:
 * there ScatterElements, which takes one, is told the place of every element.
 */
function lowerScatterAdd({
  model,
  node,
  inputs,
  attributes,
  target: { threads = 1 },
}: LoweringContext<'scatterAdd'>): string {
  const { axis, length } = attributes;
  const [updates, indices] = node.inputs as [Tensor, Tensor];
  const isTable = isKind(indices, 'constant') && indices.rank === 1;
  if (isTable && new Set(indices.attributes.data).size === indices.size) {
    const sources = new Int32Array(length).fill(indices.size); // a row of zeros
    indices.attributes.data.forEach((place, i) => {
      sources[place] = i;
    });
    const zeroRow = { dtype: node.dtype, shape: updates.shape.with(axis, 1) };
    const complete =
      length > indices.size
        ? model.op(
            'Concat',
            [inputs[0]!, model.constant(zeroRow, arrayOf(node.dtype, size(zeroRow.shape)))],
            { axis },
          )
        : inputs[0]!;
    return model.op('Gather', [complete, model.constant({ dtype: 'int32', shape: [length] }, sources)], {
      axis,
    });
  }
  const window = Array.from({ length: indices.rank }, (_, i) => axis + i);
  const others = updates.shape.flatMap((_, i) => (window.includes(i) ? [] : [i]));
  const moved =
    axis === 0 ? inputs[0]! : model.op('Transpose', [inputs[0]!], { perm: [...window, ...others] });
  const rest = others.map((i) => updates.shape[i]!);
  const zeros = model.constant(
    { dtype: node.dtype, shape: [length, ...rest] },
    arrayOf(node.dtype, length * size(rest)),
  );
  const elementwise = () => {
    const rows = [indices.size, ...rest];
    const column = reshape(model, wide, [indices.size, ...rest.map(() => 1)]);
    const everywhere = model.op('Expand', [column, model.integers(rows)]);
    return model.op('ScatterElements', [zeros, everywhere, reshape(model, moved, rows)], {
      axis: 0,
      reduction: 'add',
    });
  };
  const places = reshape(model, inputs[1]!, [...indices.shape, 1]);
  const wide = model.op('Cast', [places], { to: 7 }); // int64
  const sums =
    threads === 1 ? model.op('ScatterND', [zeros, wide, moved], { reduction: 'add' }) : elementwise();
  if (axis === 0) return sums;
  const back = Array.from({ length: node.rank }, (_, i) => (i === axis ? 0 : i < axis ? i + 1 : i));
  return model.op('Transpose', [sums], { perm: back });
}
