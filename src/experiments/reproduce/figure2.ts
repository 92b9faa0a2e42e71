/**
 * Figure 2 and §5.2, the second and informal explanation of Reptile: it looks for the point whose mean squared
 * distance to the tasks' manifolds of solutions is least. Two tasks whose solutions are curves in the plane; the
 * path that moves towards them in turn; and where Reptile ends for several k, against where the losses lead.
 */
import type { TaskSource } from '../../data/task.ts';
import { mul, sub } from '../../graph/elementwise.ts';
import { sum } from '../../graph/reductions.ts';
import { broadcastTo, reshape, take } from '../../graph/shaping.ts';
import { metaTrain } from '../../meta/train.ts';
import type { Loss } from '../../nn/losses.ts';
import { defineModel } from '../../nn/model.ts';
import { sgd } from '../../optim/optimizer.ts';
import { linearSchedule } from '../../optim/schedule.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import { type Experiment, type Report, type RowGroup, unit } from './experiment.ts';
import type { PlanePicture, XY } from './pictures.ts';
import { scaled } from './training.ts';

/** A task with the loss ½·steepness·r², r = y − (base + bend·(x − center)²): its solutions are a parabola. */
export interface Curve {
  readonly center: number;
  readonly base: number;
  readonly bend: number;
  /** How fast the loss grows away from the curve. It does not move the curve, so distances do not know of it. */
  readonly steepness: number;
}

const settings = {
  curves: [
    { center: -0.7, base: 0.55, bend: 0.4, steepness: 3 },
    { center: 0.8, base: -0.5, bend: -0.3, steepness: 0.6 },
  ],
  start: { x: 1.7, y: 1.25 },
  /** Outer steps, the tasks in turn, and ε₀, annealed linearly to 0 as in all of the paper's experiments. */
  iterations: 1000,
  outerStep: 0.5,
  /** α of the k steps of gradient descent in place of a projection. */
  innerLr: 0.1,
  /** k = 1 is joint training. */
  innerSteps: [1, 2, 4, 8, 16, 32, 64],
  /** Those whose paths are drawn. */
  drawn: [32, 1],
} as const;

type Path = readonly (readonly [x: number, y: number])[];

type Result = {
  /** φ ← (1−ε)·φ + ε·P(φ), with exact projections P. */
  readonly projected: Path;
  /** Reptile's, for each of `drawn`. */
  readonly reptile: readonly Path[];
  /** Where Reptile's paths end, for each of `innerSteps`. */
  readonly ends: Path;
  /** Where the mean squared distance is least near the paths' ends, and where the mean loss is. */
  readonly leastDistance: readonly [number, number];
  readonly leastLoss: readonly [number, number];
};

export const figure2: Experiment = {
  name: 'figure2',
  summary:
    'two solution manifolds in the plane and the point of least mean squared distance (§5.2, Figure 2)',
  plan(options) {
    const iterations = scaled(settings.iterations, options.scale);
    const work = settings.innerSteps.reduce((total, k) => total + k * iterations, 0);
    const all = unit<Result>({
      id: 'plane',
      settings: { ...settings, iterations },
      work,
      async run({ runtime, signal, progress }) {
        const paths: Path[] = [];
        for (const k of settings.innerSteps) {
          signal.throwIfAborted();
          paths.push(pathOf(await reptilePath(runtime, { innerSteps: k, iterations })));
          progress(paths.length / (settings.innerSteps.length + 1));
        }
        return {
          projected: thinned(pathOf(projectedPath(iterations))),
          reptile: settings.drawn.map((k) => thinned(paths[settings.innerSteps.indexOf(k)]!)),
          ends: paths.map((path) => path.at(-1)!),
          leastDistance: pairOf(leastMeanSquaredDistance(settings.curves, settings.start)),
          leastLoss: pairOf(leastMeanLoss(settings.curves, settings.start)),
        };
      },
    });
    return {
      title: 'Figure 2: alternating towards two manifolds of solutions',
      units: [all],
      parallelUnits: false,
      report(done): Report {
        const result = done(all);
        if (result === undefined) return { groups: [], measured: null, pictures: {}, remarks: [] };
        return {
          groups: groupsOf(result),
          measured: result,
          pictures: { 'figure2.svg': pictureOf(result) },
          remarks: [
            'Theory is the point of least mean squared distance; the difference is how far from it a path ends.',
            'With one gradient step (joint training) the path ends where the mean loss is least instead: the steeper loss wins.',
          ],
        };
      },
    };
  },
};

