/** What programs are lowered to: parts that operators share are there once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  constant,
  conv2d,
  div,
  float32,
  grad,
  mul,
  sub,
  sum,
  type Tensor,
  trace,
} from '../../src/graph/index.ts';
import { lowerProgram } from '../../src/runtime/program.ts';

/** How often an operator stands in a model: its name follows the tag of its field and its length. */
function count(model: Uint8Array, operator: string): number {
  const field = String.fromCharCode(0x22, operator.length) + operator;
  return Buffer.from(model).toString('latin1').split(field).length - 1;
}

test('patches that a convolution and its filter gradient read are looked up once, for any batch', () => {
  const program = (batch: number) =>
    trace({ x: float32(batch, 14, 14, 64), w: float32(3, 3, 64, 64) }, ({ x, w }) => {
      const outputs = (filter: Tensor) => conv2d(x, filter, { stride: 2 });
      return { gradient: grad((filter: Tensor) => sum(mul(outputs(filter), outputs(filter))))(w) };
    });
  for (const batch of [5, 20, 100]) {
    const { model } = lowerProgram(program(batch), { provider: 'cpu' });
    assert.deepEqual([count(model, 'Gather'), count(model, 'Concat')], [1, 1], `batch ${batch}`);
  }
});

test('equal constants are stored once, those that differ in the sign of a zero twice', () => {
  const type = float32(2000);
  const values = (seventh: number) => constant(type, new Float32Array(2000).fill(2).fill(seventh, 7, 8));
  const bytes = (seventh: number) => {
    const program = trace({ x: type }, ({ x }) => ({ y: sub(mul(x, values(0)), div(x, values(seventh))) }));
    return lowerProgram(program, { provider: 'cpu' }).model.length;
  };
  assert.ok(bytes(0) < 9000);
  assert.ok(bytes(-0) > 16000);
});
