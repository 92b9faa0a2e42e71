/** The geometry of Figure 2 against brute force and closed forms. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Curve,
  leastMeanLoss,
  leastMeanSquaredDistance,
  project,
} from '../../../src/experiments/reproduce/figure2.ts';

const curve: Curve = { center: -0.7, base: 0.55, bend: 0.4, steepness: 3 };
const line = (base: number, steepness: number): Curve => ({ center: 0, base, bend: 0, steepness });

test('a projection is the nearest point of the curve', () => {
  for (const at of [
    { x: 1.7, y: 1.25 },
    { x: -2, y: -1 },
    { x: 0.3, y: 0.2 },
  ]) {
    const found = project(curve, at);
    const distance = Math.hypot(found.x - at.x, found.y - at.y);
    for (let x = -5; x <= 5; x += 1e-3) {
      const y = curve.base + curve.bend * (x - curve.center) ** 2;
      assert.ok(Math.hypot(x - at.x, y - at.y) >= distance - 1e-12);
    }
  }
});

test('between two parallel lines the least mean squared distance is in the middle, the least mean loss by steepness', () => {
  const lines = [line(1, 3), line(-1, 1)];
  const start = { x: 0.25, y: 5 };
  const distance = leastMeanSquaredDistance(lines, start);
  assert.ok(Math.hypot(distance.x - 0.25, distance.y) < 1e-9);
  const loss = leastMeanLoss(lines, start);
  assert.ok(Math.hypot(loss.x - 0.25, loss.y - 0.5) < 1e-9); // 3·(y − 1) + (y + 1) = 0
});
