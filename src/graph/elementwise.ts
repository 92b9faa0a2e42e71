/**
 * Elementwise operators: arithmetic, functions, comparisons, logic, select. Operands broadcast as in
 * NumPy, aligned at their last axes; a plain number stands for a scalar of the other operand's dtype.
 */
import { ShapeError } from '../errors.ts';
import { requireFloat, sumTo } from './reductions.ts';
import { broadcastTo } from './shaping.ts';
import { apply, constant, type Operator, type Rules, type RulesOf, type Tensor } from './tensor.ts';
import {
  arrayOf,
  broadcastShapes,
  type DType,
  formatType,
  isFloat,
  type Shape,
  sameShape,
  type TensorType,
} from './type.ts';

/** A tensor, or a number to be taken as a scalar of the other operand's dtype. */
export type Operand = Tensor | number;

/** A constant scalar. @throws {ShapeError} when a dtype without fractions is to hold one. */
export function scalar(value: number, dtype: DType = 'float32'): Tensor {
  if (!isFloat(dtype) && !Number.isInteger(value)) {
    throw new ShapeError(`scalar: ${value} is no ${dtype}: cast the other operand to float32`);
  }
  const data = arrayOf(dtype, 1);
  data[0] = value;
  return constant({ dtype, shape: [] }, data);
}

function operands(a: Operand, b: Operand): [Tensor, Tensor] {
  if (typeof a === 'number') {
    return typeof b === 'number' ? [scalar(a), scalar(b)] : [scalar(a, b.dtype), b];
  }
  return [a, typeof b === 'number' ? scalar(b, a.dtype) : b];
}

/** The result shape of operands that broadcast. */
function broadcast(where: string, inputs: readonly TensorType[]): Shape {
  let shape: Shape = [];
  for (const { shape: next } of inputs) {
    const joint = broadcastShapes(shape, next);
    if (joint === undefined) {
      throw new ShapeError(
        `${where}: shapes do not broadcast, got ${inputs.map(formatType).join(' and ')}: ` +
          'aligned at the last axis, lengths must be equal or 1',
      );
    }
    shape = joint;
  }
  return shape;
}

function requireSameDtype(where: string, inputs: readonly TensorType[]): DType {
  const { dtype } = inputs[0]!;
  if (inputs.some((other) => other.dtype !== dtype)) {
    throw new ShapeError(
      `${where}: dtypes differ, got ${inputs.map(formatType).join(' and ')}: cast one of them`,
    );
  }
  return dtype;
}

function requireNumbers(where: string, inputs: readonly TensorType[]): void {
  if (inputs.some(({ dtype }) => dtype === 'bool')) {
    throw new ShapeError(
      `${where}: expected numbers, got ${inputs.map(formatType).join(' and ')}: cast them first`,
    );
  }
}

/** For each element of `out`, which element of a broadcast `shape` it reads. */
function broadcastReader(shape: Shape, out: Shape): (index: number) => number {
  if (sameShape(shape, out)) return (index) => index;
  const lead = out.length - shape.length;
  return (index) => {
    let source = 0;
    let stride = 1;
    let rest = index;
    for (let axis = out.length - 1; axis >= lead; axis--) {
      const length = out[axis]!;
      const own = shape[axis - lead]!;
      if (own !== 1) source += (rest % length) * stride;
      stride *= own;
      rest = Math.floor(rest / length);
    }
    return source;
  };
}

function evaluateWith(compute: (...elements: number[]) => number): Rules<Operator>['evaluate'] {
  return (inputs, _, out) => {
    const readers = inputs.map((value) => broadcastReader(value.shape, out.shape));
    const elements = new Array<number>(inputs.length);
    for (let i = 0; i < out.data.length; i++) {
      for (let k = 0; k < inputs.length; k++) elements[k] = inputs[k]!.data[readers[k]!(i)]!;
      out.data[i] = compute(...elements);
    }
  };
}

/** A function of one float: `derivative(x, y)` is dy/dx. */
function unary<K extends Operator>(
  name: K,
  compute: (x: number) => number,
  derivative: (cotangent: Tensor, x: Tensor, y: Tensor) => Tensor | undefined,
): Rules<K> {
  return {
    infer([x]) {
      requireFloat(name, x!);
      return x!;
    },
    gradient: (node, cotangent) => [derivative(cotangent, node.inputs[0]!, node)],
    evaluate: evaluateWith(compute),
  };
}

