import { after, test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import {
  averagePool2d,
  float32,
  float64,
  type Graph,
  grad,
  int32,
  maxPool2d,
  mul,
  reshape,
  sum,
  type Tensor,
  type TypedArray,
  trace,
} from '../../src/graph/index.ts';
import { logSoftmax, softmaxCrossEntropy } from '../../src/nn/losses.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import { assertClose } from './contract.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());

async function run<Out extends string>(
  graph: Graph<string, Out>,
  inputs: Readonly<Record<string, TypedArray>>,
): Promise<Readonly<Record<Out, TypedArray>>> {
  return (await runtime.compile(graph)).run(inputs);
}

interface Pooling {
  readonly height: number;
  readonly width: number;
  readonly window: number;
  readonly stride: number;
  readonly padding: 'same' | 'valid';
}

/** The pixels of every window of an image, in reading order: TensorFlow's SAME rule, written out. */
function windows({ height, width, window, stride, padding }: Pooling): number[][] {
  const outputs = (length: number) =>
    padding === 'same' ? Math.ceil(length / stride) : Math.floor((length - window) / stride) + 1;
  const before = (length: number) =>
    Math.floor(Math.max(0, (outputs(length) - 1) * stride + window - length) / 2) *
    Number(padding === 'same');
  const found: number[][] = [];
  for (let top = -before(height); found.length < outputs(height) * outputs(width); top += stride) {
    for (let column = 0; column < outputs(width); column++) {
      const left = column * stride - before(width);
      const pixels: number[] = [];
      for (let y = Math.max(0, top); y < Math.min(height, top + window); y++) {
        for (let x = Math.max(0, left); x < Math.min(width, left + window); x++) pixels.push(y * width + x);
      }
      found.push(pixels);
    }
  }
  return found;
}

const poolings: readonly Pooling[] = [
  { height: 6, width: 4, window: 2, stride: 2, padding: 'same' },
  { height: 5, width: 7, window: 2, stride: 2, padding: 'same' },
  { height: 5, width: 7, window: 2, stride: 2, padding: 'valid' },
  { height: 7, width: 6, window: 3, stride: 2, padding: 'same' },
  { height: 7, width: 6, window: 3, stride: 2, padding: 'valid' },
  { height: 4, width: 5, window: 3, stride: 1, padding: 'same' },
  { height: 5, width: 8, window: 2, stride: 3, padding: 'same' },
  { height: 3, width: 3, window: 5, stride: 2, padding: 'same' },
];

for (const pooling of poolings) {
  const { height, width, window, stride, padding } = pooling;
  test(`pooling ${height}×${width} by ${window}, stride ${stride}, ${padding}: the windows of TensorFlow, the first of a tie`, async () => {
    const random = Random.stream(1, 'pooling');
    // All negative, so that padding would show in a maximum; few levels, so that there are ties.
    const x = Float32Array.from({ length: height * width }, () => -1 - random.integer(4));
    const parts = windows(pooling);
    const weights = Float32Array.from(parts, () => random.integer(9) - 4);
    const functions = { max: maxPool2d, average: averagePool2d };
    const types = { x: float32(1, height, width, 1), weights: float32(parts.length) };
    const graph = trace(types, ({ x, weights }) => {
      const pool = (kind: keyof typeof functions) => functions[kind](x, window, { stride, padding });
      const gradient = (kind: keyof typeof functions) =>
        grad((image: Tensor) => {
          const pooled = functions[kind](image, window, { stride, padding });
          return sum(mul(pooled, reshape(weights, pooled.shape)));
        })(x);
      return {
        max: pool('max'),
        average: pool('average'),
        maxGradient: gradient('max'),
        averageGradient: gradient('average'),
      };
    });
    const results = await run(graph, { x, weights });
    const maxGradient = new Float32Array(x.length);
    const averageGradient = new Float32Array(x.length);
    parts.forEach((pixels, i) => {
      const values = pixels.map((pixel) => x[pixel]!);
      maxGradient[pixels[values.indexOf(Math.max(...values))]!]! += weights[i]!;
      for (const pixel of pixels) averageGradient[pixel]! += weights[i]! / pixels.length;
    });
    const means = parts.map((pixels) => pixels.reduce((total, p) => total + x[p]!, 0) / pixels.length);
    assertClose(
      results.max,
      Float32Array.from(parts, (p) => Math.max(...p.map((i) => x[i]!))),
      0,
      'max',
    );
    assertClose(results.maxGradient, maxGradient, 0, 'gradient of the maximum');
    assertClose(results.average, Float32Array.from(means), 1e-6, 'average');
    assertClose(results.averageGradient, averageGradient, 1e-6, 'gradient of the average');
  });
}

test('log softmax and cross-entropy of logits of ±10,000 stay finite, with finite gradients', async () => {
  const logits = Float32Array.of(1e4, 0, -1e4, -1e4, 1e4, 1e4);
  const labels = Int32Array.of(2, 1);
  const graph = trace({ logits: float32(2, 3), labels: int32(2) }, ({ logits, labels }) => ({
    logProbabilities: logSoftmax(logits),
    loss: softmaxCrossEntropy('sum')(logits, labels),
    gradient: grad((x: Tensor) => softmaxCrossEntropy('sum')(x, labels))(logits),
  }));
  const { logProbabilities, loss, gradient } = await run(graph, { logits, labels });
  const half = Math.log(2);
  const expected = Float32Array.of(0, -1e4, -2e4, -2e4 - half, -half, -half);
  assertClose(logProbabilities, expected, 1e-7, 'log softmax');
  assertClose(loss, Float32Array.of(2e4 + half), 1e-7, 'loss');
  assertClose(gradient, Float32Array.of(1, 0, -1, 0, -0.5, 0.5), 1e-7, 'gradient'); // softmax − one-hot
});

test('cross-entropy is the mean of −log p of the labels, and its gradient (p − one-hot)/n', async () => {
  const logits = Float64Array.of(0.5, -1, 2, 0, 0, 0, -3, 1, 0.25, 1, 2, 3);
  const labels = Int32Array.of(2, 0, 1, 1);
  const graph = trace({ logits: float64(4, 3), labels: int32(4) }, ({ logits, labels }) => ({
    loss: softmaxCrossEntropy()(logits, labels),
    gradient: grad((x: Tensor) => softmaxCrossEntropy()(x, labels))(logits),
  }));
  const { loss, gradient } = await run(graph, { logits, labels });
  let total = 0;
  const expected = new Float64Array(12);
  labels.forEach((label, row) => {
    const weights = [0, 1, 2].map((c) => Math.exp(logits[3 * row + c]!));
    const sumOfWeights = weights.reduce((a, b) => a + b);
    total -= Math.log(weights[label]! / sumOfWeights);
    weights.forEach((w, c) => {
      expected[3 * row + c] = (w / sumOfWeights - Number(c === label)) / 4;
    });
  });
  assertClose(loss, Float64Array.of(total / 4), 1e-14, 'loss');
  assertClose(gradient, expected, 1e-14, 'gradient');
});
