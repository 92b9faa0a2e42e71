import assert from 'node:assert/strict';
import { test } from 'node:test';
import { miniBatches } from '../../src/data/mini-batches.ts';
import { Random } from '../../src/data/random.ts';
import { DataError } from '../../src/errors.ts';

const sorted = (indices: Int32Array) => [...indices].sort((a, b) => a - b);
const all = (count: number) => Array.from({ length: count }, (_, i) => i);

test('cycling uses every example once in each pass, and batches straddle passes', () => {
  const indices = miniBatches(Random.stream(0, 'cycle'), { examples: 7, batch: 3, batches: 7 });
  assert.equal(indices.length, 21);
  const passes = [0, 7, 14].map((start) => indices.subarray(start, start + 7));
  for (const pass of passes) assert.deepEqual(sorted(pass), all(7));
  assert.notDeepEqual(passes[0], passes[1]); // reshuffled
});

test('replacement repeats nothing inside a batch, but examples over the batches', () => {
  const options = { examples: 7, batch: 5, batches: 40, sampling: 'replacement' } as const;
  const indices = miniBatches(Random.stream(0, 'replacement'), options);
  const counts = new Map<number, number>();
  for (let i = 0; i < 40; i++) {
    const batch = indices.subarray(5 * i, 5 * i + 5);
    assert.equal(new Set(batch).size, 5);
    for (const index of batch) counts.set(index, (counts.get(index) ?? 0) + 1);
  }
  assert.deepEqual([...counts.keys()].sort(), all(7));
  assert.ok(new Set(counts.values()).size > 1, 'independent draws are not balanced like a cycle');
});

test('a batch larger than the task is refused', () => {
  assert.throws(() => miniBatches(Random.stream(0, ''), { examples: 4, batch: 5, batches: 1 }), DataError);
});
