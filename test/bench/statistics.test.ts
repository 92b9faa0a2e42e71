/** Statistics of the benchmark. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { largestDifference, resultOf } from '../../bench/results.ts';
import { pairedRatio, quantile, summarize } from '../../bench/statistics.ts';
import { isReached } from '../../bench/targets.ts';

describe('summarize', () => {
  it('takes median and quartiles between neighbours', () => {
    const { median, min, max, q1, q3, samples } = summarize([4, 1, 3, 2]);
    assert.deepEqual([min, q1, median, q3, max], [1, 1.75, 2.5, 3.25, 4]);
    assert.deepEqual(samples, [4, 1, 3, 2], 'in the order they were taken');
  });

  it('takes a lone sample for all', () => {
    const { median, q1, q3 } = summarize([7]);
    assert.deepEqual([median, q1, q3], [7, 7, 7]);
  });

  it('wants a sample', () => {
    assert.throws(() => quantile([], 0.5), RangeError);
  });
});

describe('pairedRatio', () => {
  it('is not moved by what slows both sides at once', () => {
    assert.equal(pairedRatio([2, 20, 2], [1, 10, 1]), 2);
  });

  it('is not moved by one interrupted sample', () => {
    assert.equal(pairedRatio([2, 2, 900], [1, 1, 1]), 2);
  });
});

describe('resultOf', () => {
  const work = { name: 'omniglot-step/10', measures: 'a step', unit: 'ms', flops: 1e9 } as const;
  const variants = {
    'ours-1': summarize([10, 10]),
    'ours-2': summarize([5, 5]),
    'peer-1': summarize([30, 30]),
    'peer-2x1': summarize([15, 15]),
    'peak-1': summarize([200, 200]), // GFLOP/s; 1 GFLOP in 10 ms are 100
  };

  it('compares on the same cores', () => {
    assert.deepEqual(resultOf(work, variants).ratios, { 'peer-1': 3, 'peer-2x1': 3 });
    const { 'ours-2': _, ...alone } = variants;
    assert.deepEqual(resultOf(work, alone).ratios, { 'peer-1': 3, 'peer-2x1': 1.5 });
  });

  it('says which share of the peak is reached', () => {
    assert.deepEqual(resultOf(work, variants).shares, { 'peak-1': 0.5 });
  });

  it('holds what was measured to the targets', () => {
    const [target] = resultOf(work, variants).targets;
    assert.equal(target!.measured, 3);
    assert.equal(target!.reached, true);
  });
});

describe('isReached', () => {
  it('takes ratios and shares for floors, values for ceilings', () => {
    const work = /./;
    assert.equal(isReached({ work, of: 'peer-1', bound: 2 }, 1.9), false);
    assert.equal(isReached({ work, of: 'value', bound: 2 }, 1.9), true);
  });
});

describe('largestDifference', () => {
  it('is relative to the largest number of each name', () => {
    assert.equal(largestDifference({ a: [1, -4], b: 2 }, { a: [1, -3], b: 2 }), 0.25);
  });

  it('is NaN when an answer is missing', () => {
    assert.ok(Number.isNaN(largestDifference({ a: 1 }, {})));
  });
});