// ---------------------------------------------------------------------------------- the plane

function heightAt({ center, base, bend }: Curve, x: number): number {
  return base + bend * (x - center) ** 2;
}

/** P_W(φ): the point of a curve nearest to φ. */
export function project(curve: Curve, { x, y }: XY): XY {
  const distance = (u: number) => (u - x) ** 2 + (heightAt(curve, u) - y) ** 2;
  let u = x;
  for (let i = -400; i <= 400; i++) {
    const candidate = x + i / 100; // coarse, so that Newton's method finds the right one of the stationary points
    if (distance(candidate) < distance(u)) u = candidate;
  }
  for (let i = 0; i < 50; i++) {
    const slope = 2 * curve.bend * (u - curve.center);
    const gap = heightAt(curve, u) - y;
    u -= (u - x + gap * slope) / (1 + slope * slope + gap * 2 * curve.bend);
  }
  return { x: u, y: heightAt(curve, u) };
}

/** argmin over φ of the mean of ½·D(φ, W)², from a start near it: where φ is the mean of its projections. */
export function leastMeanSquaredDistance(curves: readonly Curve[], start: XY): XY {
  let at = start;
  for (let i = 0; i < 20_000; i++) {
    const projections = curves.map((curve) => project(curve, at));
    const next = {
      x: projections.reduce((total, { x }) => total + x, 0) / curves.length,
      y: projections.reduce((total, { y }) => total + y, 0) / curves.length,
    };
    const moved = Math.hypot(next.x - at.x, next.y - at.y);
    at = next;
    if (moved < 1e-14) break;
  }
  return at;
}

/** argmin over φ of the mean loss, by gradient descent from `start`. */
export function leastMeanLoss(curves: readonly Curve[], start: XY): XY {
  let { x, y } = start;
  for (let i = 0; i < 200_000; i++) {
    let [dx, dy] = [0, 0];
    for (const curve of curves) {
      const force = (curve.steepness * (y - heightAt(curve, x))) / curves.length;
      dx -= force * 2 * curve.bend * (x - curve.center);
      dy += force;
    }
    x -= 0.05 * dx;
    y -= 0.05 * dy;
    if (Math.hypot(dx, dy) < 1e-14) break;
  }
  return { x, y };
}

// ---------------------------------------------------------------------------------- the paths

/** φ ← (1−ε)·φ + ε·P_τ(φ), the tasks in turn. */
function projectedPath(iterations: number): XY[] {
  const { curves, start, outerStep } = settings;
  const schedule = linearSchedule(outerStep, 0);
  const path: XY[] = [start];
  for (let i = 0; i < iterations; i++) {
    const [at, epsilon] = [path.at(-1)!, schedule(i, iterations)];
    const target = project(curves[i % curves.length]!, at);
    path.push({ x: at.x + epsilon * (target.x - at.x), y: at.y + epsilon * (target.y - at.y) });
  }
  return path;
}

/** φ itself, two parameters; every output is φ. */
const point = defineModel({
  inputShape: [1],
  parameters: { phi: { shape: [2], init: (_, out) => out.set([settings.start.x, settings.start.y]) } },
  apply: ({ phi }, x) => broadcastTo(reshape(phi, [1, 2]), [x.shape[0]!, 2]),
});

/** ½·steepness·r² for φ [1, 2] and a curve [1, 4]: center, base, bend, steepness. */
const curveLoss: Loss = (outputs, targets) => {
  const [x, y] = [take(outputs, 0, 1), take(outputs, 1, 1)];
  const [center, base, bend, steepness] = [0, 1, 2, 3].map((i) => take(targets, i, 1)) as [
    typeof x,
    typeof x,
    typeof x,
    typeof x,
  ];
  const offset = sub(x, center);
  const r = sub(sub(y, base), mul(bend, mul(offset, offset)));
  return sum(mul(mul(steepness, mul(r, r)), 0.5));
};

/** The curves in turn, each a task of one example. */
function curvesInTurn(): TaskSource {
  let drawn = 0;
  const none = { count: 0, inputs: new Float32Array(0), targets: new Float32Array(0) };
  return {
    inputShape: [1],
    targets: 'values',
    outputs: 4,
    sample() {
      const { center, base, bend, steepness } = settings.curves[drawn++ % settings.curves.length]!;
      const targets = Float32Array.of(center, base, bend, steepness);
      return { support: { count: 1, inputs: new Float32Array(1), targets }, query: none };
    },
  };
}

