/** Simplification: what it does to small programs, as printed, and what it promises of all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { identity } from '../../src/graph/elementwise.ts';
import {
  add,
  broadcastTo,
  concat,
  div,
  evaluate,
  exp,
  float32,
  float64,
  type Graph,
  grad,
  greater,
  int32,
  matmul,
  maximum,
  mul,
  neg,
  printGraph,
  reshape,
  scalar,
  select,
  simplify,
  size,
  slice,
  stopGradient,
  sub,
  sum,
  type Tensor,
  tanh,
  trace,
  transpose,
} from '../../src/graph/index.ts';
import { isOperation } from '../../src/graph/operators.ts';
import { nodesOf } from '../../src/graph/trace.ts';
import { broadcastShapes } from '../../src/graph/type.ts';
import { squaredError } from '../../src/nn/losses.ts';
import { assertClose } from './contract.ts';

interface Snapshot {
  readonly graph: Graph;
  readonly before: string;
  readonly after: string;
}

const snapshots: Readonly<Record<string, Snapshot>> = {
  'common subexpressions are computed once': {
    graph: trace({ x: float32(3) }, ({ x }) => ({ y: add(tanh(mul(x, 2)), exp(tanh(mul(x, 2)))) })),
    before: `\
(x: float32[3])
  %0 = mul(x, 2)    float32[3]
  %1 = tanh(%0)     float32[3]
  %2 = mul(x, 2)    float32[3]
  %3 = tanh(%2)     float32[3]
  %4 = exp(%3)      float32[3]
  %5 = add(%1, %4)  float32[3]
return y: %5`,
    after: `\
(x: float32[3])
  %0 = mul(x, 2)    float32[3]
  %1 = tanh(%0)     float32[3]
  %2 = exp(%1)      float32[3]
  %3 = add(%1, %2)  float32[3]
return y: %3`,
  },
  'constants are folded': {
    graph: trace({ x: float32(3) }, ({ x }) => ({ y: mul(x, exp(sub(scalar(3), 1))) })),
    before: `\
(x: float32[3])
  %0 = sub(3, 1)   float32[]
  %1 = exp(%0)     float32[]
  %2 = mul(x, %1)  float32[3]
return y: %2`,
    after: `\
(x: float32[3])
  %0 = mul(x, 7.389056)  float32[3]
return y: %0`,
  },
  'constant factors are joined': {
    graph: trace({ x: float32(3) }, ({ x }) => ({ y: mul(mul(2, mul(reshape(scalar(5), [1]), x)), 0.5) })),
    before: `\
(x: float32[3])
  %0 = reshape(5, shape [1])  float32[1]
  %1 = mul(%0, x)             float32[3]
  %2 = mul(2, %1)             float32[3]
  %3 = mul(%2, 0.5)           float32[3]
return y: %3`,
    after: `\
(x: float32[3])
  %0 = mul(x, 5)  float32[3]
return y: %0`,
  },
  'what no output reaches is gone, what several reach is shared': {
    graph: trace({ x: float32(3), unused: float32(2) }, ({ x, unused }) => {
      tanh(unused);
      return { y: exp(x), z: exp(x), x: identity(x) };
    }),
    before: `\
(x: float32[3], unused: float32[2])
  %0 = exp(x)       float32[3]
  %1 = exp(x)       float32[3]
  %2 = identity(x)  float32[3]
return y: %0, z: %1, x: %2`,
    after: `\
(x: float32[3], unused: float32[2])
  %0 = exp(x)  float32[3]
return y: %0, z: %0, x: x`,
  },
  'transposes become flags of the product': {
    graph: trace({ x: float32(3, 2), w: float32(4, 2) }, ({ x, w }) => ({
      y: matmul(x, transpose(w)),
      z: matmul(transpose(transpose(x)), transpose(w)),
      t: matmul(transpose(x), transpose(transpose(x), [0, 1]), { transposeB: true }),
    })),
    before: `\
(x: float32[3,2], w: float32[4,2])
  %0 = transpose(w, permutation [1,0])   float32[2,4]
  %1 = matmul(x, %0)                     float32[3,4]
  %2 = transpose(x, permutation [1,0])   float32[2,3]
  %3 = transpose(%2, permutation [1,0])  float32[3,2]
  %4 = transpose(w, permutation [1,0])   float32[2,4]
  %5 = matmul(%3, %4)                    float32[3,4]
  %6 = transpose(x, permutation [1,0])   float32[2,3]
  %7 = transpose(x, permutation [1,0])   float32[2,3]
  %8 = transpose(%7, permutation [0,1])  float32[2,3]
  %9 = matmul(%6, %8, transposeB)        float32[2,2]
return y: %1, z: %5, t: %9`,
    after: `\
(x: float32[3,2], w: float32[4,2])
  %0 = matmul(x, w, transposeB)  float32[3,4]
  %1 = matmul(x, x, transposeA)  float32[2,2]
return y: %0, z: %0, t: %1`,
  },
  'transposes that only move axes of length 1 are reshapes': {
    graph: trace({ x: float32(2, 1, 3) }, ({ x }) => ({ y: transpose(x, [1, 0, 2]) })),
    before: `\
(x: float32[2,1,3])
  %0 = transpose(x, permutation [1,0,2])  float32[1,2,3]
return y: %0`,
    after: `\
(x: float32[2,1,3])
  %0 = reshape(x, shape [1,2,3])  float32[1,2,3]
return y: %0`,
  },
  'broadcasts before elementwise operators are implicit, unless the result needs one': {
    graph: trace({ x: float32(3), b: float32(1, 3), m: float32(2, 3) }, ({ x, b, m }) => ({
      y: add(broadcastTo(x, [2, 3]), m),
      z: mul(broadcastTo(x, [2, 3]), broadcastTo(b, [2, 3])),
    })),
    before: `\
(x: float32[3], b: float32[1,3], m: float32[2,3])
  %0 = broadcastTo(x, shape [2,3])  float32[2,3]
  %1 = add(%0, m)                   float32[2,3]
  %2 = broadcastTo(x, shape [2,3])  float32[2,3]
  %3 = broadcastTo(b, shape [2,3])  float32[2,3]
  %4 = mul(%2, %3)                  float32[2,3]
return y: %1, z: %4`,
    after: `\
(x: float32[3], b: float32[1,3], m: float32[2,3])
  %0 = broadcastTo(b, shape [2,3])  float32[2,3]
  %1 = add(x, m)                    float32[2,3]
  %2 = mul(x, %0)                   float32[2,3]
return y: %1, z: %2`,
  },
  'a slice within one part of a concat is a slice of that part': {
    graph: trace({ a: float32(2, 3), b: float32(4, 3) }, ({ a, b }) => {
      const joined = concat([a, b]);
      return {
        first: slice(joined, [0, 0], [2, 3]),
        within: slice(joined, [3, 1], [2, 2], [2, 1]),
        across: slice(joined, [1, 0], [2, 3]),
      };
    }),
    before: `\
(a: float32[2,3], b: float32[4,3])
  %0 = concat(a, b, axis 0)                               float32[6,3]
  %1 = slice(%0, starts [0,0], sizes [2,3], steps [1,1])  float32[2,3]
  %2 = slice(%0, starts [3,1], sizes [2,2], steps [2,1])  float32[2,2]
  %3 = slice(%0, starts [1,0], sizes [2,3], steps [1,1])  float32[2,3]
return first: %1, within: %2, across: %3`,
    after: `\
(a: float32[2,3], b: float32[4,3])
  %0 = concat(a, b, axis 0)                               float32[6,3]
  %1 = slice(%0, starts [1,0], sizes [2,3], steps [1,1])  float32[2,3]
  %2 = slice(b, starts [1,1], sizes [2,2], steps [2,1])   float32[2,2]
return first: a, within: %2, across: %1`,
  },
  'zeros and ones go, signs move into sums': {
    graph: trace({ x: float32(2), y: float32(2) }, ({ x, y }) => ({
      same: div(mul(sub(add(0, x), 0), 1), 1),
      difference: add(x, neg(y)),
      sum: sub(x, neg(y)),
      swapped: neg(sub(x, y)),
      twice: add(x, x),
      negative: sub(0, neg(neg(x))),
    })),
    before: `\
(x: float32[2], y: float32[2])
  %0 = add(0, x)     float32[2]
  %1 = sub(%0, 0)    float32[2]
  %2 = mul(%1, 1)    float32[2]
  %3 = div(%2, 1)    float32[2]
  %4 = neg(y)        float32[2]
  %5 = add(x, %4)    float32[2]
  %6 = neg(y)        float32[2]
  %7 = sub(x, %6)    float32[2]
  %8 = sub(x, y)     float32[2]
  %9 = neg(%8)       float32[2]
  %10 = add(x, x)    float32[2]
  %11 = neg(x)       float32[2]
  %12 = neg(%11)     float32[2]
  %13 = sub(0, %12)  float32[2]
return same: %3, difference: %5, sum: %7, swapped: %9, twice: %10, negative: %13`,
    after: `\
(x: float32[2], y: float32[2])
  %0 = neg(x)     float32[2]
  %1 = sub(x, y)  float32[2]
  %2 = add(x, y)  float32[2]
  %3 = sub(y, x)  float32[2]
  %4 = mul(x, 2)  float32[2]
return same: x, difference: %1, sum: %2, swapped: %3, twice: %4, negative: %0`,
  },
  'a zero or one that broadcasts its partner stays': {
    graph: trace({ x: float32(3) }, ({ x }) => ({
      y: add(x, broadcastTo(scalar(0), [2, 3])),
      z: mul(x, broadcastTo(scalar(1), [2, 3])),
    })),
    before: `\
(x: float32[3])
  %0 = broadcastTo(0, shape [2,3])  float32[2,3]
  %1 = add(x, %0)                   float32[2,3]
  %2 = broadcastTo(1, shape [2,3])  float32[2,3]
  %3 = mul(x, %2)                   float32[2,3]
return y: %1, z: %3`,
    after: `\
(x: float32[3])
  %0 = broadcastTo(0, shape [2,3])  float32[2,3]
  %1 = add(x, %0)                   float32[2,3]
  %2 = broadcastTo(1, shape [2,3])  float32[2,3]
  %3 = mul(x, %2)                   float32[2,3]
return y: %1, z: %3`,
  },
  'signs move out of products and quotients, where they meet others, factors and sums': {
    graph: trace({ x: float32(2), y: float32(2) }, ({ x, y }) => ({
      both: mul(neg(x), neg(y)),
      quotient: sub(x, div(y, neg(x))),
      factor: mul(neg(x), 3),
    })),
    before: `\
(x: float32[2], y: float32[2])
  %0 = neg(x)       float32[2]
  %1 = neg(y)       float32[2]
  %2 = mul(%0, %1)  float32[2]
  %3 = neg(x)       float32[2]
  %4 = div(y, %3)   float32[2]
  %5 = sub(x, %4)   float32[2]
  %6 = neg(x)       float32[2]
  %7 = mul(%6, 3)   float32[2]
return both: %2, quotient: %5, factor: %7`,
    after: `\
(x: float32[2], y: float32[2])
  %0 = mul(x, y)   float32[2]
  %1 = div(y, x)   float32[2]
  %2 = add(x, %1)  float32[2]
  %3 = mul(x, -3)  float32[2]
return both: %0, quotient: %2, factor: %3`,
  },
  'integers keep their operators: 0 − i has no negation': {
    graph: trace({ i: int32(2) }, ({ i }) => ({ y: sub(0, i), z: add(i, i) })),
    before: `\
(i: int32[2])
  %0 = sub(0, i)  int32[2]
  %1 = add(i, i)  int32[2]
return y: %0, z: %1`,
    after: `\
(i: int32[2])
  %0 = sub(0, i)  int32[2]
  %1 = mul(i, 2)  int32[2]
return y: %0, z: %1`,
  },
  'the gradient of a layer': {
    graph: trace({ x: float32(4, 2), w: float32(2, 3), t: float32(4, 3) }, ({ x, w, t }) => ({
      gradient: grad((w: Tensor) => squaredError()(tanh(matmul(x, w)), t))(w),
    })),
    before: `\
(x: float32[4,2], w: float32[2,3], t: float32[4,3])
  %0 = identity(w)                   float32[2,3]
  %1 = matmul(x, %0)                 float32[4,3]
  %2 = tanh(%1)                      float32[4,3]
  %3 = sub(%2, t)                    float32[4,3]
  %4 = mul(1, 0.08333334)            float32[]
  %5 = reshape(%4, shape [1,1])      float32[1,1]
  %6 = broadcastTo(%5, shape [4,3])  float32[4,3]
  %7 = mul(%6, 2)                    float32[4,3]
  %8 = mul(%7, %3)                   float32[4,3]
  %9 = mul(%2, %2)                   float32[4,3]
  %10 = sub(1, %9)                   float32[4,3]
  %11 = mul(%8, %10)                 float32[4,3]
  %12 = matmul(x, %11, transposeA)   float32[2,3]
return gradient: %12`,
    after: `\
(x: float32[4,2], w: float32[2,3], t: float32[4,3])
  %0 = matmul(x, w)               float32[4,3]
  %1 = tanh(%0)                   float32[4,3]
  %2 = sub(%1, t)                 float32[4,3]
  %3 = mul(%1, %1)                float32[4,3]
  %4 = sub(1, %3)                 float32[4,3]
  %5 = mul([0.1666667], %2)       float32[4,3]
  %6 = mul(%5, %4)                float32[4,3]
  %7 = matmul(x, %6, transposeA)  float32[2,3]
return gradient: %7`,
  },
};

for (const [claim, { graph, before, after }] of Object.entries(snapshots)) {
  test(claim, () => {
    assert.equal(printGraph(graph), before);
    assert.equal(printGraph(simplify(graph)), after);
  });
}

test('−0 and 0 are different constants', () => {
  const graph = trace({}, () => ({ a: div(1, scalar(-0)), b: div(1, scalar(0)) }));
  const expected = {
    a: Float32Array.of(Number.NEGATIVE_INFINITY),
    b: Float32Array.of(Number.POSITIVE_INFINITY),
  };
  assert.deepEqual(evaluate(simplify(graph), {}), expected);
});

/** A random program over two inputs: 25 operations of all that the rules look at, on small tensors. */
function randomGraph(random: Random): Graph<'x' | 'y', string> {
  const pick = <T>(items: readonly T[]): T => items[random.integer(items.length)]!;
  return trace({ x: float64(2, 3), y: float64(3) }, ({ x, y }): Record<string, Tensor> => {
    const known: Tensor[] = [x, y, scalar(0, 'float64'), scalar(1, 'float64'), scalar(-1.5, 'float64')];
    const makers: readonly ((a: Tensor, b: Tensor) => Tensor | undefined)[] = [
      ...[add, sub, mul, maximum].map(
        (fn) => (a: Tensor, b: Tensor) => (broadcastShapes(a.shape, b.shape) ? fn(a, b) : undefined),
      ),
      (a, b) => (broadcastShapes(a.shape, b.shape) ? select(greater(a, b), b, a) : undefined),
      (a) => add(a, broadcastTo(scalar(pick([0, 1]), 'float64'), pick([a.shape, [2, ...a.shape]]))),
      (a) => neg(a),
      (a) => mul(a, pick([0, 1, 2, 0.5])),
      (a) => div(a, pick([1, 2])),
      (a, b) => (broadcastShapes(a.shape, b.shape) ? div(a, neg(add(mul(b, b), 1))) : undefined),
      (a) => add(a, pick([0, 1])),
      (a) => tanh(a),
      (a) => identity(a),
      (a) => stopGradient(a),
      (a) => transpose(a, random.choose(a.rank, a.rank)),
      (a) => reshape(a, pick([[-1], [1, -1], [...a.shape, 1], a.shape])),
      (a) => broadcastTo(a, [pick([1, 2]), ...a.shape]),
      (a) =>
        a.rank > 0 ? sum(a, { axes: [random.integer(a.rank)], keepDims: pick([true, false]) }) : sum(a),
      (a, b) => (a.rank > 0 && a.rank === b.rank ? joined(a, b) : undefined),
      (a) => {
        const sizes = a.shape.map((length) => 1 + random.integer(length));
        return slice(
          a,
          a.shape.map((length, axis) => random.integer(length - sizes[axis]! + 1)),
          sizes,
        );
      },
      (a, b) => {
        if (a.rank < 2 || b.rank < 2 || !broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)))
          return undefined;
        const flags = { transposeA: pick([true, false]), transposeB: pick([true, false]) };
        const innerA = a.shape.at(flags.transposeA ? -2 : -1);
        const innerB = b.shape.at(flags.transposeB ? -1 : -2);
        return innerA === innerB ? matmul(a, b, flags) : undefined;
      },
    ];
    const joined = (a: Tensor, b: Tensor) => {
      const axis = random.integer(a.rank);
      const fits = a.shape.every((length, other) => other === axis || length === b.shape[other]);
      return fits ? concat([a, b], axis) : undefined;
    };
    while (known.length < 30) {
      const made = pick(makers)(pick(known), pick(known.slice(-6)));
      if (made !== undefined && size(made.shape) <= 64 && made.rank <= 4) known.push(made);
    }
    return Object.fromEntries(known.slice(-4).map((node, i) => [`y${i}`, node]));
  });
}

