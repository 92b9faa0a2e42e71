/** What differentiation promises, by identities with known answers, evaluated plainly in float64. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  add,
  cast,
  evaluate,
  exp,
  float32,
  float64,
  grad,
  log,
  matmul,
  mul,
  pow,
  printGraph,
  reshape,
  scalar,
  simplify,
  slice,
  sqrt,
  stopGradient,
  sum,
  type Tensor,
  tanh,
  trace,
  valueAndGrad,
} from '../../src/graph/index.ts';
import { nodesOf } from '../../src/graph/trace.ts';
import { lowerProgram } from '../../src/runtime/onnx.ts';
import { assertClose } from './contract.ts';

const f64 = (...values: number[]): Float64Array => Float64Array.of(...values);

/** ½ xᵀAx + bᵀx with a lopsided A: the gradient is ½(A + Aᵀ)x + b, the Hessian ½(A + Aᵀ). */
const A = f64(2, -1, 0.5, 3, 1, 4, -2, 0, 1.5);
const b = f64(1, -2, 0.25);
const symmetric = A.map((x, i) => (x + A[3 * (i % 3) + Math.floor(i / 3)]!) / 2);
const times = (matrix: Float64Array, x: Float64Array) =>
  Float64Array.from([0, 1, 2], (row) => x.reduce((total, v, k) => total + matrix[3 * row + k]! * v, 0));
const quadratic = (matrix: Tensor, linear: Tensor) => (x: Tensor) => {
  const column = reshape(x, [3, 1]);
  const form = matmul(column, matmul(matrix, column), { transposeA: true });
  return add(mul(reshape(form, []), 0.5), sum(mul(linear, x)));
};
const types = { A: float64(3, 3), b: float64(3), x: float64(3), v: float64(3) };
const at = { A, b, x: f64(0.3, -1.2, 2), v: f64(1, 0.5, -2) };

test('the gradient of ½xᵀAx + bᵀx is ½(A + Aᵀ)x + b', () => {
  const graph = trace(types, ({ A, b, x }) => valueAndGrad(quadratic(A, b))(x));
  const { value, gradient } = evaluate(graph, at);
  const Ax = times(symmetric, at.x);
  const expected = at.x.reduce((total, x, i) => total + x * (Ax[i]! / 2 + b[i]!), 0);
  assertClose(value, f64(expected), 1e-15, 'value');
  assertClose(
    gradient,
    Ax.map((y, i) => y + b[i]!),
    1e-15,
    'gradient',
  );
});

test('the Hessian-vector product of ½xᵀAx + bᵀx is ½(A + Aᵀ)v', () => {
  const graph = trace(types, ({ A, b, x, v }) => ({
    product: grad((x: Tensor) => sum(mul(grad(quadratic(A, b))(x), v)))(x),
  }));
  assertClose(evaluate(graph, at).product, times(symmetric, at.v), 1e-15, 'Hv');
});

test('derivatives of x⁴ to the fourth: 4x³, 12x², 24x, 24', () => {
  const x = 1.5;
  for (const power of [(x: Tensor) => pow(x, 4), (x: Tensor) => mul(mul(x, x), mul(x, x))]) {
    const first = grad(power);
    const second = grad(first);
    const third = grad(second);
    const graph = trace({ x: float64() }, ({ x }) => ({
      first: first(x),
      second: second(x),
      third: third(x),
      fourth: grad(third)(x),
    }));
    const found = evaluate(graph, { x: f64(x) });
    const expected = {
      first: f64(4 * x ** 3),
      second: f64(12 * x ** 2),
      third: f64(24 * x),
      fourth: f64(24),
    };
    assert.deepEqual(found, expected);
  }
});

test('what stopGradient wraps counts as constant, at every order', () => {
  const graph = trace({ x: float64() }, ({ x }) => {
    const product = (x: Tensor) => mul(x, stopGradient(mul(x, x))); // x·c with c = x²
    return { value: product(x), first: grad(product)(x), second: grad(grad(product))(x) };
  });
  assert.deepEqual(evaluate(graph, { x: f64(3) }), { value: f64(27), first: f64(9), second: f64(0) });
});

test('what a function uses besides its argument counts as constant', () => {
  const graph = trace({ x: float64() }, ({ x }) => {
    const square = mul(x, x);
    return {
      outside: grad((y: Tensor) => mul(y, square))(x), // x² although y is x
      inside: grad((y: Tensor) => mul(y, mul(y, y)))(x),
      // d/dx x·(d/dy xy at y = 1) = d/dx x·x: the inner gradient is part of the outer function
      nested: grad((x: Tensor) => mul(x, grad((y: Tensor) => mul(x, y))(scalar(1, 'float64'))))(x),
    };
  });
  assert.deepEqual(evaluate(graph, { x: f64(3) }), { outside: f64(9), inside: f64(27), nested: f64(6) });
});

test('a record is differentiated by each of its entries', () => {
  const graph = trace({ a: float64(2), b: float64(2) }, ({ a, b }) =>
    grad((p: { a: Tensor; b: Tensor }) => sum(mul(mul(p.a, p.a), p.b)))({ a, b }),
  );
  const gradient = evaluate(graph, { a: f64(2, 3), b: f64(5, 7) });
  assert.deepEqual(gradient, { a: f64(20, 42), b: f64(4, 9) }); // 2ab and a²
});

