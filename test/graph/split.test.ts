/** Splitting: the same results, from smaller values. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import {
  add,
  broadcastTo,
  concat,
  conv2d,
  evaluate,
  float64,
  type Graph,
  gather,
  grad,
  greater,
  int32,
  matmul,
  maxPool2d,
  mean,
  mul,
  pad,
  relu,
  reshape,
  select,
  simplify,
  slice,
  sum,
  type Tensor,
  tanh,
  trace,
  transpose,
} from '../../src/graph/index.ts';
import { split } from '../../src/graph/split.ts';
import { mapRecord, nodesOf } from '../../src/graph/trace.ts';
import { size, type TypedArray } from '../../src/graph/type.ts';
import { tracePredictor } from '../../src/meta/adapt.ts';
import { miniImagenetNet, omniglotNet, softmaxCrossEntropy } from '../../src/nn/index.ts';
import { assertClose } from './contract.ts';

/** Splits whatever has examples, into pieces as small as they get. */
const everything = { many: 0, large: 1, piece: 1 };

/** Fewest images in a convolution. */
function fewestImages(graph: Graph): number {
  const nodes = nodesOf(Object.values(graph.outputs)).filter(({ kind }) => kind === 'conv2d');
  return Math.min(...nodes.map(({ shape }) => shape[0]!));
}

function inputsOf(graph: Graph, classes: number): Record<string, TypedArray> {
  const random = Random.stream(3, 'split');
  return Object.fromEntries(
    Object.entries(graph.inputs).map(([name, { dtype, shape }]) => [
      name,
      dtype === 'int32'
        ? Int32Array.from({ length: size(shape) }, () => random.integer(classes))
        : Float64Array.from({ length: size(shape) }, () => random.uniform(-1, 1)),
    ]),
  );
}

/** The results of a graph and of its pieces agree, and the pieces are smaller. */
function assertSame(
  graph: Graph,
  sizes: { many?: number; large?: number; piece?: number },
  classes = 5,
): void {
  const whole = simplify(graph);
  const pieces = simplify(split(whole, sizes));
  assert.ok(fewestImages(pieces) < fewestImages(whole));
  const inputs = inputsOf(graph, classes);
  const expected = evaluate(whole, inputs);
  for (const [name, found] of Object.entries(evaluate(pieces, inputs))) {
    assertClose(found, expected[name]!, 1e-12, name);
  }
}

const nets = {
  omniglot: omniglotNet({ ways: 3, filters: 4, inputShape: [12, 12, 1] }),
  'mini-imagenet': miniImagenetNet({ ways: 3, filters: 4, inputShape: [16, 16, 3] }),
};

for (const [name, model] of Object.entries(nets)) {
  const vector = float64(model.layout.size);
  const loss = softmaxCrossEntropy();
  for (const batch of [5, 6]) {
    const types = { at: vector, inputs: float64(batch, ...model.inputShape), targets: int32(batch) };
    for (const piece of [1, 700]) {
      test(`${name} network, batch ${batch}, pieces of ${piece}: loss, gradient and gradient of its length`, () => {
        const graph = trace(types, ({ at, inputs, targets }) => {
          const lossAt = (x: Tensor) => loss(model.apply(x, inputs), targets);
          const lengthAt = (x: Tensor) => {
            const gradient = grad(lossAt)(x);
            return sum(mul(gradient, gradient));
          };
          return { loss: lossAt(at), gradient: grad(lossAt)(at), second: grad(lengthAt)(at) };
        });
        assertSame(graph, { many: 0, large: 100, piece }, 3);
      });
    }
  }
}

test('groups of images stay whole, each a batch of its own', () => {
  const model = nets.omniglot;
  const sizes = { support: 4, query: 6, transductive: false };
  const graph = tracePredictor(model, sizes);
  const whole = simplify(graph);
  const pieces = simplify(split(whole, { many: 0, large: 200, piece: 1 }));
  assert.equal(fewestImages(whole), 6 * 5);
  assert.equal(fewestImages(pieces), 5);
  const random = Random.stream(3, 'split');
  const inputs = mapRecord(graph.inputs, ({ shape }) =>
    Float32Array.from({ length: size(shape) }, () => random.uniform(-1, 1)),
  );
  assertClose(evaluate(pieces, inputs).outputs, evaluate(whole, inputs).outputs, 1e-5, 'outputs');
});

test('every way in which examples stay apart or come together', () => {
  const types = {
    x: float64(7, 4, 4, 2),
    w: float64(3, 3, 2, 2),
    m: float64(32, 3),
    scale: float64(2),
    one: float64(1, 4, 4, 2),
    table: int32(5),
  };
  const graph = trace(types, ({ x, w, m, scale, one, table }) => {
    const images = add(mul(conv2d(x, w), scale), one);
    const rows = reshape(images, [7, 32]);
    const pairs = reshape(images, [56, 4]); // other lengths of the first axis, the same examples in order
    const chosen = gather(rows, table, 1);
    return {
      images,
      products: matmul(rows, m),
      moments: matmul(rows, rows, { transposeA: true }),
      mixed: matmul(rows, rows, { transposeB: true }),
      pairs: tanh(pairs),
      pooled: maxPool2d(images, 2),
      chosen,
      joined: concat([rows, chosen], 1),
      doubled: concat([rows, rows], 0),
      columns: slice(rows, [0, 3], [7, 5], [1, 2]),
      some: slice(rows, [2, 0], [3, 32]),
      padded: pad(rows, { low: [0, 1], high: [0, 2] }),
      longer: pad(rows, { low: [1, 0], high: [0, 0] }),
      turned: transpose(rows, [1, 0]),
      means: mean(images, { axes: [0, 1, 2] }),
      each: sum(rows, { axes: [1], keepDims: true }),
      picked: select(greater(rows, 0), rows, broadcastTo(sum(m), [7, 32])),
      gradients: grad((at: Tensor) => sum(relu(maxPool2d(mul(conv2d(at, w), conv2d(at, w)), 2))))(x),
    };
  });
  assertSame(graph, everything);
});

test('what is small, or has no images, stays as it is', () => {
  const small = trace({ x: float64(7, 4, 4, 2), w: float64(3, 3, 2, 2) }, ({ x, w }) => ({
    y: conv2d(x, w),
  }));
  assert.equal(split(small), small);
  const rows = trace({ x: float64(700, 40) }, ({ x }) => ({ y: tanh(x) }));
  assert.equal(split(rows, everything), rows);
});