/**
 * Arithmetic on two operands; `partials` gives both cotangents before they are summed to shape, or the first alone
 * where both operands are the same.
 */
function binary<K extends Operator>(
  name: K,
  compute: (a: number, b: number) => number,
  partials: (cotangent: Tensor, a: Tensor, b: Tensor, y: Tensor) => readonly [Tensor, Tensor | undefined],
): Rules<K> {
  return {
    infer(inputs) {
      requireNumbers(name, inputs);
      return { dtype: requireSameDtype(name, inputs), shape: broadcast(name, inputs) };
    },
    gradient(node, cotangent) {
      const [a, b] = node.inputs as [Tensor, Tensor];
      const [da, db] = partials(cotangent, a, b, node);
      return [sumTo(da, a.shape), db && sumTo(db, b.shape)];
    },
    evaluate: evaluateWith(compute),
  };
}

/** The product of two elements: whole numbers keep their low bits, as in 32-bit registers. */
export function productOf(dtype: DType): (a: number, b: number) => number {
  return dtype === 'int32' ? Math.imul : (a, b) => a * b;
}

/** A comparison or a logical operator: bools out, no gradient. */
function predicate<K extends Operator>(
  name: K,
  compute: (a: number, b: number) => boolean,
  operands: 'any' | 'numbers' | 'bools' = 'numbers',
): Rules<K> {
  return {
    infer(inputs) {
      if (operands === 'numbers') requireNumbers(name, inputs);
      const dtype = requireSameDtype(name, inputs);
      if (operands === 'bools' && dtype !== 'bool') {
        throw new ShapeError(`${name}: expected bools, got ${inputs.map(formatType).join(' and ')}`);
      }
      return { dtype: 'bool', shape: broadcast(name, inputs) };
    },
    gradient: (node) => node.inputs.map(() => undefined),
    evaluate: evaluateWith((a, b) => (compute(a!, b!) ? 1 : 0)),
  };
}

/** Passes its input on under the same type. */
function passThrough<K extends Operator>(gradient: (cotangent: Tensor) => Tensor | undefined): Rules<K> {
  return {
    infer: ([x]) => x!,
    gradient: (_, cotangent) => [gradient(cotangent)],
    evaluate: ([x], _, out) => out.data.set(x!.data),
  };
}

type Elementwise =
  | ('neg' | 'exp' | 'log' | 'sqrt' | 'sin' | 'cos' | 'tanh' | 'sigmoid' | 'relu' | 'step' | 'abs' | 'sign')
  | ('add' | 'sub' | 'mul' | 'div' | 'pow' | 'maximum' | 'minimum')
  | ('equal' | 'less' | 'greater' | 'lessEqual' | 'greaterEqual' | 'and' | 'or' | 'not')
  | ('select' | 'cast' | 'identity' | 'stopGradient');

