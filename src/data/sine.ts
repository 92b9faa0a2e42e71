/**
 * Sine-wave regression (§4 and Figure 1 of the paper): learn
 * f(x) = a·sin(x + b) from a few of its points.
 */
import { checkCount, DataError, OptionError } from '../errors.ts';
import type { Random } from './random.ts';
import { checkTaskSize, type Examples, type Task, type TaskSize, type TaskSource } from './task.ts';

export interface SineOptions {
  /** Equally spaced x in [−5, 5] that a task is made of, at least 2. @default 50, as in equation (8) */
  readonly gridPoints?: number;
}

/** The inputs of equation (8): `points` equally spaced x from −5 to 5. @default 50 */
export function sineGrid(points = 50): Float32Array {
  return Float32Array.from({ length: points }, (_, i) => -5 + (10 * i) / (points - 1));
}

/**
 * Tasks f(x) = a·sin(x + b), a ~ U[0.1, 5], b ~ U[0, 2π]. Support: `size.support` different points of
 * the grid in random order. Query: with `size.query` equal to the grid, all of it from left to right,
 * since the loss of equation (8) is over the whole curve; it then **includes the support points**. Any
 * smaller query shares no point with the support.
 *
 * inputs float32 [count, 1], targets float32 [count, 1].
 *
 * @throws {OptionError} when `gridPoints` is no whole number of at least 2.
 */
export function sineTasks({ gridPoints = 50 }: SineOptions = {}): TaskSource {
  checkCount('sineTasks: gridPoints', gridPoints, { from: 2 });
  const grid = sineGrid(gridPoints);
  const whole = Array.from(grid.keys());

  const sample = (random: Random, size: TaskSize): Task => {
    checkTaskSize(size);
    const wholeCurve = size.query === gridPoints;
    const drawn = size.support + (wholeCurve ? 0 : size.query);
    if (drawn > gridPoints) {
      throw new DataError(
        `a sine task has ${gridPoints} points, but ${size.support} support + ${size.query} query needs ` +
          `${drawn}: lower them, or ask for a query of ${gridPoints}, the whole curve`,
      );
    }
    const amplitude = random.uniform(0.1, 5);
    const phase = random.uniform(0, 2 * Math.PI);
    const indices = random.choose(gridPoints, drawn);
    return {
      support: pointsOf(amplitude, phase, grid, indices.slice(0, size.support)),
      query: pointsOf(amplitude, phase, grid, wholeCurve ? whole : indices.slice(size.support)),
    };
  };
  return { inputShape: [1], targets: 'values', outputs: 1, sample };
}

/**
 * One particular sine wave on the grid of 50 points.
 *
 * @param amplitude a
 * @param phase b, in radians
 * @param supportIndices grid points of the support set. @default all 50
 * @returns the task; its query set is the whole curve, support points included.
 * @throws {OptionError} when an index is not on the grid.
 */
export function sineTask(amplitude: number, phase: number, supportIndices?: readonly number[]): Task {
  const grid = sineGrid();
  const whole = Array.from(grid.keys());
  const outside = supportIndices?.find((index) => grid[index] === undefined);
  if (outside !== undefined) {
    throw new OptionError(`sineTask: grid points are 0 to ${grid.length - 1}, got ${outside}`);
  }
  return {
    support: pointsOf(amplitude, phase, grid, supportIndices ?? whole),
    query: pointsOf(amplitude, phase, grid, whole),
  };
}

/** The task of Figure 1, read from the vector graphic of arXiv:1803.02999v3 (a and b to about ±0.001). */
export const figure1Task: Task = sineTask(3.604, 3.448, [2, 11, 26, 29, 31, 32, 33, 38, 41, 43]);

function pointsOf(a: number, b: number, grid: Float32Array, indices: readonly number[]): Examples {
  const inputs = Float32Array.from(indices, (index) => grid[index]!); // [count, 1]
  return { count: indices.length, inputs, targets: inputs.map((x) => a * Math.sin(x + b)) };
}
