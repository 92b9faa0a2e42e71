/** Random programs: out of small whole numbers, which every engine computes without rounding, or smooth functions. */
import type { Random } from '../../src/data/random.ts';
import {
  abs,
  add,
  argMax,
  broadcastTo,
  cast,
  concat,
  constant,
  cos,
  div,
  equal,
  exp,
  float32,
  float64,
  type Graph,
  gather,
  greater,
  int32,
  type Loop,
  less,
  matmul,
  max,
  maximum,
  minimum,
  mul,
  neg,
  pad,
  relu,
  reshape,
  type Shape,
  scatterAdd,
  select,
  sigmoid,
  sign,
  sin,
  size,
  slice,
  sqrt,
  step,
  sub,
  sum,
  type Tensor,
  type TensorType,
  type TypedArray,
  tanh,
  trace,
  transpose,
} from '../../src/graph/index.ts';
import { arrayOf, broadcastShapes } from '../../src/graph/type.ts';

const mostElements = 3000;
const lengths = [1, 1, 2, 3, 4, 5, 7, 8, 16, 17];

const bounded = (x: Tensor): Tensor => exp(minimum(x, 1));
const steady = [tanh, sigmoid, sin, cos, relu, abs, neg, bounded, (x: Tensor) => sqrt(add(abs(x), 1))];
const whole = [neg, relu, abs, sign, step];

/** Grows a graph operator by operator. Elements stay from −4 to 4: whole numbers, unless it is `smooth`. */
class Grower {
  readonly #random: Random;
  readonly #pool: Tensor[];
  readonly #smooth: boolean;

  constructor(random: Random, start: readonly Tensor[], smooth = false) {
    this.#random = random;
    this.#smooth = smooth;
    this.#pool = [...start];
  }

  get pool(): readonly Tensor[] {
    return this.#pool;
  }

  grow(nodes: number): void {
    while (nodes > 0) {
      const made = this.#operator(this.draw(this.#pool));
      if (made.size > mostElements || made.rank > 5) continue;
      this.#pool.push(made);
      nodes--;
    }
  }

  draw<T>(items: readonly T[]): T {
    // Late ones more often: chains get long.
    const [i, j] = [this.#random.integer(items.length), this.#random.integer(items.length)];
    return items[Math.max(i, j)]!;
  }

  #small(x: Tensor): Tensor {
    return minimum(maximum(x, -4), 4);
  }

