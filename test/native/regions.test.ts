/** Regions against the places of their elements, counted one by one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { strides } from '../../src/graph/type.ts';
import {
  type Axis,
  alongShape,
  axesOfTable,
  axesWithout,
  collapse,
  commonGrid,
  extentOf,
  isSideBySide,
  lengthOf,
  Memory,
} from '../../src/native/regions.ts';

/** Where the elements along axes lie, in row-major order. */
function placesOf(axes: readonly Axis[], offset = 0): number[] {
  return axes.reduce(
    (places, { length, stride }) =>
      places.flatMap((place) => Array.from({ length }, (_, i) => place + i * stride)),
    [offset],
  );
}

const trials = 3000;
const random = Random.stream(0, 'regions');

const draw = <T>(items: readonly T[]): T => items[random.integer(items.length)]!;

/** Up to four lengths, often 1, sometimes 0. */
function randomShape(least: 0 | 1 = 1): number[] {
  const lengths = [1, 1, 2, 2, 3, 4, 5, 6, ...(least === 0 ? [0] : [])];
  return Array.from({ length: random.integer(5) }, () => draw(lengths));
}

/** Axes over a shape: row-major, turned around, repeated, backwards, or at any distance. */
function randomAxes(shape: readonly number[]): Axis[] {
  const order = random.shuffle(shape.map((_, axis) => axis));
  const turned = strides(order.map((axis) => shape[axis]!));
  const rowMajor = strides(shape);
  const kind = random.integer(3);
  return shape.map((length, axis) => {
    const stride = kind === 0 ? turned[order.indexOf(axis)]! : rowMajor[axis]!;
    const rare = random.integer(8);
    return { length, stride: rare === 0 ? 0 : rare === 1 ? -stride : kind === 2 ? 2 * stride : stride };
  });
}

/** The same elements along other axes: some are cut in two. */
function cutAtRandom(axes: readonly Axis[]): Axis[] {
  return axes.flatMap(({ length, stride }) => {
    const factors = Array.from({ length }, (_, i) => i + 1).filter((factor) => length % factor === 0);
    const inner = draw(factors.length === 0 ? [1] : factors);
    return [
      { length: length / inner, stride: stride * inner },
      { length: inner, stride },
    ];
  });
}

/** Another shape of as many elements. */
function otherShape(shape: readonly number[]): number[] {
  const cut = cutAtRandom(shape.map((length) => ({ length, stride: 1 })));
  return random.shuffle(cut.map(({ length }) => length));
}

test('collapsed axes have the same places, and no two of them could be one', () => {
  for (let trial = 0; trial < trials; trial++) {
    const axes = cutAtRandom(randomAxes(randomShape(0)));
    const few = collapse(axes);
    assert.deepEqual(placesOf(few), placesOf(axes));
    if (lengthOf(axes) === 0) continue;
    assert.ok(few.every(({ length }) => length > 1));
    for (const [i, { length, stride }] of few.slice(1).entries()) {
      assert.notEqual(few[i]!.stride, length * stride);
    }
    assert.deepEqual(collapse(few), few);
    const places = placesOf(axes);
    assert.equal(
      isSideBySide(few),
      places.every((place, i) => place === i),
    );
  }
});

test('axes along a shape are those of each of its lengths', () => {
  let found = 0;
  for (let trial = 0; trial < trials; trial++) {
    const shape = randomShape();
    const axes = collapse(randomAxes(shape));
    const lists = alongShape(axes, shape);
    assert.ok(lists !== undefined, 'axes that were made along a shape lie along it');
    assert.deepEqual(
      lists.map((own) => lengthOf(own)),
      shape,
    );
    assert.deepEqual(placesOf(lists.flat()), placesOf(axes));
    // Along another shape of as many elements they need not.
    const other = otherShape(shape);
    const reshaped = alongShape(axes, other);
    if (reshaped === undefined) continue;
    found++;
    assert.deepEqual(
      reshaped.map((own) => lengthOf(own)),
      other,
    );
    assert.deepEqual(placesOf(reshaped.flat()), placesOf(axes));
  }
  assert.ok(found > trials / 2);
  const across: Axis[] = [
    { length: 2, stride: 1 },
    { length: 3, stride: 2 },
  ];
  assert.equal(alongShape(across, [3, 2]), undefined); // a length of 2 across a row of 3
});

test('a common grid gives every list its places, in as few lengths as possible', () => {
  let refused = 0;
  for (let trial = 0; trial < trials; trial++) {
    const shape = randomShape();
    const count = shape.reduce((a, b) => a * b, 1);
    const lists = Array.from({ length: 1 + random.integer(4) }, () => collapse(randomAxes(shape)));
    const grid = commonGrid(lists, count);
    assert.ok(grid !== undefined, 'lists along one shape have a grid');
    assert.deepEqual(
      grid.strides.map((own) => placesOf(grid.lengths.map((length, i) => ({ length, stride: own[i]! })))),
      lists.map((axes) => placesOf(axes)),
    );
    for (const [i, length] of grid.lengths.slice(1).entries()) {
      assert.ok(grid.strides.some((own) => own[i]! !== length * own[i + 1]!));
    }
    const others = [...lists, collapse(randomAxes(otherShape(shape)))];
    const mixed = commonGrid(others, count);
    if (mixed === undefined) refused++;
    else {
      assert.deepEqual(
        mixed.strides.map((own) => placesOf(mixed.lengths.map((length, i) => ({ length, stride: own[i]! })))),
        others.map((axes) => placesOf(axes)),
      );
    }
  }
  assert.ok(refused > 0);
});

test('a table has axes where it is regular, and only there', () => {
  let irregular = 0;
  for (let trial = 0; trial < trials; trial++) {
    const shape = randomShape();
    const offset = random.integer(20);
    const axes = randomAxes(shape);
    const table = placesOf(axes, offset);
    const found = axesOfTable(Int32Array.from(table));
    if (found === undefined) assert.ok(collapse(axes).length > 4);
    else assert.deepEqual(placesOf(found.axes, found.offset), table);
    // One entry is moved.
    const at = random.integer(table.length);
    const changed = table.with(at, table[at]! + 1);
    const other = axesOfTable(changed);
    if (other === undefined) irregular++;
    else assert.deepEqual(placesOf(other.axes, other.offset), changed);
  }
  assert.ok(irregular > trials / 4);
  assert.equal(axesOfTable([]), undefined);
});

test('axes without some of a shape repeat along those', () => {
  for (let trial = 0; trial < trials; trial++) {
    const shape = randomShape();
    const repeated = shape.flatMap((_, axis) => (random.integer(3) === 0 ? [axis] : []));
    const places = placesOf(axesWithout(shape, repeated));
    // Places of the elements of a smaller array, counted by their indices along the axes that are kept.
    const kept = shape.map((length, axis) => (repeated.includes(axis) ? 1 : length));
    const expected = placesOf(shape.map((length) => ({ length, stride: 0 }))).map((_, i) => {
      const own = strides(shape);
      return kept.reduce(
        (place, length, axis) =>
          place + ((Math.floor(i / own[axis]!) % shape[axis]!) % length) * strides(kept)[axis]!,
        0,
      );
    });
    assert.deepEqual(places, expected);
  }
});

test('the extent of a region is from its first place to its last', () => {
  for (let trial = 0; trial < trials; trial++) {
    const axes = randomAxes(randomShape());
    const offset = random.integer(50);
    const places = placesOf(axes, offset);
    const memory = new Memory('float32', 1000);
    assert.deepEqual(extentOf({ memory, offset, axes }), {
      first: Math.min(...places),
      last: Math.max(...places),
    });
  }
});
