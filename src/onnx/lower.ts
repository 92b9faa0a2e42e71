/** The one table from operators to ONNX: every operator says how it is computed there. */
import { isKind, type Operator, type Tensor } from '../graph/tensor.ts';
import { type Graph, type Loop, nodesOf } from '../graph/trace.ts';
import { arrayOf, size, type TensorType } from '../graph/type.ts';
import { Accumulator, accumulationsOf } from './accumulation.ts';
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
  select: same('Where'),
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

/** Where a value that goes into the model, or comes out of it, lies in an array of the program. */
export interface Binding {
  /** What the model calls it. */
  readonly value: string;
  /** The array: the name of an input or output of the graph. */
  readonly name: string;
  /** Index of its first element there. */
  readonly offset: number;
  readonly type: TensorType;
}

/** A program as an ONNX model. */
export interface LoweredProgram {
  /** Serialized. */
  readonly model: Uint8Array;
  readonly inputs: readonly Binding[];
  readonly outputs: readonly Binding[];
}

/**
 * Lowers a program. A vector that is only read slice by slice goes in as so many inputs, and one that is
 * joined at the end comes out part by part: they cut and join in place what would else be copied. Small parts
 * side by side go together, since every value that crosses costs as much as a copy of some thousand elements.
 */
export function lower(program: Graph | Loop, target: LoweringTarget): LoweredProgram {
  const model = new ModelBuilder();
  const declared = new Map<string, Binding>(); // inputs of the model
  const declare = (binding: Binding): string => {
    if (!declared.has(binding.value)) {
      model.input(binding.value, binding.type);
      declared.set(binding.value, binding);
    }
    return binding.value;
  };
  const enter = ({ place, stretch }: InputPart): string => {
    const value = declare(stretch);
    if (place.type.shape.length !== 1 || size(place.type.shape) === size(stretch.type.shape)) return value;
    const start = place.offset - stretch.offset;
    const bounds = [[start], [start + size(place.type.shape)], [0]].map((values) => model.integers(values));
    return model.op('Slice', [value, ...bounds]);
  };
  if (!('body' in program)) {
    const names = new Map(partsOfInputs(program).map((input) => [input.part, enter(input)]));
    lowerNodes(program, { model, names, target });
    const outputs = declareOutputs(program, { model, names, target });
    return { model: model.finish(), inputs: [...declared.values()], outputs };
  }
  const { body, end } = program;
  const count = (name: string) =>
    declare({ value: name, name, offset: 0, type: { dtype: 'int32', shape: [] } });
  const [firstRound, rounds] = [count('firstRound'), count('rounds')];

  const inner = new ModelBuilder('body ');
  const names = new Map<Tensor, string>();
  const carried = new Map<string, { place: Place; first: string; formal: string }>();
  for (const input of partsOfInputs(body)) {
    const { part, place } = input;
    if (place.name === 'round') {
      const done = inner.op('Cast', [inner.round], { to: inner.elementType('int32') });
      names.set(part, inner.op('Add', [done, firstRound]));
    } else if (Object.hasOwn(body.outputs, place.name)) {
      const key = keyOf(place);
      const known = carried.get(key);
      const formal = known?.formal ?? inner.input(`carried ${key}`, part);
      names.set(part, formal);
      carried.set(key, { place, first: enter(input), formal });
    } else {
      names.set(part, enter(input)); // seen from inside the loop
    }
  }
  lowerNodes(body, { model: inner, names, target });
  // What is carried leaves a round as it enters the next.
  const leaving = new Map(partsOfOutputs(body).map((output) => [keyOf(output.place), output.part]));
  for (const key of carried.keys()) {
    const part = leaving.get(key);
    if (part === undefined) throw new Error(`internal: ${key} leaves a loop otherwise than it enters it`);
    inner.output(key, part, names.get(part)!);
  }
  const wide = model.op('Cast', [rounds], { to: 7 }); // int64
  const last = model.loop(
    wide,
    [...carried.values()].map(({ first }) => first),
    inner,
  );
  const after = [...carried.values()].map(({ place }, i) => ({ place, value: last[i]! }));
  /** What the loop made of a part, which may be several of those that it carried. */
  const lastOf = ({ name, offset, type }: Place): string => {
    const end = offset + size(type.shape);
    const within = after
      .filter(({ place }) => place.name === name && place.offset >= offset && endOf(place) <= end)
      .sort((a, b) => a.place.offset - b.place.offset);
    const values = within.map(({ value }) => value);
    const total = within.reduce((sum, { place }) => sum + size(place.type.shape), 0);
    if (total !== size(type.shape)) {
      throw new Error(`internal: ${keyOf({ name, offset, type })} is read after a loop otherwise than in it`);
    }
    return values.length === 1 ? values[0]! : model.op('Concat', values, { axis: 0 });
  };

  const endNames = new Map<Tensor, string>();
  for (const input of partsOfInputs(end)) {
    const isCarried = Object.hasOwn(body.outputs, input.place.name);
    endNames.set(input.part, isCarried ? lastOf(input.place) : enter(input));
  }
  lowerNodes(end, { model, names: endNames, target });
  const outputs = declareOutputs(end, { model, names: endNames, target });
  return { model: model.finish(), inputs: [...declared.values()], outputs };
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

/** Where a part of an array lies in it. */
type Place = Omit<Binding, 'value'>;

interface Part {
  readonly part: Tensor;
  readonly place: Place;
}

interface InputPart extends Part {
  /** What goes in: the part, or a stretch of the array that it is cut out of. */
  readonly stretch: Binding;
}

/** The inputs that are read: whole, or their slices where nothing else is made of them. */
function partsOfInputs(graph: Graph): InputPart[] {
  const nodes = nodesOf(Object.values(graph.outputs));
  return Object.entries(graph.inputs).flatMap(([name, node]) => {
    if (!nodes.includes(node)) return [];
    const parts = (slicesOf(node, nodes, graph) ?? [node])
      .map((part): Part => {
        const offset = isKind(part, 'slice') ? part.attributes.starts[0]! : 0;
        return { part, place: { name, offset, type: { dtype: part.dtype, shape: part.shape } } };
      })
      .sort((a, b) => a.place.offset - b.place.offset);
    return stretchesOf(parts).flatMap(({ members, place }) => {
      const whole = size(place.type.shape) === node.size;
      const stretch = { ...place, value: whole ? name : keyOf(place) };
      return members.map((member) => ({ ...member, stretch }));
    });
  });
}

/** The slices of a vector, if nothing else is made of it. */
function slicesOf(node: Tensor, nodes: readonly Tensor[], graph: Graph): Tensor<'slice'>[] | undefined {
  if (node.rank !== 1 || Object.values(graph.outputs).includes(node)) return undefined;
  const users = nodes.filter(({ inputs }) => inputs.includes(node));
  const isPart = (user: Tensor): user is Tensor<'slice'> =>
    isKind(user, 'slice') && user.attributes.steps[0] === 1 && user.size > 0;
  return users.length > 0 && users.every(isPart) ? users : undefined;
}

/** The outputs, joined ones as the parts they are joined from. */
function partsOfOutputs(graph: Graph): Part[] {
  return Object.entries(graph.outputs).flatMap(([name, node]) => {
    let offset = 0;
    return (isKind(node, 'concat') && node.rank === 1 ? node.inputs : [node]).map((part): Part => {
      const place = { name, offset, type: { dtype: part.dtype, shape: part.shape } };
      offset += part.size;
      return { part, place };
    });
  });
}

/** Parts of fewer elements cross the border together with small ones beside them. */
const smallPart = 8192;

interface Stretch {
  readonly members: Part[];
  readonly place: Place;
}

/** Parts in the order of their places, those that cross the border together in one stretch. */
function stretchesOf(parts: readonly Part[]): Stretch[] {
  const isSmall = ({ type: { shape } }: Place) => shape.length === 1 && size(shape) < smallPart;
  const stretches: Stretch[] = [];
  for (const next of parts) {
    const last = stretches.at(-1);
    const { place } = next;
    const joins =
      last?.place.name === place.name &&
      endOf(last.place) === place.offset &&
      isSmall(place) &&
      isSmall(last.members.at(-1)!.place);
    if (joins) {
      const shape = [size(last.place.type.shape) + size(place.type.shape)];
      const joined = { ...last.place, type: { ...place.type, shape } };
      stretches.splice(-1, 1, { members: [...last.members, next], place: joined });
    } else stretches.push({ members: [next], place });
  }
  return stretches;
}

function declareOutputs(graph: Graph, { model, names }: Scope): Binding[] {
  return stretchesOf(partsOfOutputs(graph)).map(({ members, place }) => {
    const values = members.map(({ part }) => names.get(part)!);
    const joined = values.length === 1 ? values[0]! : model.op('Concat', values, { axis: 0 });
    return { ...place, value: model.output(keyOf(place), place.type, joined) };
  });
}

function endOf({ offset, type }: Place): number {
  return offset + size(type.shape);
}

/** Tells a part of an array from others. */
function keyOf(place: Place): string {
  const { name, offset, type } = place;
  return type.shape.length === 1 && endOf(place) > 0 ? `${name}[${offset}:${endOf(place)}]` : name;
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
    const lengths = shape.map((length, axis) => length + (length - 1) * interior[axis]!);
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
 * ScatterND adds along the first axis; another axis is brought there and back.
 */
function lowerScatterAdd({ model, node, inputs, attributes }: LoweringContext<'scatterAdd'>): string {
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
  const target = { dtype: node.dtype, shape: [length, ...others.map((i) => updates.shape[i]!)] };
  const zeros = model.constant(target, arrayOf(node.dtype, size(target.shape)));
  const places = reshape(model, inputs[1]!, [...indices.shape, 1]);
  const wide = model.op('Cast', [places], { to: 7 }); // int64
  const sums = model.op('ScatterND', [zeros, wide, moved], { reduction: 'add' });
  if (axis === 0) return sums;
  const back = Array.from({ length: node.rank }, (_, i) => (i === axis ? 0 : i < axis ? i + 1 : i));
  return model.op('Transpose', [sums], { perm: back });
}
