/**
 * Simplification: common subexpressions computed once, constants folded, and a short list of algebraic
 * rules that remove what tracing and differentiation leave behind. Dead code needs no pass: a graph is
 * what its outputs reach.
 */
import { add, div, mul, neg, productOf, scalar, sub } from './elementwise.ts';
import { evaluateNode } from './evaluate.ts';
import { matmul } from './linear.ts';
import { isOperation } from './operators.ts';
import { sum } from './reductions.ts';
import { broadcastTo, reshape, slice, transpose } from './shaping.ts';
import { constant, isKind, type NodeKind, Tensor } from './tensor.ts';
import { type Graph, mapGraph } from './trace.ts';
import { broadcastShapes, isFloat, sameShape, type Value } from './type.ts';

/** Constants larger than this stay computed at run time: they would only make the program larger. */
const largestFoldedConstant = 4096;

/** An equal graph with fewer or cheaper operations; simplifies until nothing changes. */
export function simplify<In extends string, Out extends string>(graph: Graph<In, Out>): Graph<In, Out> {
  for (let current = graph; ; ) {
    const unique = uniqueNodes();
    const next = mapGraph(current, (node) => unique(fold(node) ?? rewriteFully(node)));
    const outputs = Object.keys(next.outputs) as Out[]; // new nodes below make new outputs
    if (outputs.every((name) => next.outputs[name] === current.outputs[name])) return next;
    current = next;
  }
}

function rewriteFully(node: Tensor): Tensor {
  let current = node;
  for (let next = rewrite(current); next !== undefined; next = rewrite(current)) current = next;
  return current;
}

/** Returns, for nodes that compute the same, the first of them. */
function uniqueNodes(): (node: Tensor) => Tensor {
  const known = new Map<string, Tensor>();
  const largeConstants = new Map<unknown, number>();
  return (node) => {
    if (isKind(node, 'input')) return node;
    const sources = node.inputs.map((source) => source.id).join();
    const key = `${node.kind} ${node.dtype} ${node.shape} ${attributeKey(node, largeConstants)} ${sources}`;
    const first = known.get(key);
    if (first === undefined) known.set(key, node);
    return first ?? node;
  };
}

function attributeKey(node: Tensor, largeConstants: Map<unknown, number>): string {
  if (!isKind(node, 'constant')) {
    return JSON.stringify(node.attributes, (_, value) => (typeof value === 'number' ? String(value) : value));
  }
  const { data } = node.attributes;
  if (data.length <= 64) return Array.from(data, (x) => (Object.is(x, -0) ? '-0' : String(x))).join();
  if (!largeConstants.has(data)) largeConstants.set(data, largeConstants.size);
  return `large ${largeConstants.get(data)}`;
}

function fold(node: Tensor): Tensor | undefined {
  const grows = isKind(node, 'broadcastTo'); // implicit in its users, or cheaper to expand when run
  if (!isOperation(node) || node.size > largestFoldedConstant || grows) return undefined;
  const values: Value[] = [];
  for (const source of node.inputs) {
    if (!isKind(source, 'constant')) return undefined;
    values.push({ dtype: source.dtype, shape: source.shape, data: source.attributes.data });
  }
  return constant(node, evaluateNode(node, values).data);
}

const broadcasting: ReadonlySet<NodeKind> = new Set([
  ...(['add', 'sub', 'mul', 'div', 'maximum', 'minimum', 'select'] as const),
  ...(['equal', 'less', 'greater', 'lessEqual', 'greaterEqual', 'and', 'or'] as const),
]);

/** One step of algebra, or undefined when no rule applies. Every rule keeps shape and dtype. */
function rewrite(node: Tensor): Tensor | undefined {
  const [a, b] = node.inputs;
  if (a === undefined) return undefined;
  if (isKind(node, 'identity') || isKind(node, 'stopGradient')) return a;
  if (broadcasting.has(node.kind)) {
    const implicit = dropBroadcasts(node);
    if (implicit !== undefined) return implicit;
  }
  const replaces = (candidate: Tensor) => sameShape(candidate.shape, node.shape);
  switch (node.kind) {
    case 'neg':
      if (isKind(a, 'neg')) return a.inputs[0];
      if (isKind(a, 'sub')) return sub(a.inputs[1]!, a.inputs[0]!);
      return undefined;
    case 'add':
      if (isUniform(b!, 0) && replaces(a)) return a;
      if (isUniform(a, 0) && replaces(b!)) return b;
      if (isKind(b!, 'neg')) return sub(a, b.inputs[0]!);
      if (isKind(a, 'neg')) return sub(b!, a.inputs[0]!);
      if (a === b) return mul(a, 2);
      return undefined;
    case 'sub':
      if (isUniform(b!, 0) && replaces(a)) return a;
      if (isUniform(a, 0) && replaces(b!) && isFloat(b!.dtype)) return neg(b!);
      if (isKind(b!, 'neg')) return add(a, b.inputs[0]!);
      return undefined;
    case 'mul':
      if (isUniform(b!, 1) && replaces(a)) return a;
      if (isUniform(a, 1) && replaces(b!)) return b;
      return gatherScalars(node, a, b!) ?? gatherScalars(node, b!, a) ?? signOutside(node, mul);
    case 'div':
      return isUniform(b!, 1) && replaces(a) ? a : signOutside(node, div);
    case 'reshape':
      if (isKind(a, 'reshape')) return reshape(a.inputs[0]!, node.shape);
      return replaces(a) ? a : undefined;
    case 'broadcastTo':
      return replaces(a) ? a : undefined;
    case 'transpose':
      return simplifyTranspose(node as Tensor<'transpose'>, a);
    case 'sum': {
      const { axes, keepDims } = (node as Tensor<'sum'>).attributes;
      if (isKind(a, 'neg')) return neg(sum(a.inputs[0]!, { axes, keepDims }));
      return axes.every((axis) => a.shape[axis] === 1) ? reshape(a, node.shape) : undefined;
    }
    case 'slice':
      return sliceOfConcat(node as Tensor<'slice'>, a);
    case 'matmul':
      return absorbTransposes(node as Tensor<'matmul'>, a, b!);
    default:
      return undefined;
  }
}