const operations = (graph: Graph): number => nodesOf(Object.values(graph.outputs)).filter(isOperation).length;

test('300 random graphs keep their values, gain no operation, and are simplified once for all', () => {
  let removed = 0;
  for (let seed = 0; seed < 300; seed++) {
    const random = Random.stream(seed, 'graph');
    const graph = randomGraph(random);
    const inputs = {
      x: Float64Array.from({ length: 6 }, () => random.uniform(-1, 1)),
      y: Float64Array.from({ length: 3 }, () => random.uniform(-1, 1)),
    };
    const simple = simplify(graph);
    const expected = evaluate(graph, inputs);
    const actual = evaluate(simple, inputs);
    for (const [name, node] of Object.entries(graph.outputs)) {
      assert.deepEqual(simple.outputs[name]!.shape, node.shape);
      assertClose(actual[name]!, expected[name]!, 1e-13, `seed ${seed}, ${name}`);
    }
    assert.ok(operations(simple) <= operations(graph), `seed ${seed} grew`);
    assert.equal(printGraph(simplify(simple)), printGraph(simple), `seed ${seed} is simplified further`);
    removed += operations(graph) - operations(simple);
  }
  assert.ok(removed > 1000, `only ${removed} operations were removed`);
});

test('constant factors are gathered only where nothing is lost by it', () => {
  const factors = (value: Tensor, ...all: number[]) =>
    all.reduce((product, factor) => mul(product, scalar(factor, value.dtype)), value);
  const graph = trace({ i: int32(2), x: float32(2) }, ({ i, x }) => ({
    whole: factors(i, 2147483647, 2147483647),
    large: factors(x, 1e30, 1e30),
    small: factors(x, 1e-30, 1e-30),
    fitting: factors(x, 3, 0.5),
  }));
  const simple = simplify(graph);
  const given = { i: Int32Array.of(5, -7), x: Float32Array.of(0, 1e-30) };
  assert.deepEqual(evaluate(simple, given), evaluate(graph, given));
  assert.deepEqual([...evaluate(simple, given).whole], [5, -7]);
  const factorsLeft = nodesOf([simple.outputs.fitting]).filter(({ kind }) => kind === 'mul').length;
  assert.equal(factorsLeft, 1);
});
