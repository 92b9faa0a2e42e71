/** Fits and intervals against numbers worked out by hand or known to be exact. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../../src/data/random.ts';
import {
  addSums,
  fitTwo,
  jackknife,
  measureOf,
  overSeeds,
  sumsOf,
} from '../../../src/experiments/reproduce/statistics.ts';

function near(actual: number | undefined, expected: number, tolerance = 1e-12): void {
  assert.ok(Math.abs(actual! - expected) <= tolerance, `${actual} is not ${expected}`);
}

test('a fit finds the coefficients, and what is orthogonal to both vectors is its residual', () => {
  const first = Float64Array.of(1, 2, 0, 0);
  const second = Float64Array.of(0, 1, 1, 0);
  const target = Float64Array.from(first, (x, i) => 3 * x - 0.25 * second[i]!);
  const exact = fitTwo(target, first, second);
  near(exact.a, 3);
  near(exact.b, -0.25);
  near(exact.residual, 0, 1e-7);
  target[3] = 2;
  const fit = fitTwo(target, first, second);
  near(fit.a, 3);
  near(fit.residual, 2 / Math.hypot(...target));
});

test('sums of parts give the mean and interval of the whole', () => {
  const values = [1, 0, 1, 1, 0.5];
  const whole = measureOf(sumsOf(values));
  assert.deepEqual(measureOf(addSums([sumsOf(values.slice(0, 2)), sumsOf(values.slice(2))])), whole);
  near(whole.value, 0.7);
  near(whole.ci95, 1.96 * Math.sqrt(0.8 / 4 / 5)); // squared deviations add up to 0.8
});

test('over seeds: the mean of means, their sample deviation, the interval over all tasks', () => {
  const seeds = [sumsOf([1, 0]), undefined, sumsOf([1, 1]), sumsOf([0, 0])];
  const measure = overSeeds(seeds)!;
  near(measure.value, 0.5);
  near(measure.deviation!, 0.5);
  near(measure.ci95!, 1.96 * Math.sqrt(0.3 / 6));
  assert.equal(overSeeds([undefined]), undefined);
  assert.equal(overSeeds([sumsOf([1, 0])])!.deviation, undefined);
});

test('the jackknife interval of a mean is that of Student', () => {
  const random = Random.stream(0, 'jackknife');
  const groups = Array.from({ length: 8 }, () => random.normal());
  const mean = (some: readonly number[]) => some.reduce((a, b) => a + b, 0) / some.length;
  const [estimate] = jackknife(groups, (some) => [mean(some)]);
  const squares = groups.reduce((total, x) => total + (x - mean(groups)) ** 2, 0);
  near(estimate!.value, mean(groups));
  near(estimate!.ci95, 2.365 * Math.sqrt(squares / 7 / 8));
});
