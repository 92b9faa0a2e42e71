/** What programs are lowered to: parts that operators share are there once. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import {
  add,
  concat,
  constant,
  conv2d,
  div,
  evaluate,
  float32,
  type Graph,
  grad,
  matmul,
  mul,
  slice,
  sub,
  sum,
  type Tensor,
  type TensorType,
  trace,
} from '../../src/graph/index.ts';
import { size } from '../../src/graph/type.ts';
import { nodeRuntime } from '../../src/node.ts';
import { lowerProgram } from '../../src/runtime/onnx.ts';
import { assertClose } from '../graph/contract.ts';

const runtime = await nodeRuntime({ provider: 'cpu' });
after(() => runtime.dispose());

/** How often an operator stands in a model: its name follows the tag of its field and its length. */
function count(model: Uint8Array, operator: string): number {
  const field = String.fromCharCode(0x22, operator.length) + operator;
  return Buffer.from(model).toString('latin1').split(field).length - 1;
}

test('patches that a convolution and its filter gradient read are looked up once, for any batch', () => {
  const program = (batch: number) =>
    trace({ x: float32(batch, 14, 14, 64), w: float32(3, 3, 64, 64) }, ({ x, w }) => {
      const outputs = (filter: Tensor) => conv2d(x, filter, { stride: 2 });
      return { gradient: grad((filter: Tensor) => sum(mul(outputs(filter), outputs(filter))))(w) };
    });
  for (const batch of [5, 20, 100]) {
    const { model } = lowerProgram(program(batch), { provider: 'cpu' });
    assert.deepEqual([count(model, 'Gather'), count(model, 'Concat')], [1, 1], `batch ${batch}`);
  }
});

test('equal constants are stored once, those that differ in the sign of a zero twice', () => {
  const type = float32(2000);
  const values = (seventh: number) => constant(type, new Float32Array(2000).fill(2).fill(seventh, 7, 8));
  const bytes = (seventh: number) => {
    const program = trace({ x: type }, ({ x }) => ({ y: sub(mul(x, values(0)), div(x, values(seventh))) }));
    return lowerProgram(program, { provider: 'cpu' }).model.length;
  };
  assert.ok(bytes(0) < 9000);
  assert.ok(bytes(-0) > 16000);
});

/** Runs a program on random inputs, and asserts that it computes what the graph says. */
async function assertComputes(graph: Graph): Promise<void> {
  const random = Random.stream(3, 'lowering');
  const inputs = Object.fromEntries(
    Object.entries(graph.inputs).map(([name, { shape }]) => [
      name,
      Float32Array.from({ length: size(shape) }, () => random.uniform(-1, 1)),
    ]),
  );
  const expected = evaluate(graph, inputs);
  const actual = await (await runtime.compile(graph)).run(inputs);
  for (const [name, values] of Object.entries(expected)) {
    assertClose(actual[name]!, values, 1e-5, name);
  }
}

const [x, w, g, b] = [float32(10, 4), float32(4, 3), float32(10, 3), float32(3)];
const scalar = float32();
type Rule = (inputs: Readonly<Record<string, Tensor>>) => Tensor;
const accumulations: Readonly<Record<string, [Record<string, TensorType>, Rule]>> = {
  'a dense layer': [{ x, w, b }, ({ x, w, b }) => add(matmul(x!, w!), b!)],
  'the bias first': [{ x, w, b }, ({ x, w, b }) => add(b!, matmul(x!, w!))],
  'a column that is added': [{ x, w, c: float32(10, 1) }, ({ x, w, c }) => add(matmul(x!, w!), c!)],
  'a step of SGD on weights': [{ x, w, g }, ({ x, w, g }) => sub(w!, matmul(x!, g!, { transposeA: true }))],
  'a step on a bias': [{ g, b }, ({ g, b }) => sub(b!, sum(g!, { axes: [0] }))],
  'factors inside and outside': [
    { x, w, g },
    ({ x, w, g }) => sub(w!, mul(matmul(mul(x!, 3), mul(g!, 0.5), { transposeA: true }), 0.25)),
  ],
  'a factor alone': [{ g, w }, ({ g, w }) => matmul(mul(g!, 0.1), w!, { transposeB: true })],
  'a mean over rows': [{ g }, ({ g }) => mul(sum(g!, { axes: [0] }), 0.1)],
  'squares added up': [
    { x: float32(10, 1), total: scalar },
    ({ x, total }) => add(total!, mul(sum(mul(x!, x!)), 0.1)),
  ],
};

for (const [name, [types, rule]] of Object.entries(accumulations)) {
  test(`one Gemm: ${name}`, async () => {
    const graph = trace(types, (inputs) => ({ y: rule(inputs) }));
    const { model } = lowerProgram(graph, { provider: 'cpu' });
    const others = ['Add', 'Sub', 'Mul', 'MatMul', 'FusedMatMul', 'ReduceSum'];
    assert.deepEqual(
      [count(model, 'Gemm'), ...others.map((operator) => count(model, operator))],
      [1, ...others.map(() => 0)],
    );
    await assertComputes(graph);
  });
}

test('steps one after another add to a matrix as the last left it', async () => {
  const graph = trace({ b, g, h: g }, ({ b, g, h }) => {
    const step = (bias: Tensor, gradient: Tensor) => sub(bias, sum(gradient, { axes: [0] }));
    return { y: step(step(b, g), h) };
  });
  const { model } = lowerProgram(graph, { provider: 'cpu' });
  assert.deepEqual([count(model, 'Gemm'), count(model, 'Reshape')], [2, 1]);
  await assertComputes(graph);
});

test('a product that is needed otherwise, or long sums, are computed by themselves', async () => {
  const shared = trace({ x, w, b }, ({ x, w, b }) => {
    const product = matmul(x, w);
    return { y: add(product, b), square: mul(product, product) };
  });
  const long = trace({ x: float32(500, 3), b }, ({ x, b }) => ({ y: sub(b, sum(x, { axes: [0] })) }));
  for (const graph of [shared, long]) {
    assert.equal(count(lowerProgram(graph, { provider: 'cpu' }).model, 'Gemm'), 0);
    await assertComputes(graph);
  }
});

test('small parts of a vector side by side cross together, large ones by themselves', async () => {
  const sizes = [10, 20, 9000, 30, 5];
  const offsets = sizes.map((_, i) => sizes.slice(0, i).reduce((total, length) => total + length, 0));
  const graph = trace({ v: float32(9065) }, ({ v }) => ({
    y: concat(sizes.map((length, i) => mul(slice(v, [offsets[i]!], [length]), i + 1))),
  }));
  const { code } = lowerProgram(graph, { provider: 'cpu' });
  assert.ok(code.kind === 'onnx');
  const { feeds, fetches } = code;
  for (const bindings of [feeds, fetches]) {
    assert.deepEqual(
      bindings.map(({ offset, type }) => [offset, ...type.shape]),
      [
        [0, 30],
        [30, 9000],
        [9030, 35],
      ],
    );
  }
  await assertComputes(graph);
});