test('a variable that is not used has a gradient of zeros of its type', () => {
  const graph = trace({ a: float64(2), b: float32(3) }, ({ a, b }) =>
    grad((p: { a: Tensor; b: Tensor }) => sum(p.a))({ a, b }),
  );
  assert.deepEqual(evaluate(graph, { a: f64(2, 3), b: Float32Array.of(1, 2, 3) }), {
    a: f64(1, 1),
    b: new Float32Array(3),
  });
});

test('the same tensor given under two names has a gradient for each', () => {
  const graph = trace({ x: float64() }, ({ x }) =>
    grad((p: { left: Tensor; right: Tensor }) => mul(p.left, mul(p.right, p.right)))({ left: x, right: x }),
  );
  assert.deepEqual(evaluate(graph, { x: f64(3) }), { left: f64(9), right: f64(18) });
});

test('gradients pass between float dtypes', () => {
  const graph = trace({ x: float32() }, ({ x }) => ({
    gradient: grad((x: Tensor) => mul(cast(x, 'float64'), cast(x, 'float64')))(x),
  }));
  assert.deepEqual(evaluate(graph, { x: Float32Array.of(3) }), { gradient: Float32Array.of(6) });
});

test('the gradient of √x at 0 is taken as 0', () => {
  const graph = trace({ x: float64(2) }, ({ x }) => ({ gradient: grad((x: Tensor) => sum(sqrt(x)))(x) }));
  assert.deepEqual(evaluate(graph, { x: f64(0, 4) }), { gradient: f64(0, 0.25) });
});

test('the second derivative through √x at 0 is taken as 0, too', () => {
  const graph = trace({ x: float64(2), w: float64(2) }, ({ x, w }) => {
    const slope = (at: Tensor) => grad((y: Tensor) => sum(mul(sqrt(y), at)))(x);
    return { mixed: grad((at: Tensor) => sum(slope(at)))(w) };
  });
  assertClose(evaluate(graph, { x: f64(0, 4), w: f64(1, 1) }).mixed, f64(0, 0.25), 1e-15, 'mixed');
});

test('a power of 0 is 1 everywhere', () => {
  const graph = trace({ x: float64(3) }, ({ x }) => ({ y: pow(x, 0) }));
  const { y } = evaluate(graph, { x: f64(0, Number.POSITIVE_INFINITY, -2) });
  assert.deepEqual([...y], [1, 1, 1]);
});

test('the gradient of a flat vector cut into leaves is one concat', () => {
  const graph = trace({ flat: float32(11), x: float32(4, 2) }, ({ flat, x }) => ({
    gradient: grad((flat: Tensor) => {
      const w = reshape(slice(flat, [0], [6]), [2, 3]);
      const bias = slice(flat, [6], [3]); // the last two are not used
      return sum(tanh(add(matmul(x, w), bias)));
    })(flat),
  }));
  const lines = printGraph(simplify(graph)).split('\n');
  const count = (operator: string) => lines.filter((line) => line.includes(`= ${operator}(`)).length;
  assert.equal(count('concat'), 1);
  assert.equal(count('pad'), 0);
  assert.equal(count('add'), 1); // of the bias
  assert.match(lines.at(-2)!, /^ {2}(%\d+) = concat\(%\d+, %\d+, %\d+, axis 0\) +float32\[11\]$/);
});

test('leaves that overlap or lie along different axes are added up', () => {
  const sumOfSlices = (...windows: [number[], number[]][]) =>
    grad((x: Tensor) =>
      windows.map(([starts, sizes]) => sum(slice(x, starts, sizes))).reduce((a, b) => add(a, b)),
    );
  const upper: [number[], number[]] = [
    [0, 0],
    [2, 3],
  ]; // the windows of a 3×3 matrix
  const lower: [number[], number[]] = [
    [1, 0],
    [2, 3],
  ];
  const right: [number[], number[]] = [
    [0, 2],
    [3, 1],
  ];
  const corner: [number[], number[]] = [
    [0, 0],
    [1, 1],
  ];
  const graph = trace({ x: float64(3, 3) }, ({ x }) => ({
    overlap: sumOfSlices(upper, lower)(x),
    cross: sumOfSlices(right, upper)(x),
    all: sumOfSlices(upper, right, lower, corner, [
      [2, 0],
      [1, 3],
    ])(x),
  }));
  assert.deepEqual(evaluate(graph, { x: new Float64Array(9) }), {
    overlap: f64(1, 1, 1, 2, 2, 2, 1, 1, 1),
    cross: f64(1, 1, 2, 1, 1, 2, 0, 0, 1),
    all: f64(2, 1, 2, 2, 2, 3, 2, 2, 3),
  });
});

test('graphs of tens of thousands of operations do not overflow the stack', () => {
  const depth = 20_000;
  const graph = trace({ x: float64() }, ({ x }) => ({
    gradient: grad((x: Tensor) => {
      let y = x;
      for (let i = 0; i < depth; i++) y = i % 2 === 0 ? exp(y) : log(y);
      return y;
    })(x),
  }));
  assert.ok(nodesOf([graph.outputs.gradient]).length > depth);
  const simple = simplify(graph);
  assert.ok(printGraph(simple).split('\n').length > depth);
  assert.ok(lowerProgram(graph, { provider: 'cpu' }).model.length > depth);
  const { gradient } = evaluate(simple, { x: f64(0.7) });
  assertClose(gradient, f64(1), 1e-9, 'gradient');
});
