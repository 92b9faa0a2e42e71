/** What the machine's cores reach in a matrix product: ONNX Runtime's or our own, whichever is faster. */
import {
  constant,
  defaultProvider,
  float32,
  matmul,
  max,
  nodeRuntime,
  type Runtime,
  trace,
} from '../../src/node.ts';
import type { Context, Variant, Work } from '../harness.ts';
import { summarize } from '../statistics.ts';

interface Product {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  /** The right side is part of the program, so that ONNX Runtime packs it once. */
  readonly constantRight: boolean;
}

interface Candidate {
  readonly speed: number;
  readonly shape: string;
  readonly runtime: Runtime;
  readonly sample: () => Promise<number>;
}

/** Square, and tall as those of the networks: [pixels, 9 · 64] × [9 · 64, 64]. */
const shapes: readonly (readonly [rows: number, inner: number, columns: number])[] = [
  [512, 512, 512],
  [1024, 1024, 1024],
  [2048, 576, 64],
  [490, 576, 64],
  [1960, 64, 576],
];

const products: readonly Product[] = shapes.flatMap(([rows, inner, columns]) =>
  [false, true].map((constantRight) => ({ rows, inner, columns, constantRight })),
);

function label({ rows, inner, columns, constantRight }: Product): string {
  return `${rows}×${inner}×${columns}${constantRight ? ', constant right side' : ''}`;
}

/** One product on every core, again and again; the result is GFLOP/s of all cores together. */
async function peakOf(product: Product, runtime: Runtime, seconds: number): Promise<() => Promise<number>> {
  const { rows, inner, columns, constantRight } = product;
  const left = new Float32Array(rows * inner).fill(0.5);
  const right = new Float32Array(inner * columns).fill(0.5);
  // The result's maximum leaves the program, so that a large one is not copied.
  const program = constantRight
    ? trace({ a: float32(rows, inner) }, ({ a }) => ({
        y: max(matmul(a, constant(float32(inner, columns), right)), { axes: [-1] }),
      }))
    : trace({ a: float32(rows, inner), b: float32(inner, columns) }, ({ a, b }) => ({
        y: max(matmul(a, b), { axes: [-1] }),
      }));
  const executable = await runtime.compile(program);
  const first = { executable, inputs: constantRight ? { a: left } : { a: left, b: right } };
  const flops = 2 * rows * inner * columns;
  const products = Math.max(1, Math.round(2e10 / flops)); // a stage each: inputs go to a worker once for all
  const stages = [first, ...Array.from({ length: products - 1 }, () => ({ executable, inputs: {} }))];
  const lists = Array.from({ length: runtime.parallelism }, () => ({ pieces: stages }));
  return async () => {
    const start = performance.now();
    let calls = 0;
    while (performance.now() - start < 1000 * seconds) {
      await runtime.runAll(lists, ['y']);
      calls++;
    }
    return (calls * lists.length * products * flops) / ((performance.now() - start) * 1e6);
  };
}

/** A variant that measures the best of all shapes, found at once; its samples are GFLOP/s. */
export async function peakVariant(cores: number, seconds: number): Promise<Variant & { shape: string }> {
  const candidates: Candidate[] = [];
  for (const provider of new Set(['cpu' as const, await defaultProvider()])) {
    const runtime = await nodeRuntime({ provider, workers: cores });
    for (const product of products) {
      const sample = await peakOf(product, runtime, seconds);
      await sample();
      const speed = summarize([await sample(), await sample()]).max;
      const engine = provider === 'cpu' ? 'ONNX Runtime' : 'our own';
      candidates.push({ speed, shape: `${label(product)}, ${engine}`, runtime, sample });
    }
  }
  const { shape, runtime, sample } = candidates.reduce((best, next) =>
    next.speed > best.speed ? next : best,
  );
  const others = new Set(candidates.map((candidate) => candidate.runtime));
  others.delete(runtime);
  for (const other of others) await other.dispose();
  return { name: `peak-${cores}`, shape, sample, close: () => runtime.dispose() };
}

export const peakWork: Work = {
  name: 'matmul-peak',
  measures:
    'matrix product, the best of several shapes in ONNX Runtime and in programs of our own, all cores together',
  unit: 'GFLOP/s',
  ours: async ({ seconds }: Context) => [await peakVariant(1, seconds), await peakVariant(2, seconds)],
};
