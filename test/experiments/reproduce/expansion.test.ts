/** The analysis of §5.1 on quadratics, where gradients, Hessians and inner loops have closed forms. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { expansion as paper } from '../../../src/experiments/paper.ts';
import { balancedOrders } from '../../../src/experiments/reproduce/analysis-units.ts';
import {
  type Problem,
  traceAgreement,
  traceGradients,
  traceTerms,
} from '../../../src/experiments/reproduce/expansion.ts';
import { broadcastTo, mul, reshape, slice, sub, sum } from '../../../src/graph/index.ts';
import { float64 } from '../../../src/graph/type.ts';
import { defineModel, type Loss } from '../../../src/nn/index.ts';
import { nodeRuntime } from '../../../src/runtime/node.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());

const size = 3;

/** Its outputs are its three parameters, whatever comes in. */
const model = defineModel({
  inputShape: [1],
  parameters: { w: { shape: [size], init: (_, out) => out.fill(0) } },
  apply: ({ w }, x) => broadcastTo(reshape(w, [1, size]), [x.shape[0]!, size]),
});

/** ½·Σ h·(w − c)²: gradient h·(w − c), Hessian diag(h). Targets are c, then h. */
const loss: Loss = (outputs, targets) => {
  const [centers, hessian] = [slice(targets, [0, 0], [1, size]), slice(targets, [0, size], [1, size])];
  const difference = sub(outputs, centers);
  return mul(sum(mul(hessian, mul(difference, difference))), 0.5);
};

const problem: Problem = { model, loss, target: float64(2 * size), dtype: 'float64' };
const phi = [0.5, -1, 2];
const centers = [
  [1, 2, -1],
  [-2, 0.5, 3],
  [0.25, -0.75, 1.5],
];
const hessians = [
  [1, 0.5, 2],
  [0.3, 1.5, 0.7],
  [2, 1, 0.2],
];

function feed(order: readonly number[]) {
  return {
    parameters: Float64Array.from(phi),
    inputs: new Float64Array(order.length),
    targets: Float64Array.from(order.flatMap((i) => [...centers[i]!, ...hessians[i]!])),
  };
}

function assertClose(actual: ArrayLike<number>, expected: readonly number[], tolerance = 1e-12): void {
  for (const [i, value] of expected.entries()) {
    assert.ok(
      Math.abs(actual[i]! - value) <= tolerance * Math.max(1, Math.abs(value)),
      `${actual[i]} ≠ ${value} at ${i}`,
    );
  }
}

/** g_i of element e along an order, and the products of (1 − αh) before each step. */
function closedForm(order: readonly number[], e: number, alpha: number) {
  let w = phi[e]!;
  const gradients: number[] = [];
  let jacobian = 1;
  order.forEach((i, step) => {
    const gradient = hessians[i]![e]! * (w - centers[i]![e]!);
    gradients.push(gradient);
    w -= alpha * gradient;
    if (step < order.length - 1) jacobian *= 1 - alpha * hessians[i]![e]!;
  });
  const last = gradients.at(-1)!;
  return { reptile: gradients.reduce((a, b) => a + b), fomaml: last, maml: jacobian * last };
}

test('the gradients of the three algorithms have their closed form', async () => {
  const program = await runtime.compile(traceGradients(problem, { steps: 3, batch: 1 }));
  const [alpha, order] = [0.1, [2, 0, 1]];
  const found = await program.run({ ...feed(order), alpha: Float64Array.of(alpha) });
  for (const name of ['reptile', 'fomaml', 'maml'] as const) {
    assertClose(
      found[name],
      [0, 1, 2].map((e) => closedForm(order, e, alpha)[name]),
    );
  }
});

test('AvgGrad and AvgGradInner are averages of ḡ and H̄·ḡ over the mini-batches', async () => {
  const program = await runtime.compile(traceTerms(problem, { steps: 3, batch: 1 }));
  const { avgGrad, avgGradInner } = await program.run(feed([0, 1, 2]));
  const gradient = (i: number, e: number) => hessians[i]![e]! * (phi[e]! - centers[i]![e]!);
  const pairs = [0, 1, 2].flatMap((i) => [0, 1, 2].flatMap((j) => (i === j ? [] : [[i, j] as const])));
  assertClose(
    avgGrad,
    [0, 1, 2].map((e) => [0, 1, 2].reduce((total, i) => total + gradient(i, e), 0) / 3),
  );
  assertClose(
    avgGradInner,
    [0, 1, 2].map((e) => pairs.reduce((total, [i, j]) => total + hessians[i]![e]! * gradient(j, e), 0) / 6),
  );
});

test('the agreement of two gradients is their inner product and squared lengths', async () => {
  const program = await runtime.compile(traceAgreement(problem, 1));
  const { product, squares } = await program.run(feed([0, 1]));
  const [first, second] = [0, 1].map((i) => phi.map((w, e) => hessians[i]![e]! * (w - centers[i]![e]!)));
  const dot = (a: readonly number[], b: readonly number[]) => a.reduce((total, x, i) => total + x * b[i]!, 0);
  assertClose(product, [dot(first!, second!)]);
  assertClose(squares, [dot(first!, first!), dot(second!, second!)]);
});

test('in balanced orders each mini-batch is last, and each pair stands in either order, equally often', () => {
  for (const k of [2, 3, 8]) {
    const orders = balancedOrders(k);
    assert.equal(orders.length, k === 2 ? 2 : 2 * k);
    const lasts = new Array<number>(k).fill(0);
    const before = Array.from({ length: k }, () => new Array<number>(k).fill(0));
    for (const order of orders) {
      lasts[order.at(-1)!]!++;
      order.forEach((i, place) => {
        for (const j of order.slice(0, place)) before[i]![j]!++;
      });
    }
    assert.ok(lasts.every((count) => count === orders.length / k));
    before.forEach((row, i) => {
      row.forEach((count, j) => {
        if (i !== j) assert.equal(count, orders.length / 2);
      });
    });
  }
});

test('over balanced orders the gradients are equations 37, 39 and 41 up to α²', async () => {
  const k = 3;
  const [gradients, terms] = await Promise.all([
    runtime.compile(traceGradients(problem, { steps: k, batch: 1 })),
    runtime.compile(traceTerms(problem, { steps: k, batch: 1 })),
  ]);
  const { avgGrad, avgGradInner } = await terms.run(feed([0, 1, 2]));
  const orders = balancedOrders(k);
  const remainder = async (name: 'maml' | 'fomaml' | 'reptile', alpha: number) => {
    const mean = new Float64Array(size);
    for (const order of orders) {
      const found = await gradients.run({ ...feed(order), alpha: Float64Array.of(alpha) });
      for (let e = 0; e < size; e++) mean[e] = mean[e]! + found[name][e]! / orders.length;
    }
    const { avgGrad: a, avgGradInner: b } = paper[name];
    return Math.hypot(...mean.map((x, e) => x - a(k) * avgGrad[e]! - b(k) * alpha * avgGradInner[e]!));
  };
  for (const name of ['maml', 'fomaml', 'reptile'] as const) {
    const [coarse, fine] = [await remainder(name, 1e-2), await remainder(name, 1e-3)];
    assert.ok(fine < 1e-4, `${name}: ${fine}`);
    assert.ok(
      Math.abs(coarse / fine - 100) < 5,
      `${name}: the remainder falls with α², not by ${coarse / fine}`,
    );
  }
});
