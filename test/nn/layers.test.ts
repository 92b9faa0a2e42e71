/** Layers against what they stand for, evaluated plainly in float64. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { evaluate, float64, grad, int32, mul, sum, type Tensor, trace } from '../../src/graph/index.ts';
import { layers, type Model, sequential, softmaxCrossEntropy } from '../../src/nn/index.ts';
import { assertClose } from '../graph/contract.ts';

const random = Random.stream(0, 'layers');
const normals = (length: number) => Float64Array.from({ length }, () => random.uniform(-1.5, 1.5));
const batch = 6;

/** Outputs of a batch, and the gradient of a weighted sum of them by the parameters. */
function both(model: Model, parameters: Float64Array, x: Float64Array, weights: Float64Array) {
  const types = {
    parameters: float64(model.layout.size),
    x: float64(batch, ...model.inputShape),
  };
  const outputs = trace(types, (given) => ({ y: model.apply(given.parameters, given.x) }));
  const shape = outputs.outputs.y.shape;
  const gradient = trace({ ...types, weights: float64(...shape) }, (given) => ({
    gradient: grad((at: Tensor) => sum(mul(model.apply(at, given.x), given.weights)))(given.parameters),
  }));
  return {
    shape,
    y: evaluate(outputs, { parameters, x }).y,
    gradient: evaluate(gradient, { parameters, x, weights }).gradient,
  };
}

/** The values of a leaf within a flat vector. */
function leaf({ layout }: Model, flat: ArrayLike<number>, name: string): Float64Array {
  const { offset, shape } = layout.leaves.find((one) => one.name === name)!;
  const size = shape.reduce((a, b) => a * b, 1);
  return Float64Array.from({ length: size }, (_, i) => flat[offset + i]!);
}

/** Parameters of `model`, leaf by leaf. */
function parametersOf(model: Model, leaves: Readonly<Record<string, Float64Array>>): Float64Array {
  const flat = new Float64Array(model.layout.size);
  for (const { name, offset } of model.layout.leaves) flat.set(leaves[name]!, offset);
  return flat;
}

const filters = 12;
const cases = [
  { name: 'a first layer, by the statistics of its patches', channels: 1, window: { stride: 2 }, pool: 1 },
  { name: 'a first layer with pooling', channels: 1, window: {}, pool: 2 },
  { name: 'a wide layer', channels: 3, window: { stride: 2 }, pool: 1 },
  { name: 'a wide layer with pooling', channels: 3, window: {}, pool: 2 },
  { name: 'VALID padding', channels: 3, window: { padding: 'valid' as const }, pool: 1 },
];

for (const { name, channels, window, pool } of cases) {
  test(`normalizedConv2d is conv2d, batchNorm and maxPool: ${name}`, () => {
    const inputShape = [8, 8, channels];
    const fused = sequential(inputShape, [layers.normalizedConv2d({ filters, pool, ...window })]);
    const apart = sequential(inputShape, [
      layers.conv2d({ filters, ...window }),
      layers.batchNorm,
      ...(pool === 1 ? [] : [layers.maxPool(pool)]),
    ]);
    const filter = normals(9 * channels * filters);
    const scale = normals(filters); // of either sign
    const shift = normals(filters);
    const fusedAt = parametersOf(fused, {
      'conv1/filter': filter,
      'conv1/scale': scale,
      'conv1/shift': shift,
    });
    const bias = normals(filters); // batch norm takes it away
    const apartAt = parametersOf(apart, {
      ...{ 'conv1/filter': filter, 'conv1/bias': bias },
      ...{ 'norm1/scale': scale, 'norm1/shift': shift },
    });
    const x = normals(batch * 64 * channels);
    const side = 8 / (window.stride ?? 1) / pool - (window.padding === 'valid' ? 2 : 0);
    const weights = normals(batch * side * side * filters);
    const [one, other] = [both(fused, fusedAt, x, weights), both(apart, apartAt, x, weights)];
    assert.deepEqual(one.shape, [batch, side, side, filters]);
    assertClose(one.y, other.y, 1e-11, 'outputs');
    for (const [mine, theirs] of [
      ['conv1/filter', 'conv1/filter'],
      ['conv1/scale', 'norm1/scale'],
      ['conv1/shift', 'norm1/shift'],
    ] as const) {
      assertClose(leaf(fused, one.gradient, mine), leaf(apart, other.gradient, theirs), 1e-10, mine);
    }
    assert.ok(leaf(apart, other.gradient, 'conv1/bias').every((slope) => Math.abs(slope) < 1e-11));
  });
}

