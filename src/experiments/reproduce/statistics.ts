/** Means, intervals and least squares, over tasks, seeds and parameter vectors. */
import type { Measure } from './experiment.ts';

export type Vector = Float64Array<ArrayBuffer>;

export function dot(a: Vector, b: Vector): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!;
  return total;
}

export function norm(a: Vector): number {
  return Math.sqrt(dot(a, a));
}

/** target ← target + scale·x */
export function addTo(target: Vector, x: ArrayLike<number>, scale = 1): void {
  for (let i = 0; i < target.length; i++) target[i] = target[i]! + scale * x[i]!;
}

/** Mean over some tasks, kept as sums so that parts of an evaluation add up. */
export type Sums = {
  readonly tasks: number;
  readonly sum: number;
  readonly squares: number;
};

export function sumsOf(values: Iterable<number>): Sums {
  let [tasks, sum, squares] = [0, 0, 0];
  for (const value of values) {
    tasks++;
    sum += value;
    squares += value * value;
  }
  return { tasks, sum, squares };
}

export function addSums(parts: readonly Sums[]): Sums {
  return parts.reduce(
    (a, b) => ({ tasks: a.tasks + b.tasks, sum: a.sum + b.sum, squares: a.squares + b.squares }),
    { tasks: 0, sum: 0, squares: 0 },
  );
}

/** The mean over tasks and the half-width of its 95% interval, 1.96·s/√n. */
export function measureOf({ tasks, sum, squares }: Sums): { value: number; ci95: number } {
  const value = sum / tasks;
  if (tasks < 2) return { value, ci95: 0 };
  const variance = Math.max(0, (squares - tasks * value * value) / (tasks - 1));
  return { value, ci95: 1.96 * Math.sqrt(variance / tasks) };
}

/**
 * The mean over seeds with its sample standard deviation over seeds, as the paper gives it, and the 95%
 * interval over the tasks of all seeds; undefined when there are none.
 */
export function overSeeds(seeds: readonly (Sums | undefined)[]): Measure | undefined {
  const done = seeds.filter((sums) => sums !== undefined);
  if (done.length === 0) return undefined;
  const { ci95 } = measureOf(addSums(done));
  const means = done.map(({ sum, tasks }) => sum / tasks);
  const value = means.reduce((a, b) => a + b) / means.length;
  if (means.length < 2) return { value, ci95 };
  const deviation = Math.sqrt(
    means.reduce((total, mean) => total + (mean - value) ** 2, 0) / (means.length - 1),
  );
  return { value, deviation, ci95 };
}

/** target ≈ a·first + b·second */
export interface Fit {
  readonly a: number;
  readonly b: number;
  /** ‖target − fit‖ / ‖target‖ */
  readonly residual: number;
}

/** Least squares over the elements of three vectors. */
export function fitTwo(target: Vector, first: Vector, second: Vector): Fit {
  const [ff, ss, fs] = [dot(first, first), dot(second, second), dot(first, second)];
  const [tf, ts] = [dot(target, first), dot(target, second)];
  const determinant = ff * ss - fs * fs;
  const a = (tf * ss - ts * fs) / determinant;
  const b = (ts * ff - tf * fs) / determinant;
  let squares = 0;
  for (let i = 0; i < target.length; i++) squares += (target[i]! - a * first[i]! - b * second[i]!) ** 2;
  return { a, b, residual: Math.sqrt(squares / dot(target, target)) };
}

/** Groups of tasks for `jackknife`. */
export const groupCount = 8;

/** The 97.5% quantile of Student's t with 7 degrees of freedom. */
const studentT = 2.365;

/**
 * What `estimate` makes of all groups, and the half-width of its 95% interval by the jackknife: how much it
 * changes when one of the eight groups is left out.
 */
export function jackknife<G>(
  groups: readonly G[],
  estimate: (groups: readonly G[]) => number[],
): { value: number; ci95: number }[] {
  const whole = estimate(groups);
  const without = groups.map((_, left) => estimate(groups.filter((_, i) => i !== left)));
  const n = groups.length;
  return whole.map((value, i) => {
    const mean = without.reduce((total, values) => total + values[i]!, 0) / n;
    const squares = without.reduce((total, values) => total + (values[i]! - mean) ** 2, 0);
    return { value, ci95: studentT * Math.sqrt(((n - 1) / n) * squares) };
  });
}