/** Elementwise operators broadcast by themselves: an explicit broadcast before one can go. */
function dropBroadcasts(node: Tensor): Tensor | undefined {
  for (let i = 0; i < node.inputs.length; i++) {
    const source = node.inputs[i]!;
    if (!isKind(source, 'broadcastTo')) continue;
    const inputs = node.inputs.with(i, source.inputs[0]!);
    const shape = inputs.reduce<readonly number[] | undefined>(
      (joint, { shape: next }) => joint && broadcastShapes(joint, next),
      [],
    );
    if (shape !== undefined && sameShape(shape, node.shape)) {
      return new Tensor(node.kind, inputs, node.attributes, node);
    }
  }
  return undefined;
}

/** A constant whose elements all equal `value`. */
function isUniform(node: Tensor, value: number): boolean {
  return isKind(node, 'constant') && node.attributes.data.every((x) => x === value);
}

/** −x · y = −(x · y), and so for quotients: outside, a sign meets another, a factor or a sum. */
function signOutside(node: Tensor, operation: (a: Tensor, b: Tensor) => Tensor): Tensor | undefined {
  const [a, b] = node.inputs as [Tensor, Tensor];
  const opposite = (x: Tensor) =>
    isKind(x, 'neg') && sameShape(x.shape, node.shape) ? x.inputs[0] : undefined;
  const [left, right] = [opposite(a), opposite(b)];
  if (left !== undefined && right !== undefined) return operation(left, right);
  if (left !== undefined) return neg(operation(left, b));
  return right && neg(operation(a, right));
}

/** c₁ · (c₂ · x) = (c₁c₂) · x for constants of one element; of a sign, c₂ = −1. Broadcasts go outside. */
function gatherScalars(node: Tensor, product: Tensor, factor: Tensor): Tensor | undefined {
  if (!isKind(factor, 'constant') || factor.size !== 1) return undefined;
  const value = factor.attributes.data[0]!;
  if (!sameShape(product.shape, node.shape)) return undefined;
  if (isKind(product, 'neg')) return mul(product.inputs[0]!, scalar(-value, factor.dtype));
  if (isKind(product, 'broadcastTo')) {
    return broadcastTo(mul(product.inputs[0]!, scalar(value, factor.dtype)), node.shape);
  }
  if (!isKind(product, 'mul')) return undefined;
  for (const [inner, rest] of [product.inputs, product.inputs.toReversed()] as [Tensor, Tensor][]) {
    if (isKind(inner, 'constant') && inner.size === 1 && sameShape(rest.shape, node.shape)) {
      const both = productOf(factor.dtype)(inner.attributes.data[0]!, value);
      if (factor.dtype === 'float32' && !isNormal(both) && both !== 0) return undefined;
      return mul(rest, scalar(both, factor.dtype));
    }
  }
  return undefined;
}

/** Whether float32 has it with all its digits. */
function isNormal(value: number): boolean {
  const size = Math.abs(value);
  return size >= 2 ** -126 && Number.isFinite(Math.fround(size));
}

function simplifyTranspose(node: Tensor<'transpose'>, x: Tensor): Tensor | undefined {
  const { permutation } = node.attributes;
  if (permutation.every((axis, i) => axis === i)) return x;
  if (isKind(x, 'transpose')) {
    const inner = x.attributes.permutation;
    return transpose(
      x.inputs[0]!,
      permutation.map((axis) => inner[axis]!),
    );
  }
  const moved = permutation.filter((axis) => x.shape[axis] !== 1);
  const inOrder = moved.every((axis, i) => i === 0 || moved[i - 1]! < axis);
  return inOrder ? reshape(x, node.shape) : undefined; // only axes of length 1 change place
}

/** A slice that lies inside one part of a concat is a slice of that part. */
function sliceOfConcat(node: Tensor<'slice'>, joined: Tensor): Tensor | undefined {
  if (!isKind(joined, 'concat')) return undefined;
  const { axis } = joined.attributes;
  const { starts, sizes, steps } = node.attributes;
  const last = starts[axis]! + (sizes[axis]! - 1) * steps[axis]!;
  let offset = 0;
  for (const part of joined.inputs) {
    const end = offset + part.shape[axis]!;
    if (starts[axis]! >= offset && last < end) {
      return slice(part, starts.with(axis, starts[axis]! - offset), sizes, steps);
    }
    offset = end;
  }
  return undefined;
}

/** A transpose of the last two axes before a product becomes a flag of the product. */
function absorbTransposes(node: Tensor<'matmul'>, a: Tensor, b: Tensor): Tensor | undefined {
  const { transposeA, transposeB } = node.attributes;
  if (swapsMatrix(a)) return matmul(a.inputs[0]!, b, { transposeA: !transposeA, transposeB });
  if (swapsMatrix(b)) return matmul(a, b.inputs[0]!, { transposeA, transposeB: !transposeB });
  return undefined;
}

function swapsMatrix(node: Tensor): boolean {
  if (!isKind(node, 'transpose')) return false;
  const last = node.rank - 1;
  return node.attributes.permutation.every((from, to) =>
    to === last ? from === last - 1 : to === last - 1 ? from === last : from === to,
  );
}
