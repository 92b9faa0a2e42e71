/** Convolutions of wide images, which have ways of their own to be computed, against the plain ones. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as ort from 'onnxruntime-node';
import { Random } from '../../src/data/random.ts';
import { evaluate } from '../../src/graph/evaluate.ts';
import { conv2d, float32, type Graph, grad, mul, sum, trace } from '../../src/graph/index.ts';
import { probe } from '../../src/onnx/direct-convolution.ts';
import { ModelBuilder } from '../../src/onnx/model.ts';
import { LocalRuntime } from '../../src/runtime/local.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import { lowerProgram, OnnxEngine } from '../../src/runtime/onnx.ts';

const direct = await nodeRuntime({ provider: 'cpu' });
const plain = new LocalRuntime(
  new OnnxEngine(ort, {
    provider: 'cpu',
    executionProvider: 'cpu',
    threads: 1,
    writesInPlace: true,
  }),
);
after(() => Promise.all([direct.dispose(), plain.dispose()]));

/** Convolution, its gradients, and a gradient of those, on images and filters of one size. */
function graphOf(size: number, kernel: number, channels: number, filters: number, options: object): Graph {
  const types = {
    x: float32(2, size, size, channels),
    w: float32(kernel, kernel, channels, filters),
  };
  return trace(types, ({ x, w }) => {
    const y = conv2d(x, w, options);
    const loss = (v: { x: typeof x; w: typeof x }) => {
      const z = conv2d(v.x, v.w, options);
      return sum(mul(z, mul(z, z)));
    };
    const first = grad(loss)({ x, w });
    const second = grad((v: { x: typeof x; w: typeof x }) => {
      const inner = grad(loss)(v);
      return sum(mul(inner.w, inner.w));
    })({ x, w });
    return { y, dx: first.x, dw: first.w, dx2: second.x, dw2: second.w };
  });
}

test('where channels are blocked, the direct kernels are what runs', async (context) => {
  const graph = graphOf(11, 3, 32, 16, {});
  const isDirect = (block?: number) => {
    const { model } = lowerProgram(graph, { provider: 'cpu', ...(block === undefined ? {} : { block }) });
    return Buffer.from(model).includes('ReorderInput');
  };
  assert.deepEqual([8, 16, undefined].map(isDirect), [true, true, false]);
  if (process.arch !== 'x64') return context.skip('known of x64 alone');
  const session = await ort.InferenceSession.create(probe(new ModelBuilder()));
  await session.release(); // ONNX Runtime still has the operators
});

for (const [name, size, kernel, options] of [
  ['SAME, odd size', 11, 3, {}],
  ['SAME, even size', 12, 3, {}],
  ['VALID', 13, 3, { padding: 'valid' }],
  ['an even filter', 12, 2, {}],
  ['a wide filter', 11, 5, {}],
  ['stride 2', 24, 3, { stride: 2 }],
] as const) {
  test(`${name}: blocked channels, shifts and patches give the same`, async () => {
    const graph = graphOf(size, kernel, 32, 16, options);
    const random = Random.stream(1, name);
    const inputs = Object.fromEntries(
      Object.entries(graph.inputs).map(([input, { size: count }]) => [
        input,
        Float32Array.from({ length: count }, () => random.uniform(-0.3, 0.3)),
      ]),
    );
    const expected = evaluate(graph, inputs);
    for (const runtime of [direct, plain]) {
      const actual = await (await runtime.compile(graph)).run(inputs);
      for (const output of Object.keys(graph.outputs)) {
        const reference = expected[output]!;
        const scale = Array.from(reference).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        assert.ok(scale > 0);
        actual[output]!.forEach((x, i) => {
          assert.ok(Math.abs(x - reference[i]!) < 2e-5 * scale, `${output}[${i}]: ${x} and ${reference[i]}`);
        });
      }
    }
  });
}
