/** Tracing: running an ordinary TypeScript function on symbolic tensors, which leaves a graph behind. */
import { input, isKind, Tensor } from './tensor.ts';
import type { TensorType } from './type.ts';

/** A program: named inputs, named outputs, and the nodes between them. */
export interface Graph<In extends string = string, Out extends string = string> {
  readonly inputs: Readonly<Record<In, Tensor>>;
  readonly outputs: Readonly<Record<Out, Tensor>>;
}

/**
 * A program that goes round. The body's outputs are its inputs of the same names in the next round; `end` is
 * computed once, from the last of them. Inputs that are not carried on so are the same in every round, but
 * for `round`, int32 []: it counts from the program's input `firstRound`, and there are `rounds` of them.
 */
export interface Loop<In extends string = string, Out extends string = string> {
  readonly body: Graph;
  readonly end: Graph<In, Out>;
}

/**
 * Calls `fn` once on symbolic inputs of the given types and returns what it computes as a graph.
 *
 *     trace({ x: float32(5, 784), w: float32(784, 64) }, ({ x, w }) => ({ y: tanh(matmul(x, w)) }))
 */
export function trace<In extends string, Out extends string>(
  types: Readonly<Record<In, TensorType>>,
  fn: (inputs: Readonly<Record<In, Tensor>>) => Readonly<Record<Out, Tensor>>,
): Graph<In, Out> {
  const inputs = mapRecord(types, (type, name) => input(name, type) as Tensor);
  return { inputs, outputs: fn(inputs) };
}

/** Every node the roots depend on, inputs before users. Iterative, since unrolled loops are deep. */
export function nodesOf(roots: readonly Tensor[]): Tensor[] {
  const seen = new Set<Tensor>(roots);
  const stack = [...seen];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    for (const source of node.inputs) {
      if (!seen.has(source)) {
        seen.add(source);
        stack.push(source);
      }
    }
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** Builds the graph anew, input by input; `rebuild` gets each operation with its inputs replaced. */
export function mapGraph<In extends string, Out extends string>(
  graph: Graph<In, Out>,
  rebuild: (node: Tensor) => Tensor,
): Graph<In, Out> {
  const renewed = new Map<Tensor, Tensor>();
  for (const node of nodesOf(Object.values(graph.outputs))) {
    const inputs = node.inputs.map((source) => renewed.get(source)!);
    const changed = inputs.some((source, i) => source !== node.inputs[i]);
    const copy = changed ? new Tensor(node.kind, inputs, node.attributes, node) : node;
    renewed.set(node, isKind(node, 'input') ? node : rebuild(copy));
  }
  return { inputs: graph.inputs, outputs: mapRecord(graph.outputs, (node) => renewed.get(node)!) };
}

/** A record with every value replaced. */
export function mapRecord<K extends string, A, B>(
  record: Readonly<Record<K, A>>,
  fn: (value: A, key: K) => B,
): Record<K, B> {
  const result = {} as Record<K, B>;
  for (const key of Object.keys(record) as K[]) result[key] = fn(record[key], key);
  return result;
}

/** The values under names that start with `prefix`. */
export function prefixed<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]));
}

/** Those of the values whose names start with `prefix`, without it. */
export function unprefixed<T>(prefix: string, values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [],
    ),
  );
}
