import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { figure1Task, sineGrid, sineTask, sineTasks } from '../../src/data/sine.ts';
import { DataError, OptionError } from '../../src/errors.ts';

test('a drawn task is one sine wave of the stated range, the same for support and query', () => {
  const random = Random.stream(1, 'sine');
  for (let draw = 0; draw < 200; draw++) {
    const { support, query } = sineTasks().sample(random, { support: 10, query: 50 });
    // sin(x + b) = cos(b)·sin(x) + sin(b)·cos(x): two points give a·cos(b) and a·sin(b), the others must agree
    const [x, y] = [query.inputs, query.targets];
    const determinant = Math.sin(x[0]! - x[9]!);
    const aCos = (y[0]! * Math.cos(x[9]!) - y[9]! * Math.cos(x[0]!)) / determinant;
    const aSin = (y[9]! * Math.sin(x[0]!) - y[0]! * Math.sin(x[9]!)) / determinant;
    const amplitude = Math.hypot(aCos, aSin);
    assert.ok(amplitude > 0.0999 && amplitude < 5.0001, `amplitude ${amplitude}`);
    for (const set of [support, query]) {
      for (let i = 0; i < set.count; i++) {
        const expected = aCos * Math.sin(set.inputs[i]!) + aSin * Math.cos(set.inputs[i]!);
        assert.ok(Math.abs(set.targets[i]! - expected) < 1e-5);
      }
    }
  }
});

test('a query of the whole grid is the curve from left to right; a smaller one avoids the support', () => {
  const random = Random.stream(2, 'sine');
  const whole = sineTasks().sample(random, { support: 50, query: 50 });
  assert.deepEqual(whole.query.inputs, sineGrid());
  assert.deepEqual(
    [...whole.support.inputs].sort((a, b) => a - b),
    [...sineGrid()],
  );
  assert.notDeepEqual(whole.support.inputs, sineGrid(), 'the support is in random order');

  const part = sineTasks().sample(random, { support: 30, query: 20 });
  assert.equal(new Set([...part.support.inputs, ...part.query.inputs]).size, 50);

  const none = sineTasks({ gridPoints: 7 }).sample(random, { support: 7, query: 0 });
  assert.equal(none.support.count, 7);
  assert.equal(none.query.count, 0);
});

test('the same stream state draws the same task', () => {
  const random = Random.stream(3, 'sine');
  const state = random.state;
  const task = sineTasks().sample(random, { support: 10, query: 50 });
  assert.deepEqual(sineTasks().sample(Random.fromState(state), { support: 10, query: 50 }), task);
  assert.notDeepEqual(sineTasks().sample(random, { support: 10, query: 50 }), task);
});

test('the mean over tasks is zero everywhere, so that joint training learns f = 0', () => {
  const random = Random.stream(4, 'sine');
  const mean = new Float64Array(50);
  for (let draw = 0; draw < 4000; draw++) {
    const { query } = sineTasks().sample(random, { support: 1, query: 50 });
    for (let i = 0; i < 50; i++) mean[i]! += query.targets[i]! / 4000;
  }
  // the standard error is sqrt(E[a²]/2/4000) = 0.033
  assert.ok(Math.max(...mean.map(Math.abs)) < 4 * 0.033);
});

test('the task of Figure 1', () => {
  assert.equal(figure1Task.query.count, 50);
  assert.deepEqual(
    [...figure1Task.support.inputs].map((x) => Math.round(((x + 5) * 49) / 10)),
    [2, 11, 26, 29, 31, 32, 33, 38, 41, 43],
  );
  assert.ok(Math.abs(figure1Task.query.targets[0]! - 3.604 * Math.sin(-5 + 3.448)) < 1e-6);
  assert.deepEqual(sineTask(1, 0).support, sineTask(1, 0).query, 'all points by default');
});

test('bad sizes are named', () => {
  const random = Random.stream(5, 'sine');
  assert.throws(() => sineTasks({ gridPoints: 1 }), OptionError);
  assert.throws(() => sineTask(1, 0, [50]), /grid points are 0 to 49, got 50/);
  assert.throws(
    () => sineTasks().sample(random, { support: 40, query: 20 }),
    (error: Error) => error instanceof DataError && /40 support \+ 20 query needs 60/.test(error.message),
  );
  assert.throws(() => sineTasks().sample(random, { support: 51, query: 50 }), DataError);
  assert.throws(() => sineTasks().sample(random, { support: 2.5, query: 50 }), OptionError);
});