  #operator(x: Tensor): Tensor {
    const random = this.#random;
    const unary = this.#smooth ? steady : whole;
    const binary = [add, sub, mul, maximum, minimum];
    const axes = x.shape.flatMap((_, axis) => (random.integer(2) === 0 ? [axis] : []));
    const keepDims = random.integer(2) === 0;
    const rules: (() => Tensor)[] = [
      () => unary[random.integer(unary.length)]!(x),
      () => this.#small(binary[random.integer(binary.length)]!(x, this.#partner(x))),
      () => this.#small(binary[random.integer(binary.length)]!(this.#partner(x), x)),
      () => {
        if (this.#smooth) return div(x, add(abs(this.#partner(x)), 1)); // rounding must decide nothing
        const y = this.#partner(x);
        const both = [greater, less, equal][random.integer(3)]!(x, y);
        return random.integer(2) === 0 ? select(both, x, y) : cast(both, x.dtype);
      },
      () => this.#small(sum(x, { axes, keepDims })),
      () => max(x, { axes, keepDims }),
      () => (x.rank === 0 || this.#smooth ? x : cast(minimum(argMax(x, random.integer(x.rank)), 4), x.dtype)),
      () => {
        const shape = x.shape.map((length) => (length === 1 ? 1 + random.integer(4) : length));
        return broadcastTo(x, random.integer(2) === 0 ? shape : [1 + random.integer(4), ...shape]);
      },
      () => transpose(x, random.shuffle(x.shape.map((_, axis) => axis))),
      () => reshape(x, this.#shapeOf(x.size)),
      () => this.#slice(x),
      () => this.#slice(x),
      () => {
        const few = () => x.shape.map(() => random.integer(3));
        const interior = x.shape.map(() => Math.max(0, random.integer(4) - 2));
        return pad(x, { low: few(), high: few(), interior, value: random.integer(2) });
      },
      () => this.#concat(x),
      () => this.#concat(x),
      () => this.#gather(x),
      () => {
        if (x.rank === 0) return x;
        const length = 1 + random.integer(5);
        const table = this.#table(x.shape[0]!, length);
        return this.#small(scatterAdd(x, table, { length }));
      },
      () => this.#matmul(x),
      () => this.#matmul(x),
    ];
    return rules[random.integer(rules.length)]!();
  }

  /** Something that x can be joined with element by element. */
  #partner(x: Tensor): Tensor {
    const random = this.#random;
    const fitting = this.#pool.filter(({ shape, dtype }) => {
      const both = broadcastShapes(shape, x.shape);
      return dtype === x.dtype && both !== undefined && size(both) <= mostElements;
    });
    const axes = x.shape.flatMap((_, axis) => (random.integer(2) === 0 ? [axis] : []));
    if (random.integer(4) === 0) return max(x, { axes, keepDims: true });
    return this.draw(fitting);
  }

  #shapeOf(count: number): number[] {
    const shape: number[] = [];
    for (let rest = count; rest > 1; ) {
      const factors = Array.from({ length: rest }, (_, i) => i + 1).filter((factor) => rest % factor === 0);
      const length = factors[this.#random.integer(factors.length)]!;
      shape.push(length);
      rest /= length;
      if (shape.length === 3 && rest > 1) return [...shape, rest];
    }
    return shape;
  }

  #slice(x: Tensor): Tensor {
    const random = this.#random;
    const steps = x.shape.map(() => 1 + Math.max(0, random.integer(4) - 1));
    const sizes = x.shape.map((length, axis) => {
      const most = Math.floor((length - 1) / steps[axis]!) + 1;
      return random.integer(2) === 0 && steps[axis] === 1 ? length : 1 + random.integer(most);
    });
    const starts = x.shape.map((length, axis) => random.integer(length - (sizes[axis]! - 1) * steps[axis]!));
    return slice(x, starts, sizes, steps);
  }

  #concat(x: Tensor): Tensor {
    if (x.rank === 0) return x;
    const random = this.#random;
    const axis = random.integer(2) === 0 ? 0 : random.integer(x.rank);
    const fitting = this.#pool.filter(
      ({ shape, dtype }) =>
        dtype === x.dtype &&
        shape.length === x.rank &&
        shape.every((length, i) => i === axis || length === x.shape[i]),
    );
    const parts = [x, this.draw(fitting), ...(random.integer(2) === 0 ? [neg(x)] : [])];
    return concat(random.shuffle(parts), axis);
  }

  /** Indices below `range`: regular ones, or any. */
  #table(count: number, range: number): Tensor {
    const random = this.#random;
    const [start, stride] = [random.integer(range), random.integer(3)];
    const isRegular = random.integer(2) === 0 && start + (count - 1) * stride < range;
    const entry = (i: number) => (isRegular ? start + i * stride : random.integer(range));
    return constant(
      int32(count),
      Int32Array.from({ length: count }, (_, i) => entry(i)),
    );
  }

  #gather(x: Tensor): Tensor {
    if (x.rank === 0) return x;
    const axis = this.#random.integer(x.rank);
    const length = x.shape[axis]!;
    return gather(x, this.#table(1 + this.#random.integer(2 * length), length), axis);
  }

  #matmul(x: Tensor): Tensor {
    if (x.rank === 0) return x;
    const random = this.#random;
    const left = x.rank === 1 ? reshape(x, [1, x.size]) : x;
    const [transposeA, transposeB] = [random.integer(2) === 0, random.integer(2) === 0];
    if (random.integer(4) === 0)
      return this.#small(matmul(left, left, { transposeA, transposeB: !transposeA }));
    const inner = left.shape.at(transposeA ? -2 : -1)!;
    const columns = lengths[random.integer(lengths.length)]!;
    const source = this.draw(this.#pool.filter(({ dtype }) => dtype === x.dtype));
    const flat = reshape(source, [source.size]);
    const right = reshape(
      gather(flat, this.#table(inner * columns, source.size)),
      transposeB ? [columns, inner] : [inner, columns],
    );
    return this.#small(matmul(left, right, { transposeA, transposeB }));
  }
}

