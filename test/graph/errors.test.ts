/** What people read when shapes, dtypes or axes do not fit: the exact words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataError, ShapeError } from '../../src/errors.ts';
import {
  add,
  and,
  argMax,
  averagePool2d,
  bool,
  broadcastTo,
  cast,
  concat,
  constant,
  conv2d,
  evaluate,
  exp,
  float32,
  float64,
  gather,
  grad,
  int32,
  less,
  matmul,
  max,
  maxPool2d,
  mul,
  not,
  pad,
  patches2d,
  reshape,
  scatterAdd,
  select,
  slice,
  stack,
  sum,
  type Tensor,
  type TensorType,
  take,
  trace,
  transpose,
} from '../../src/graph/index.ts';
import { input } from '../../src/graph/tensor.ts';

const f = (...shape: number[]): Tensor => input('x', float32(...shape));
const i = (...shape: number[]): Tensor => input('i', int32(...shape));
const b = (...shape: number[]): Tensor => input('b', bool(...shape));

const mistakes: readonly [() => unknown, string][] = [
  // operands
  [
    () => add(f(5, 3), f(2, 3)),
    'add: shapes do not broadcast, got float32[5,3] and float32[2,3]: aligned at the last axis, lengths must be equal or 1',
  ],
  [() => mul(f(2), i(2)), 'mul: dtypes differ, got float32[2] and int32[2]: cast one of them'],
  [
    () => add(f(2), input('y', float64(2))),
    'add: dtypes differ, got float32[2] and float64[2]: cast one of them',
  ],
  [() => add(b(2), b(2)), 'add: expected numbers, got bool[2] and bool[2]: cast them first'],
  [() => less(b(2), b(2)), 'less: expected numbers, got bool[2] and bool[2]: cast them first'],
  [() => mul(i(2), 0.5), 'scalar: 0.5 is no int32: cast the other operand to float32'],
  [() => exp(i(2)), 'exp: expected floats, got int32[2]: cast it first'],
  [() => and(f(2), f(2)), 'and: expected bools, got float32[2] and float32[2]'],
  [() => not(i(2)), 'not: expected bools, got int32[2]'],
  [() => select(f(2), 1, 0), 'select: expected a bool condition, got float32[2]: compare it first'],
  [() => select(b(2), f(2), i(2)), 'select: dtypes differ, got float32[2] and int32[2]: cast one of them'],

  // shapes
  [() => reshape(f(4, 3), [5, 2]), 'reshape: float32[4,3] has 12 elements, [5,2] needs 10'],
  [
    () => reshape(f(5, 3), [-1, 4]),
    'reshape: the −1 of [-1,4] can not be worked out from the 15 elements of float32[5,3]',
  ],
  [
    () => reshape(f(4), [-1, -1]),
    'reshape: the −1 of [-1,-1] can not be worked out from the 4 elements of float32[4]',
  ],
  [() => reshape(f(3), [1.5, 2]), 'reshape: [1.5,2] is no shape: lengths are whole numbers from 0 on'],
  [() => reshape(f(4), [-2, -2]), 'reshape: [-2,-2] is no shape: lengths are whole numbers from 0 on'],
  [() => f(2.5), 'input x: [2.5] is no shape: lengths are whole numbers from 0 on'],
  [() => broadcastTo(f(4, 3), [3]), 'broadcastTo: float32[4,3] does not broadcast to [3]'],
  [() => transpose(f(4, 3), [0, 0]), 'transpose: [0,0] is no permutation of the 2 axes of float32[4,3]'],
  [() => transpose(f(4, 3), [0, 2]), 'transpose: axis 2 is outside a tensor of 2 axes: use -2 … 1'],
  [
    () => slice(f(4, 3), [0, 2], [1, 2]),
    'slice: axis 1 of float32[4,3] has no 2 elements from 2 in steps of 1',
  ],
  [() => slice(f(4), [0], [4], [2]), 'slice: axis 0 of float32[4] has no 4 elements from 0 in steps of 2'],
  [
    () => slice(f(4, 3), [0], [1]),
    'slice: starts needs a number for each of the 2 axes of float32[4,3], got 1',
  ],
  [() => pad(f(4, 3), { low: [1] }), 'pad: low needs a number for each of the 2 axes of float32[4,3], got 1'],
  [
    () => pad(f(4, 3), { high: [0, -1] }),
    'pad: padding must not be negative, got axis 1 of float32[4,3]: use slice',
  ],
  [
    () => concat([f(2, 3), f(2, 4)]),
    'concat: parts must agree but for axis 0, got float32[2,3], float32[2,4]',
  ],
  [() => concat([]), 'concat: got no tensors: give at least one'],
  [() => stack([f(2), f(3)]), 'stack: parts must be of one type, got float32[2], float32[3]'],
  [() => take(f(2, 3), 3, -1), 'take: index 3 is outside axis -1 of float32[2,3]: use 0 … 2'],
  [() => constant(float32(2, 2), new Float32Array(3)), 'constant: float32[2,2] needs 4 elements, got 3'],
  [
    () => constant(float32(2), new Int32Array(2)),
    'constant: float32[2] needs a Float32Array, got a Int32Array',
  ],

  // axes
  [() => sum(f(3, 2), { axes: [2] }), 'sum: axis 2 is outside a tensor of 2 axes: use -2 … 1'],
  [() => sum(f(3, 2), { axes: [1, -1] }), 'sum: an axis is given twice in [1,-1]: name each axis once'],
  [() => max(f(), { axes: [0] }), 'max: axis 0 is outside a tensor of 0 axes: a scalar has none'],
  [() => sum(i(3)), 'sum: expected floats, got int32[3]: cast it first'],
  [() => argMax(i(3)), 'argMax: expected floats, got int32[3]: cast it first'],

  // products and tables
  [
    () => matmul(f(5, 784), f(64, 5)),
    'matmul: inner sizes differ, got float32[5,784] and float32[64,5] (784 ≠ 64)',
  ],
  [
    () => matmul(f(5, 784), f(64, 5), { transposeA: true }),
    'matmul: inner sizes differ, got float32[5,784]ᵀ and float32[64,5] (5 ≠ 64)',
  ],
  [
    () => matmul(f(5, 784), f(784)),
    'matmul: expected matrices or stacks of them, got float32[5,784] and float32[784]: reshape vectors to [n,1] or [1,n]',
  ],
  [
    () => matmul(f(2, 5, 7), f(3, 7, 2)),
    'matmul: leading axes do not broadcast, got float32[2,5,7] and float32[3,7,2]',
  ],
  [
    () => matmul(i(5, 7), i(7, 2)),
    'matmul: expected floats of one dtype, got int32[5,7] and int32[7,2]: cast one of them',
  ],
  [() => gather(f(5), f(2)), 'gather: expected int32 indices, got float32[2]: cast them'],
  [
    () => scatterAdd(f(3, 2), i(2), { length: 4 }),
    'scatterAdd: axes from 0 on must match the indices, got float32[3,2] and int32[2]',
  ],
  [
    () => scatterAdd(f(3, 2), i(3), { axis: 2, length: 4 }),
    'scatterAdd: axis 2 is outside a tensor of 2 axes: use -2 … 1',
  ],

  // images
  [
    () => conv2d(f(1, 5, 5, 3), f(3, 3, 1, 8)),
    'conv2d: channels differ, got images float32[1,5,5,3] and filters float32[3,3,1,8] (3 ≠ 1)',
  ],
  [
    () => conv2d(f(5, 5, 3), f(3, 3, 3, 8)),
    'conv2d: expected float images [N,H,W,C] and filters [kh,kw,C,F], got float32[5,5,3] and float32[3,3,3,8]',
  ],
  [
    () => conv2d(f(2, 1, 5, 5, 3), f(3, 3, 3, 3, 8)),
    'conv2d: leading axes differ, got float32[2,1,5,5,3] and float32[3,3,3,3,8]',
  ],
  [
    () => conv2d(f(1, 5, 5, 3), f(7, 7, 3, 8), { padding: 'valid' }),
    'conv2d: the filter float32[7,7,3,8] is larger than the padded images float32[1,5,5,3]',
  ],
  [
    () => conv2d(f(1, 5, 5, 3), f(3, 3, 3, 8), { stride: 0.5 }),
    'conv2d: expected a stride of whole pixels from 1 on, got 0.5',
  ],
  [() => maxPool2d(f(5, 5), 2), 'pooling: expected images [...,H,W,C], got float32[5,5]'],
  [() => maxPool2d(f(5, 5, 1), 0), 'pooling: expected a window of whole pixels from 1 on, got 0'],
  [
    () => averagePool2d(f(5, 4, 1), 5, { padding: 'valid' }),
    'pooling: a window of 5 is larger than the images float32[5,4,1]: use padding "same"',
  ],
  [
    () => patches2d(f(1, 2, 2, 1), 3, { padding: 'valid' }),
    'patches2d: patches of 3x3 are larger than the images float32[1,2,2,1]: use padding "same"',
  ],
  [() => patches2d(f(1, 2, 2, 1), 1.5), 'patches2d: expected a kernel of whole pixels from 1 on, got 1.5'],
  [() => maxPool2d(i(5, 5, 1), 2), 'pooling: expected floats, got int32[5,5,1]: cast it first'],

  // gradients
  [
    () => grad((x: Tensor) => mul(x, 2))(f(3)),
    'grad: expected a function with a float scalar as its value, got float32[3]: sum it',
  ],
  [
    () => grad((x: Tensor) => cast(x, 'int32'))(f()),
    'grad: expected a function with a float scalar as its value, got int32[]: sum it',
  ],
  [() => grad((x: Tensor) => cast(x, 'float32'))(i()), 'grad: expected floats, got int32[]: cast it first'],
];

for (const [mistake, message] of mistakes) {
  test(message, () => {
    assert.throws(mistake, (error) => {
      assert.ok(error instanceof ShapeError);
      assert.equal(error.message, message);
      return true;
    });
  });
}

test('evaluation names the input that is missing or of another length', () => {
  const types: Record<string, TensorType> = { x: float32(2), y: float32(2) };
  const graph = trace(types, ({ x, y }) => ({ z: add(x!, y!) }));
  const x = Float32Array.of(1, 2);
  assert.throws(
    () => evaluate(graph, { x }),
    new DataError('evaluate: input "y" is float32[2], got nothing'),
  );
  assert.throws(
    () => evaluate(graph, { x, y: x.subarray(1) }),
    new DataError('evaluate: input "y" is float32[2], got 1 elements'),
  );
});
