import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { schedule } from '../../src/runtime/schedule.ts';

test('five tasks of two stages on two workers: the odd one is shared', () => {
  assert.deepEqual(schedule([2, 2, 2, 2, 2], 2), [
    [
      { list: 0, from: 0, to: 2 },
      { list: 1, from: 0, to: 2 },
      { list: 2, from: 1, to: 2 },
    ],
    [
      { list: 2, from: 0, to: 1 },
      { list: 3, from: 0, to: 2 },
      { list: 4, from: 0, to: 2 },
    ],
  ]);
});

test('every stage runs once, beginnings are done when ends begin, and no plan could be shorter', () => {
  const random = Random.stream(0, 'schedules');
  for (let trial = 0; trial < 2000; trial++) {
    const workers = 1 + random.integer(6);
    const lengths = Array.from({ length: 1 + random.integer(9) }, () => 1 + random.integer(7));
    const plan = schedule(lengths, workers);
    assert.ok(plan.length <= workers);
    const seen = lengths.map((): string[] => []);
    const times = lengths.map((): [number, number][] => []); // [stage, when it starts]
    for (const segments of plan) {
      let clock = 0;
      for (const { list, from, to } of segments) {
        for (let stage = from; stage < to; stage++) {
          seen[list]!.push(String(stage));
          times[list]!.push([stage, clock++]);
        }
      }
      const total = lengths.reduce((a, b) => a + b, 0);
      assert.ok(clock <= Math.max(Math.ceil(total / workers), ...lengths));
    }
    lengths.forEach((length, list) => {
      assert.deepEqual(seen[list]!.sort(), Array.from({ length }, (_, stage) => String(stage)).sort());
      const inOrder = times[list]!.sort(([a], [b]) => a - b).map(([, start]) => start);
      for (let stage = 1; stage < length; stage++) assert.ok(inOrder[stage]! > inOrder[stage - 1]!);
    });
  }
});