export const elementwise: RulesOf<Elementwise> = {
  neg: unary('neg', (x) => -x, neg),
  exp: unary('exp', Math.exp, mulThird),
  log: unary('log', Math.log, div),
  // 0 at x = 0, where the derivative is infinite, and so are derivatives of it: Adam meets 0 · ∞ there.
  sqrt: unary('sqrt', Math.sqrt, (g, _, y) => {
    const positive = greater(y, 0);
    return mul(select(positive, div(g, select(positive, y, 1)), 0), 0.5);
  }),
  sin: unary('sin', Math.sin, (g, x) => mul(g, cos(x))),
  cos: unary('cos', Math.cos, (g, x) => neg(mul(g, sin(x)))),
  tanh: unary('tanh', Math.tanh, (g, _, y) => mul(g, sub(1, mul(y, y)))),
  sigmoid: unary('sigmoid', logistic, (g, _, y) => mul(g, mul(y, sub(1, y)))),
  relu: unary(
    'relu',
    (x) => Math.max(x, 0),
    (g, _, y) => mul(g, step(y)),
  ),
  step: unary(
    'step',
    (x) => Number(x > 0),
    () => undefined,
  ),
  abs: unary('abs', Math.abs, (g, x) => mul(g, sign(x))),
  sign: unary('sign', Math.sign, () => undefined),

  add: binary(
    'add',
    (a, b) => a + b,
    (g) => [g, g],
  ),
  sub: binary(
    'sub',
    (a, b) => a - b,
    (g) => [g, neg(g)],
  ),
  mul: {
    ...binary(
      'mul',
      (a, b) => a * b,
      (g, a, b) => (a === b ? [mul(mul(g, 2), a), undefined] : [mul(g, b), mul(g, a)]),
    ),
    evaluate: (inputs, attributes, out) => evaluateWith(productOf(out.dtype))(inputs, attributes, out),
  },
  div: binary(
    'div',
    (a, b) => a / b,
    (g, _, b, y) => [div(g, b), neg(mul(div(g, b), y))],
  ),
  maximum: binary('maximum', Math.max, (g, a, b) => {
    const second = mul(g, step(sub(b, a))); // a tie goes to the first operand
    return [sub(g, second), second];
  }),
  minimum: binary('minimum', Math.min, (g, a, b) => {
    const second = mul(g, step(sub(a, b)));
    return [sub(g, second), second];
  }),
  pow: {
    infer([x]) {
      requireFloat('pow', x!);
      return x!;
    },
    gradient(node, g) {
      const { exponent } = node.attributes;
      return [mul(g, mul(pow(node.inputs[0]!, exponent - 1), exponent))];
    },
    evaluate: ([x], { exponent }, out) => evaluateWith((element) => element! ** exponent)([x!], {}, out),
  },

  equal: predicate('equal', (a, b) => a === b, 'any'),
  less: predicate('less', (a, b) => a < b),
  greater: predicate('greater', (a, b) => a > b),
  lessEqual: predicate('lessEqual', (a, b) => a <= b),
  greaterEqual: predicate('greaterEqual', (a, b) => a >= b),
  and: predicate('and', (a, b) => a === 1 && b === 1, 'bools'),
  or: predicate('or', (a, b) => a === 1 || b === 1, 'bools'),
  not: predicate('not', (a) => a === 0, 'bools'),

  select: {
    infer(inputs) {
      const [condition, ...branches] = inputs as [TensorType, TensorType, TensorType];
      if (condition.dtype !== 'bool') {
        throw new ShapeError(
          `select: expected a bool condition, got ${formatType(condition)}: compare it first`,
        );
      }
      return { dtype: requireSameDtype('select', branches), shape: broadcast('select', inputs) };
    },
    gradient(node, g) {
      const [condition, a, b] = node.inputs as [Tensor, Tensor, Tensor];
      return [undefined, sumTo(select(condition, g, 0), a.shape), sumTo(select(condition, 0, g), b.shape)];
    },
    evaluate: evaluateWith((condition, a, b) => (condition === 1 ? a! : b!)),
  },
  cast: {
    infer: ([x], { dtype }) => ({ dtype, shape: x!.shape }),
    gradient(node, g) {
      const from = node.inputs[0]!.dtype;
      return [isFloat(from) && isFloat(node.dtype) ? cast(g, from) : undefined];
    },
    evaluate([x], { dtype }, out) {
      for (let i = 0; i < out.data.length; i++) {
        out.data[i] = dtype === 'bool' ? Number(x!.data[i] !== 0) : x!.data[i]!;
      }
    },
  },
  identity: passThrough((g) => g),
  stopGradient: passThrough(() => undefined),
};

function mulThird(g: Tensor, _: Tensor, y: Tensor): Tensor {
  return mul(g, y);
}

function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** −x. */
export function neg(x: Tensor): Tensor {
  return apply('neg', elementwise.neg, [x], {});
}

export function exp(x: Tensor): Tensor {
  return apply('exp', elementwise.exp, [x], {});
}

/** Natural logarithm. */
export function log(x: Tensor): Tensor {
  return apply('log', elementwise.log, [x], {});
}

/** Square root; its gradient at 0 is taken as 0. */
export function sqrt(x: Tensor): Tensor {
  return apply('sqrt', elementwise.sqrt, [x], {});
}

export function sin(x: Tensor): Tensor {
  return apply('sin', elementwise.sin, [x], {});
}

export function cos(x: Tensor): Tensor {
  return apply('cos', elementwise.cos, [x], {});
}

export function tanh(x: Tensor): Tensor {
  return apply('tanh', elementwise.tanh, [x], {});
}

