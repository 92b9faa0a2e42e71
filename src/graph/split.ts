/**
 * Splitting: values too large for a processor's cache are made a few examples at a time, so that what one operator
 * writes is still there when the next one reads it. Operators that work example by example are repeated for
 * every piece; sums and products over all examples become sums over the pieces; all others see the whole.
 */
import { add, elementwise } from './elementwise.ts';
import { isOperation, rulesOf } from './operators.ts';
import { broadcastTo, concat, reshape, slice } from './shaping.ts';
import { apply, isKind, type Operator, type Tensor } from './tensor.ts';
import { type Graph, mapGraph, nodesOf } from './trace.ts';

/** When to split, in elements of values. The defaults are measured: see bench/README.md. */
export interface SplitSizes {
  /** Programs with so many for each convolution are split. @default 5 · 2¹⁸, 5 MB of float32 */
  readonly many?: number;
  /** Values from this size on are made in pieces. @default 2¹⁸, half of what a core's cache often holds */
  readonly large?: number;
  /** About the size of the pieces of the largest. @default 2¹⁷ */
  readonly piece?: number;
}

/** An equal graph; the same one where it has no convolutions of images or little to compute. */
export function split<In extends string, Out extends string>(
  graph: Graph<In, Out>,
  { many = 5 * 2 ** 18, large = 2 ** 18, piece = 2 ** 17 }: SplitSizes = {},
): Graph<In, Out> {
  const values = nodesOf(Object.values(graph.outputs)).filter(isOperation);
  const convolutions = values.filter(({ kind }) => kind.startsWith('conv2d'));
  const images = convolutions.find((node) => isKind(node, 'conv2d') && node.rank === 4);
  const elements = values.reduce((total, { size }) => total + size, 0);
  const largest = values.reduce((most, { size }) => Math.max(most, size), 0);
  if (images === undefined || elements < many * convolutions.length || largest < large) return graph;
  const examples = examplesOf(
    images,
    values.filter(({ size }) => size >= large),
  );
  if (examples < 2) return graph;
  const count = Math.min(examples, Math.ceil(largest / piece));
  const ends = Array.from({ length: count + 1 }, (_, i) => Math.round((i * examples) / count));
  const splitter = new Splitter(examples, ends, large);
  return mapGraph(graph, (node) => (isOperation(node) ? splitter.rebuild(node) : node));
}

/** How many examples, or groups of examples, lie along the first axes: in the large values as in the images. */
function examplesOf(images: Tensor, largeValues: readonly Tensor[]): number {
  const all = images.shape[0]!;
  const lengths = largeValues
    .map(({ shape }) => shape[0]!)
    .filter((length) => length > 1 && all % length === 0);
  return Math.min(all, ...lengths);
}

class Splitter {
  readonly #examples: number;
  /** Where pieces begin and end. */
  readonly #ends: readonly number[];
  readonly #large: number;
  /** The pieces of values that were made of them. */
  readonly #pieces = new Map<Tensor, readonly Tensor[]>();

  constructor(examples: number, ends: readonly number[], large: number) {
    this.#examples = examples;
    this.#ends = ends;
    this.#large = large;
  }

  rebuild(node: Tensor<Operator>): Tensor {
    const partial = this.#partialSums(node);
    if (partial !== undefined) return partial;
    if (node.size < this.#large || !this.#hasExamples(node)) return node;
    const pieces: Tensor[] = [];
    for (let i = 0; i + 1 < this.#ends.length; i++) {
      const piece = this.#piece(node, i);
      if (piece === undefined) return node;
      pieces.push(piece);
    }
    const whole = concat(pieces, 0);
    this.#pieces.set(whole, pieces);
    return whole;
  }

  /** What sums over the first axis of values that are there in pieces. */
  #partialSums(node: Tensor<Operator>): Tensor | undefined {
    const { inputs } = node;
    const isSumOver =
      (isKind(node, 'sum') && node.attributes.axes.includes(0)) ||
      (isKind(node, 'conv2dFilterGradient') && node.rank === 4) ||
      (isKind(node, 'matmul') &&
        node.rank === 2 &&
        node.attributes.transposeA &&
        !node.attributes.transposeB);
    if (!isSumOver) return undefined;
    if (!inputs.some((source) => this.#pieces.has(source))) return undefined;
    return this.#ends
      .slice(1)
      .map((_, i) =>
        apply(
          node.kind,
          rulesOf(node),
          inputs.map((source) => this.#of(source, i)),
          node.attributes,
        ),
      )
      .reduce((a, b) => add(a, b));
  }

  /** Piece i of a value, made from pieces; undefined where its operator mixes examples. */
  #piece(node: Tensor<Operator>, i: number): Tensor | undefined {
    const { inputs, shape } = node;
    const [x] = inputs as [Tensor];
    const rows = this.#rows(node, i);
    const made = (...sources: Tensor[]) => apply(node.kind, rulesOf(node), sources, node.attributes);
    if (Object.hasOwn(elementwise, node.kind)) {
      return made(...inputs.map((source) => (spans(source, node) ? this.#of(source, i) : source)));
    }
    if (isKind(node, 'broadcastTo')) {
      return broadcastTo(spans(x, node) ? this.#of(x, i) : x, [rows, ...shape.slice(1)]);
    }
    if (!this.#hasExamples(x)) return undefined;
    if (isKind(node, 'reshape')) return reshape(this.#of(x, i), [rows, ...shape.slice(1)]);
    if (x.shape[0] !== shape[0]) return undefined;
    const takesExamplesFirst =
      (isKind(node, 'matmul') && node.rank === 2 && !node.attributes.transposeA) ||
      ((isKind(node, 'conv2d') || isKind(node, 'conv2dInputGradient')) && node.rank === 4) ||
      ((isKind(node, 'gather') || isKind(node, 'scatterAdd')) && node.attributes.axis > 0) ||
      isKind(node, 'pad');
    if (takesExamplesFirst) return made(this.#of(x, i), ...inputs.slice(1));
    if (isKind(node, 'concat') && node.attributes.axis > 0) {
      return made(...inputs.map((source) => this.#of(source, i)));
    }
    if (isKind(node, 'slice')) {
      const { starts, sizes, steps } = node.attributes;
      return slice(this.#of(x, i), starts, sizes.with(0, rows), steps);
    }
    return undefined;
  }

  /** Piece i of a value. */
  #of(value: Tensor, i: number): Tensor {
    const known = this.#pieces.get(value)?.[i];
    if (known !== undefined) return known;
    const start = (this.#ends[i]! * value.shape[0]!) / this.#examples;
    const starts = value.shape.map((_, axis) => (axis === 0 ? start : 0));
    return slice(value, starts, [this.#rows(value, i), ...value.shape.slice(1)]);
  }

  /** Length of the first axis of piece i. */
  #rows({ shape }: Tensor, i: number): number {
    return ((this.#ends[i + 1]! - this.#ends[i]!) * shape[0]!) / this.#examples;
  }

  #hasExamples({ rank, shape }: Tensor): boolean {
    return rank > 0 && shape[0]! % this.#examples === 0;
  }
}

/** Whether an operand has the examples of the result along its first axis, and is not broadcast over them. */
function spans(operand: Tensor, { rank, shape }: Tensor): boolean {
  return operand.rank === rank && operand.shape[0] === shape[0];
}
