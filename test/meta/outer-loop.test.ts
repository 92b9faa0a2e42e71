/** The outer loop on a problem with a closed form: the steps of φ, separate tails, the moments that are carried. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { Examples, TaskSource } from '../../src/data/task.ts';
import { broadcastTo, mul, reshape, sub, sum } from '../../src/graph/index.ts';
import { type AlgorithmName, lastState, type MetaTrainOptions, metaTrain } from '../../src/meta/train.ts';
import { defineModel, type Loss } from '../../src/nn/index.ts';
import { adam, sgd } from '../../src/optim/index.ts';
import { linearSchedule } from '../../src/optim/schedule.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';

const runtime = await nodeRuntime();
after(() => runtime.dispose());

const phi = [0.5, -1, 2];
/** Its outputs are its three parameters, whatever comes in. */
const model = defineModel({
  inputShape: [1],
  parameters: { w: { shape: [3], init: (_, out) => out.set(phi) } },
  apply: ({ w }, x) => broadcastTo(reshape(w, [1, 3]), [x.shape[0]!, 3]),
});

/** ½·Σ(w − c)² over three parameters, averaged over a batch: its gradient is w − the mean of the targets. */
const loss: Loss = (outputs, targets) => {
  const difference = sub(outputs, targets);
  return mul(sum(mul(difference, difference)), 0.5 / outputs.shape[0]!);
};

/** What the support and the query set of the task with this number have for targets, every example the same. */
const centersOf = (task: number) => ({
  support: [0, 1, 2].map((i) => Math.sin(task + i)),
  query: [0, 1, 2].map((i) => 2 * Math.cos(3 * task + i)),
});

/** Tasks numbered as they are drawn. */
function numberedTasks(): TaskSource {
  let drawn = 0;
  const examples = (count: number, center: readonly number[]): Examples => ({
    count,
    inputs: new Float32Array(count),
    targets: Float32Array.from({ length: 3 * count }, (_, i) => center[i % 3]!),
  });
  return {
    inputShape: [1],
    targets: 'values',
    outputs: 3,
    sample(_, size) {
      const { support, query } = centersOf(drawn++);
      return { support: examples(size.support, support), query: examples(size.query, query) };
    },
  };
}

const alpha = 0.1;
const [metaBatch, metaIterations, innerSteps] = [2, 3, 3];

function train(options: Partial<MetaTrainOptions>) {
  return lastState(
    metaTrain({
      runtime,
      tasks: numberedTasks(),
      model,
      loss,
      innerOptimizer: sgd({ learningRate: alpha }),
      trainShots: 5,
      innerSteps,
      innerBatch: 2,
      metaBatch,
      metaIterations,
      metaStep: 0.5,
      metaStepFinal: 0.2,
      ...options,
    }),
  );
}

function assertClose(actual: ArrayLike<number>, expected: readonly number[], tolerance = 1e-5): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((x, i) => {
    assert.ok(Math.abs(actual[i]! - x) < tolerance * Math.max(1, Math.abs(x)), `${i}: ${actual[i]} and ${x}`);
  });
}

/** The direction of a task from φ, by hand. `tail` says where the last mini-batch comes from. */
function directionOf(
  algorithm: AlgorithmName,
  from: readonly number[],
  task: number,
  tail: 'support' | 'query',
) {
  const centers = centersOf(task);
  const step = (w: number, c: number) => w - alpha * (w - c);
  return from.map((w, i) => {
    const c = centers.support[i]!;
    const before = step(step(w, c), c);
    const last = centers[tail][i]!;
    if (algorithm === 'reptile') return step(before, c) - w;
    if (algorithm === 'joint') return -3 * alpha * (w - c);
    const gradient = before - last;
    return -alpha * gradient * (algorithm === 'maml' ? (1 - alpha) ** 2 : 1);
  });
}

const epsilonOf = (iteration: number) => 0.5 + (0.2 - 0.5) * (iteration / metaIterations);
const meanDirection = (
  algorithm: AlgorithmName,
  from: readonly number[],
  t: number,
  tail: 'support' | 'query',
) => {
  const all = [0, 1].map((i) => directionOf(algorithm, from, metaBatch * t + i, tail));
  return from.map((_, i) => (all[0]![i]! + all[1]![i]!) / metaBatch);
};

for (const [algorithm, tailShots] of [
  ['reptile', 0],
  ['joint', 0],
  ['fomaml', 0],
  ['fomaml', 3],
  ['maml', 0],
  ['maml', 3],
] as const) {
  const tail = tailShots > 0 ? 'query' : 'support';
  const about = `${algorithm}${tailShots > 0 ? ' with a tail of its own' : ''}`;

  test(`${about}: φ moves by ε times the mean direction, ε annealed`, async () => {
    let expected: readonly number[] = phi;
    for (let t = 0; t < metaIterations; t++) {
      const mean = meanDirection(algorithm, expected, t, tail);
      expected = expected.map((w, i) => w + epsilonOf(t) * mean[i]!);
    }
    assertClose((await train({ algorithm, tailShots })).parameters, expected);
  });

  test(`${about}: outer Adam takes −direction/α for the gradient and ε for its rate`, async () => {
    let expected: readonly number[] = phi;
    const [m, v] = [phi.map(() => 0), phi.map(() => 0)];
    for (let t = 0; t < metaIterations; t++) {
      const mean = meanDirection(algorithm, expected, t, tail);
      expected = expected.map((w, i) => {
        const g = -mean[i]! / alpha;
        m[i] = 0.9 * m[i]! + 0.1 * g;
        v[i] = 0.999 * v[i]! + 0.001 * g * g;
        const scale = Math.sqrt(1 - 0.999 ** (t + 1)) / (1 - 0.9 ** (t + 1));
        return w - (epsilonOf(t) * scale * m[i]!) / (Math.sqrt(v[i]!) + 1e-8);
      });
    }
    const { parameters } = await train({ algorithm, tailShots, outerOptimizer: 'adam' });
    assertClose(parameters, expected, 1e-4);
  });

  test(`${about}: carried moments count every update of every task`, async () => {
    const innerOptimizer = adam({ learningRate: alpha, beta1: 0.9, beta2: 0.99 });
    const updates = (algorithm === 'maml' ? innerSteps - 1 : innerSteps) * metaBatch * metaIterations;
    for (const innerOptimizerState of ['carry', 'sequential'] as const) {
      const { innerState } = await train({ algorithm, tailShots, innerOptimizer, innerOptimizerState });
      assertClose(innerState.secondMomentsWeight!, [1 - 0.99 ** updates]);
      assertClose(innerState.firstMomentsWeight!, [1 - 0.9 ** updates]);
    }
  });
}

test('the linear schedule goes from its start towards its end', () => {
  const schedule = linearSchedule(1, 0.2);
  assertClose([schedule(0, 10), schedule(5, 10), schedule(9, 10)], [1, 0.6, 0.28], 1e-12);
});