test('batchNorm: mean and variance over the batch and all pixels, ε = 1e-3', () => {
  const model = sequential([3, 4, 2], [layers.batchNorm]);
  const x = normals(batch * 24);
  const scale = Float64Array.of(2, -0.5);
  const shift = Float64Array.of(1, 3);
  const at = parametersOf(model, { 'norm1/scale': scale, 'norm1/shift': shift });
  const { y } = both(model, at, x, normals(batch * 24));
  const expected = x.map((value, i) => {
    const channel = x.filter((_, k) => k % 2 === i % 2);
    const mean = channel.reduce((a, b) => a + b) / channel.length;
    const variance = channel.reduce((total, v) => total + (v - mean) ** 2, 0) / channel.length;
    return ((value - mean) / Math.sqrt(variance + 1e-3)) * scale[i % 2]! + shift[i % 2]!;
  });
  assertClose(y, expected, 1e-13, 'outputs');
});

test('batchNorm of vectors: statistics over the batch', () => {
  const model = sequential([2], [layers.batchNorm]);
  const x = normals(batch * 2);
  const at = parametersOf(model, {
    'norm1/scale': Float64Array.of(1, 1),
    'norm1/shift': Float64Array.of(0, 0),
  });
  const { y } = both(model, at, x, normals(batch * 2));
  for (const channel of [0, 1]) {
    const own = [...(y as Float64Array)].filter((_, i) => i % 2 === channel);
    assert.ok(Math.abs(own.reduce((a, b) => a + b)) < 1e-13);
  }
});

test('dense goes over the last axis, whatever stands before it', () => {
  const model = sequential([4, 8], [layers.dense(3)]);
  assert.deepEqual(
    model.layout.leaves.map(({ shape }) => shape),
    [[8, 3], [3]],
  );
  const weights = normals(24);
  const parameters = parametersOf(model, {
    'dense1/weights': weights,
    'dense1/bias': Float64Array.of(1, 2, 3),
  });
  const x = normals(batch * 32);
  const { y, shape } = both(model, parameters, x, normals(batch * 12));
  assert.deepEqual(shape, [batch, 4, 3]);
  const row = 7; // of batch · 4
  const expected = [0, 1, 2].map((out) =>
    Array.from({ length: 8 }, (_, i) => x[8 * row + i]! * weights[3 * i + out]!).reduce(
      (a, b) => a + b,
      out + 1,
    ),
  );
  assertClose(y.subarray(3 * row, 3 * row + 3), Float64Array.from(expected), 1e-12, 'y');
});

test('cross-entropy takes a logit of −∞ for a class that is masked', () => {
  const types = { logits: float64(1, 3), labels: int32(1) };
  const graph = trace(types, ({ logits, labels }) => {
    const loss = (at: Tensor) => softmaxCrossEntropy()(at, labels);
    return { loss: loss(logits), gradient: grad(loss)(logits) };
  });
  const given = { logits: Float64Array.of(1, 2, Number.NEGATIVE_INFINITY), labels: Int32Array.of(1) };
  const { loss, gradient } = evaluate(graph, given);
  const p = 1 / (1 + Math.exp(-1));
  assertClose(loss, Float64Array.of(-Math.log(p)), 1e-12, 'loss');
  assertClose(gradient, Float64Array.of(1 - p, p - 1, 0), 1e-12, 'gradient');
});