/** Reptile itself: k steps of gradient descent in place of the projection. */
async function reptilePath(
  runtime: Runtime,
  { innerSteps, iterations }: { innerSteps: number; iterations: number },
): Promise<XY[]> {
  const path: XY[] = [settings.start];
  const training = metaTrain({
    runtime,
    tasks: curvesInTurn(),
    model: point,
    loss: curveLoss,
    innerOptimizer: sgd({ learningRate: settings.innerLr }),
    algorithm: 'reptile',
    trainShots: 1,
    innerBatch: 1,
    innerSteps,
    metaIterations: iterations,
    metaStep: settings.outerStep,
  });
  for await (const { state } of training) path.push({ x: state.parameters[0]!, y: state.parameters[1]! });
  return path;
}

// ---------------------------------------------------------------------------------- the report

const pairOf = ({ x, y }: XY): readonly [number, number] => [x, y];
const pathOf = (path: readonly XY[]): Path => path.map(pairOf);

/** A path as it is drawn: four decimals, and no points too close to the one before to be seen; the last stays. */
function thinned(path: Path): Path {
  const kept = [path[0]!];
  for (const at of path) {
    const [x, y] = kept.at(-1)!;
    if (at === path.at(-1) || Math.hypot(at[0] - x, at[1] - y) > 0.02) kept.push(at);
  }
  const short = (value: number) => Number(value.toFixed(4));
  return kept.map(([x, y]) => [short(x), short(y)] as const);
}

const placeOf = ([x, y]: readonly [number, number]): XY => ({ x, y });

function groupsOf({ projected, ends, leastDistance, leastLoss }: Result): RowGroup[] {
  const names = ['exact projections', ...settings.innerSteps.map((k) => `Reptile, k = ${k}`)];
  const all = [projected.at(-1)!, ...ends];
  const apart = ([x, y]: readonly [number, number]) =>
    all.map(([endX, endY]) => ({ value: Math.hypot(endX - x, endY - y) }));
  const [fromDistance, fromLoss] = [apart(leastDistance), apart(leastLoss)];
  return [
    {
      title: 'From the end of the path to the point of least mean squared distance',
      unit: 'number',
      reference: 'theory',
      rows: names.map((label, i) => ({
        label,
        ours: fromDistance[i],
        ...(i === 0 ? { paper: { value: 0 } } : {}), // of gradient steps the paper says "approximately"
      })),
    },
    {
      title: 'From the end of the path to the point of least mean loss',
      unit: 'number',
      reference: 'theory',
      rows: names.map((label, i) => ({
        label,
        ours: fromLoss[i],
        ...(i === 1 ? { paper: { value: 0 } } : {}),
      })),
    },
  ];
}

function pictureOf({ projected, reptile, leastDistance, leastLoss }: Result): PlanePicture {
  const span = Array.from({ length: 201 }, (_, i) => -2.4 + (4.8 * i) / 200);
  const curves = settings.curves.map((curve, i) => ({
    name: `W${i + 1}`,
    points: span.map((x) => ({ x, y: heightAt(curve, x) })),
  }));
  const panel = (title: string, path: Path) => ({
    title,
    curves,
    paths: [{ name: 'path', points: path.map(placeOf) }],
    places: [
      { name: 'least mean squared distance', role: 'reference' as const, at: placeOf(leastDistance) },
      { name: 'least mean loss', role: 'reference' as const, at: placeOf(leastLoss) },
      { name: 'end of the path', role: 'ours' as const, at: placeOf(path.at(-1)!) },
    ],
  });
  return {
    kind: 'plane',
    title: 'Figure 2: moving in turn towards two tasks’ solutions',
    subtitle:
      'W₁ and W₂ are the weights that solve each task. Moving towards them in turn ends where the mean squared ' +
      'distance to both is least; a single gradient step a task ends where the mean loss is least.',
    x: [-2.1, 2.1],
    y: [-1.7, 1.7],
    panels: [
      panel('Exact projections', projected),
      panel('Reptile, k = 32 gradient steps', reptile[0]!),
      panel('One gradient step (joint training)', reptile[1]!),
    ],
  };
}
