/**
 * Reverse-mode differentiation, graph → graph: the gradient is again made of operators, so it can be
 * differentiated, simplified and compiled like anything else, to any order.
 */
import { ShapeError } from '../errors.ts';
import { add, identity, scalar } from './elementwise.ts';
import { scatterAdd } from './linear.ts';
import { isOperation, rulesOf } from './operators.ts';
import { requireFloat } from './reductions.ts';
import { broadcastTo, concat } from './shaping.ts';
import { constant, isKind, type Tensor } from './tensor.ts';
import { mapRecord, nodesOf } from './trace.ts';
import { formatType, isFloat, type Shape } from './type.ts';

/** What a function can be differentiated by: a tensor, or a record of them. */
export type Differentiable = Tensor | Readonly<Record<string, Tensor>>;

/** Gradients in the form of what was differentiated by. */
export type Gradient<X extends Differentiable> = X extends Tensor ? Tensor : { [K in keyof X]: Tensor };

function isRecord(x: Differentiable): x is Readonly<Record<string, Tensor>> {
  return !('kind' in x && typeof x.kind === 'string');
}

/**
 * A function that computes `fn`'s value at x and its gradient there, the shapes of x.
 * What `fn` uses besides its argument counts as constant, even where it depends on x.
 * @throws {ShapeError} when `fn` does not return a float scalar.
 */
export function valueAndGrad<X extends Differentiable>(
  fn: (x: X) => Tensor,
): (x: X) => { value: Tensor; gradient: Gradient<X> } {
  return (x) => {
    const variables = (isRecord(x) ? mapRecord(x, identity) : identity(x as Tensor)) as X;
    const value = fn(variables);
    if (!isRecord(variables)) {
      return { value, gradient: gradients(value, [variables as Tensor])[0]! as Gradient<X> };
    }
    const found = gradients(value, Object.values(variables));
    const keys = Object.keys(variables);
    const gradient = mapRecord(variables, (_, key) => found[keys.indexOf(key)]!);
    return { value, gradient: gradient as Gradient<X> };
  };
}

/** A function that computes the gradient of `fn`; see `valueAndGrad`. */
export function grad<X extends Differentiable>(fn: (x: X) => Tensor): (x: X) => Gradient<X> {
  return (x) => valueAndGrad(fn)(x).gradient;
}

/** The gradients of a float scalar by each of `variables`, zeros where it does not depend on one. */
export function gradients(output: Tensor, variables: readonly Tensor[]): Tensor[] {
  if (output.rank !== 0 || !isFloat(output.dtype)) {
    throw new ShapeError(
      `grad: expected a function with a float scalar as its value, got ${formatType(output)}: sum it`,
    );
  }
  for (const variable of variables) requireFloat('grad', variable);
  const nodes = nodesOf([output]);
  const active = new Set<Tensor>(variables); // nodes that depend on a variable
  for (const node of nodes) {
    if (node.inputs.some((source) => active.has(source))) active.add(node);
  }
  const cotangents = new Map<Tensor, Tensor[]>([[output, [scalar(1, output.dtype)]]]);
  for (const node of nodes.toReversed()) {
    const received = cotangents.get(node);
    if (received === undefined || !active.has(node) || !isOperation(node)) continue;
    const total = sumAll(received);
    cotangents.set(node, [total]);
    const parts = rulesOf(node).gradient(node, total);
    node.inputs.forEach((source, i) => {
      const part = parts[i];
      if (part === undefined || !active.has(source)) return;
      const list = cotangents.get(source);
      if (list === undefined) cotangents.set(source, [part]);
      else list.push(part);
    });
  }
  return variables.map((variable) => {
    const received = cotangents.get(variable);
    return received === undefined ? zeros(variable.shape, variable) : sumAll(received);
  });
}

function zeros(shape: Shape, like: Tensor): Tensor {
  return broadcastTo(scalar(0, like.dtype), shape);
}

/**
 * The sum of cotangents that met at one node. Those of slices are zero-padded windows: where such
 * windows do not overlap they are joined by one concat, so that the gradient of a flat parameter vector
 * is laid out leaf by leaf and never added up from vectors that are mostly zeros. So are those of look-ups
 * by constant tables that have no entry in common, such as the places of pooling windows.
 */
function sumAll(cotangents: readonly Tensor[]): Tensor {
  const scattered = joinScattered(cotangents);
  if (scattered !== undefined) return scattered;
  const windows: Window[] = [];
  const rest: Tensor[] = [];
  for (const cotangent of cotangents) {
    const window = asWindow(cotangent);
    if (window !== undefined && (windows.length === 0 || windows[0]!.axis === window.axis))
      windows.push(window);
    else rest.push(cotangent);
  }
  windows.sort((a, b) => a.start - b.start);
  const disjoint = windows.every((window, i) => i === 0 || windows[i - 1]!.end <= window.start);
  if (windows.length < 2 || !disjoint) return cotangents.reduce((a, b) => add(a, b));
  return [joinWindows(windows), ...rest].reduce((a, b) => add(a, b));
}

interface Window {
  axis: number;
  start: number;
  end: number;
  content: Tensor;
  padded: Tensor;
}

/** Reads a node as content surrounded by zeros along one axis. */
function asWindow(node: Tensor): Window | undefined {
  if (!isKind(node, 'pad')) return undefined;
  const { low, high, interior, value } = node.attributes;
  const axes = node.shape.flatMap((_, axis) => (low[axis] !== 0 || high[axis] !== 0 ? [axis] : []));
  if (axes.length !== 1 || value !== 0 || interior.some((gap) => gap !== 0)) return undefined;
  const axis = axes[0]!;
  const content = node.inputs[0]!;
  return { axis, start: low[axis]!, end: low[axis]! + content.shape[axis]!, content, padded: node };
}

function joinWindows(windows: readonly Window[]): Tensor {
  const { axis, padded } = windows[0]!;
  const parts: Tensor[] = [];
  let place = 0;
  const fillTo = (start: number) => {
    if (start > place) parts.push(zeros(padded.shape.with(axis, start - place), padded));
  };
  for (const { start, end, content } of windows) {
    fillTo(start);
    parts.push(content);
    place = end;
  }
  fillTo(padded.shape[axis]!);
  return concat(parts, axis);
}

/** One scatter in place of several to different places, or undefined where they are not that. */
function joinScattered(cotangents: readonly Tensor[]): Tensor | undefined {
  const scatters: Tensor<'scatterAdd'>[] = [];
  const places: number[] = [];
  for (const node of cotangents) {
    if (!isKind(node, 'scatterAdd')) return undefined;
    const indices = node.inputs[1]!;
    if (!isKind(indices, 'constant') || indices.rank !== 1) return undefined;
    scatters.push(node);
    for (const place of indices.attributes.data) places.push(place);
  }
  const [first] = scatters;
  if (first === undefined || scatters.length < 2 || new Set(places).size < places.length) return undefined;
  const { axis, length } = first.attributes;
  if (scatters.some(({ attributes }) => attributes.axis !== axis)) return undefined;
  const updates = concat(
    scatters.map(({ inputs }) => inputs[0]!),
    axis,
  );
  const table = constant({ dtype: 'int32', shape: [places.length] }, Int32Array.from(places));
  return scatterAdd(updates, table, { axis, length });
}