/** 1 / (1 + e^−x). */
export function sigmoid(x: Tensor): Tensor {
  return apply('sigmoid', elementwise.sigmoid, [x], {});
}

/** max(x, 0); its gradient at 0 is 0. */
export function relu(x: Tensor): Tensor {
  return apply('relu', elementwise.relu, [x], {});
}

/** 1 where x > 0, 0 elsewhere: the derivative of `relu`. */
export function step(x: Tensor): Tensor {
  return apply('step', elementwise.step, [x], {});
}

export function abs(x: Tensor): Tensor {
  return apply('abs', elementwise.abs, [x], {});
}

/** −1, 0 or 1. */
export function sign(x: Tensor): Tensor {
  return apply('sign', elementwise.sign, [x], {});
}

/** a + b; operands broadcast as in NumPy, aligned at their last axes. */
export function add(a: Operand, b: Operand): Tensor {
  return apply('add', elementwise.add, operands(a, b), {});
}

/** a − b; operands broadcast as those of `add`. */
export function sub(a: Operand, b: Operand): Tensor {
  return apply('sub', elementwise.sub, operands(a, b), {});
}

/** a · b, element by element; operands broadcast as those of `add`. */
export function mul(a: Operand, b: Operand): Tensor {
  return apply('mul', elementwise.mul, operands(a, b), {});
}

/** a / b; operands broadcast as those of `add`; int32 are cut towards 0. */
export function div(a: Operand, b: Operand): Tensor {
  return apply('div', elementwise.div, operands(a, b), {});
}

/** The larger of two; a tie's gradient goes to `a`. */
export function maximum(a: Operand, b: Operand): Tensor {
  return apply('maximum', elementwise.maximum, operands(a, b), {});
}

/** The smaller of two; a tie's gradient goes to `a`. */
export function minimum(a: Operand, b: Operand): Tensor {
  return apply('minimum', elementwise.minimum, operands(a, b), {});
}

/** x to a constant power. */
export function pow(x: Tensor, exponent: number): Tensor {
  if (exponent === 0) return broadcastTo(scalar(1, x.dtype), x.shape);
  if (exponent === 1) return x;
  if (exponent === 2) return mul(x, x);
  return apply('pow', elementwise.pow, [x], { exponent });
}

/** bool: a = b; operands broadcast as those of `add`. */
export function equal(a: Operand, b: Operand): Tensor {
  return apply('equal', elementwise.equal, operands(a, b), {});
}

/** bool: a < b. */
export function less(a: Operand, b: Operand): Tensor {
  return apply('less', elementwise.less, operands(a, b), {});
}

/** bool: a > b. */
export function greater(a: Operand, b: Operand): Tensor {
  return apply('greater', elementwise.greater, operands(a, b), {});
}

/** bool: a ≤ b. */
export function lessEqual(a: Operand, b: Operand): Tensor {
  return apply('lessEqual', elementwise.lessEqual, operands(a, b), {});
}

/** bool: a ≥ b. */
export function greaterEqual(a: Operand, b: Operand): Tensor {
  return apply('greaterEqual', elementwise.greaterEqual, operands(a, b), {});
}

/** Both, of bools. */
export function and(a: Tensor, b: Tensor): Tensor {
  return apply('and', elementwise.and, [a, b], {});
}

/** Either or both, of bools. */
export function or(a: Tensor, b: Tensor): Tensor {
  return apply('or', elementwise.or, [a, b], {});
}

/** The opposite of a bool. */
export function not(x: Tensor): Tensor {
  return apply('not', elementwise.not, [x], {});
}

/** `a` where `condition` holds, `b` elsewhere. */
export function select(condition: Tensor, a: Operand, b: Operand): Tensor {
  return apply('select', elementwise.select, [condition, ...operands(a, b)], {});
}

/** Another dtype. Floats become integers by truncation, bools by 0 and 1; non-zero becomes true. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : apply('cast', elementwise.cast, [x], { dtype });
}

/** x itself, as a node of its own. */
export function identity(x: Tensor): Tensor {
  return apply('identity', elementwise.identity, [x], {});
}

/** x, taken as a constant by `grad`. FOMAML is MAML with this around the inner gradients. */
export function stopGradient(x: Tensor): Tensor {
  return apply('stopGradient', elementwise.stopGradient, [x], {});
}