function randomShape(random: Random): Shape {
  for (;;) {
    const shape = Array.from({ length: random.integer(5) }, () => lengths[random.integer(lengths.length)]!);
    if (size(shape) <= 1000) return shape;
  }
}

/** Values for the inputs of a program. */
export function randomInputs<K extends string>(
  random: Random,
  types: Readonly<Record<K, TensorType>>,
): Record<K, TypedArray> {
  const values = Object.entries<TensorType>(types).map(([name, { dtype, shape }]) => [
    name,
    arrayOf(dtype, size(shape)).map(() => random.integer(9) - 4),
  ]);
  return Object.fromEntries(values) as Record<K, TypedArray>;
}

/** A graph of about so many operators, with some of its values as outputs. */
export function randomGraph(random: Random, nodes: number, smooth = false): Graph {
  const type = random.integer(3) === 0 ? float64 : float32;
  const types = Object.fromEntries(
    Array.from({ length: 1 + random.integer(4) }, (_, i) => [`x${i}`, type(...randomShape(random))]),
  );
  return trace(types, (inputs) => {
    const grower = new Grower(random, Object.values(inputs), smooth);
    grower.grow(nodes);
    const outputs = Array.from({ length: 1 + random.integer(5) }, (_, i): [string, Tensor] => [
      `y${i}`,
      grower.draw(grower.pool),
    ]);
    return Object.fromEntries([...outputs, ['last', grower.pool.at(-1)!]]);
  });
}

/** A loop over a few vectors that it carries, each handed on as one thing or another, some twice. */
export function randomLoop(random: Random, nodes: number): Loop {
  const carried = Object.fromEntries(
    Array.from({ length: 1 + random.integer(4) }, (_, i) => [
      `c${i}`,
      float32([3, 6, 6, 12, 40][random.integer(5)]!),
    ]),
  );
  const fixed = { k: float32(6) };
  const body = trace({ ...carried, ...fixed, round: int32() } as Record<string, TensorType>, (inputs) => {
    const { round, ...floats } = inputs;
    const grower = new Grower(random, [
      minimum(cast(round!, 'float32'), 4),
      ...Object.values(floats),
      ...Object.values(floats),
    ]);
    grower.grow(nodes);
    const next = (count: number): Tensor => {
      const candidates = grower.pool.filter((value) => value.size === count);
      if (candidates.length > 0 && random.integer(3) > 0) return reshape(grower.draw(candidates), [count]);
      // Pieces of several values side by side.
      const parts: Tensor[] = [];
      for (let missing = count; missing > 0; ) {
        const source = grower.draw(grower.pool);
        const length = Math.min(source.size, missing);
        const flat = reshape(source, [source.size]);
        const part = slice(flat, [random.integer(source.size - length + 1)], [length]);
        parts.push(random.integer(2) === 0 ? part : neg(part));
        missing -= length;
      }
      return parts.length === 1 ? abs(parts[0]!) : concat(parts);
    };
    return Object.fromEntries(Object.entries(carried).map(([name, { shape }]) => [name, next(size(shape))]));
  });
  const end = trace(carried, (values) => {
    const doubled = Object.entries(values).map(([name, value]) => [`twice ${name}`, add(value, value)]);
    return { ...values, ...Object.fromEntries(doubled) };
  });
  return { body, end };
}
