/** What one core reaches in ONNX Runtime's matrix product: `node dist/bench/matmul.js`, four seconds. */
import { float32, matmul, trace } from '../src/graph/index.ts';
import { nodeRuntime } from '../src/runtime/node.ts';

const n = 512;
const runtime = await nodeRuntime();
const types = { a: float32(n, n), b: float32(n, n) };
const product = await runtime.compile(trace(types, ({ a, b }) => ({ y: matmul(a, b) })));
const inputs = { a: new Float32Array(n * n).fill(0.5), b: new Float32Array(n * n).fill(0.5) };

const start = performance.now();
let products = 0;
while (performance.now() - start < 4000) {
  await product.run(inputs);
  products++;
}
const seconds = (performance.now() - start) / 1000;
console.log(`${n} × ${n}: ${((2 * n ** 3 * products) / seconds / 1e9).toFixed(0)} GFLOP/s`);
await runtime.dispose();
