/**
 * What an operator has to fulfil, as a program. A case is an expression on a few small inputs; its program
 * computes the value y, the scalar `value` = Σ weights·y and its gradient, and the scalar `slope`, as random
 * a combination of that gradient, and its gradient.
 */
import assert from 'node:assert/strict';
import { Random } from '../../src/data/random.ts';
import {
  add,
  cast,
  type DType,
  evaluate,
  type Graph,
  grad,
  mul,
  type Shape,
  size,
  sum,
  type Tensor,
  type TensorType,
  type TypedArray,
  trace,
} from '../../src/graph/index.ts';
import { arrayOf } from '../../src/graph/type.ts';

/** The dtype a case is run in: that of all its float inputs. */
export type Float = 'float32' | 'float64';

/** One input of a case. */
export interface Source {
  readonly kind: 'real' | 'positive' | 'integers' | 'bools';
  readonly shape: Shape;
  readonly values?: readonly number[];
}

/** Floats of both signs. */
export const real = (...shape: number[]): Source => ({ kind: 'real', shape });
export const positive = (...shape: number[]): Source => ({ kind: 'positive', shape });
/** Given int32 values, [n] unless a shape follows. */
export const integers = (values: readonly number[], ...shape: number[]): Source => ({
  kind: 'integers',
  values,
  shape: shape.length === 0 ? [values.length] : shape,
});
export const bools = (...shape: number[]): Source => ({ kind: 'bools', shape });

export interface Case {
  readonly about: string;
  readonly inputs: readonly Source[];
  readonly apply: (...inputs: Tensor[]) => Tensor;
  /** Shape of the value, worked out by hand. */
  readonly shape: Shape;
  /** Dtype of the value. @default the one of the float inputs */
  readonly dtype?: DType | ((float: Float) => DType);
  /** True where the gradient is zero by definition, whatever the differences say. @default false */
  readonly stopped?: boolean;
}

export type CaseGraph = Graph<string, string>;

const isReal = ({ kind }: Source): boolean => kind === 'real' || kind === 'positive';

/** The dtypes to run a case in: both where floats go in. */
export function floatsOf({ inputs }: Case): readonly Float[] {
  return inputs.some(isReal) ? ['float64', 'float32'] : ['float32'];
}

export function expectedType({ shape, dtype }: Case, float: Float): TensorType {
  return { dtype: typeof dtype === 'function' ? dtype(float) : (dtype ?? float), shape };
}

const nameOf = (_: Source, i: number): string => `x${i}`;

/** Names of the inputs a case can be differentiated by. */
export function variablesOf({ inputs }: Case): string[] {
  return inputs.flatMap((source, i) => (isReal(source) ? [nameOf(source, i)] : []));
}

function inputTypes({ inputs, shape }: Case, float: Float): Record<string, TensorType> {
  const types: Record<string, TensorType> = {};
  inputs.forEach((source, i) => {
    const dtype = source.kind === 'integers' ? 'int32' : source.kind === 'bools' ? 'bool' : float;
    types[nameOf(source, i)] = { dtype, shape: source.shape };
    if (isReal(source)) types[`weights ${nameOf(source, i)}`] = { dtype: float, shape: source.shape };
  });
  return inputs.some(isReal) ? { ...types, weights: { dtype: float, shape } } : types;
}

/** The program of a case: y, value, slope, `first x0`, … and `second x0`, …; y alone where no floats go in. */
export function caseGraph(one: Case, float: Float): CaseGraph {
  const variables = variablesOf(one);
  return trace(inputTypes(one, float), (given): Record<string, Tensor> => {
    const apply = (at: Readonly<Record<string, Tensor>>) =>
      one.apply(...one.inputs.map((source, i) => ({ ...given, ...at })[nameOf(source, i)]!));
    const y = apply({});
    if (variables.length === 0) return { y };
    const valueAt = (at: Readonly<Record<string, Tensor>>) =>
      sum(mul(cast(apply(at), float), given.weights!));
    const slopeAt = (at: Readonly<Record<string, Tensor>>) => {
      const gradient = grad(valueAt)(at);
      return variables
        .map((name) => sum(mul(gradient[name]!, given[`weights ${name}`]!)))
        .reduce((a, b) => add(a, b));
    };
    const at = Object.fromEntries(variables.map((name) => [name, given[name]!]));
    const first = grad(valueAt)(at);
    const second = grad(slopeAt)(at);
    const gradients = variables.flatMap((name): [string, Tensor][] => [
      [`first ${name}`, first[name]!],
      [`second ${name}`, second[name]!],
    ]);
    return { y, value: valueAt(at), slope: slopeAt(at), ...Object.fromEntries(gradients) };
  });
}

/** The difference step. Inputs are multiples of it, so they and their neighbours are exact in float32 too. */
const step = 2 ** -13;

/**
 * Inputs of a case's program. Floats are 0.5 … 2 in size and all of them differ by far more than the
 * difference step: no two operands tie and none is near zero.
 */
export function caseInputs(one: Case, float: Float): Record<string, TypedArray> {
  const random = Random.stream(7, one.about);
  const floats = one.inputs.filter(isReal);
  const count = floats.reduce((total, { shape }) => total + size(shape), 0);
  const levels = random.shuffle(Array.from({ length: count }, (_, i) => (i + 0.5) / count));
  const values: Record<string, TypedArray> = {};
  for (const [name, { dtype, shape }] of Object.entries(inputTypes(one, float))) {
    const source = one.inputs[Number(name.slice(1))];
    const draw = (i: number): number => {
      if (source === undefined) return Math.fround(random.uniform(-1, 1)); // weights
      if (source.kind === 'integers') return source.values![i]!;
      if (source.kind === 'bools') return random.integer(2);
      const sign = source.kind === 'real' ? 2 * random.integer(2) - 1 : 1;
      return sign * step * Math.round((0.5 + 1.5 * levels.pop()!) / step);
    };
    values[name] = arrayOf(dtype, size(shape)).map((_, i) => draw(i));
  }
  return values;
}

/** The gradients of `value` and `slope` by the float64 input `name`, by central differences. */
export function centralDifferences(graph: CaseGraph, inputs: Record<string, TypedArray>, name: string) {
  const { value, slope } = graph.outputs;
  const scalars: Graph<string, 'value' | 'slope'> = {
    inputs: graph.inputs,
    outputs: { value: value!, slope: slope! },
  };
  const at = (i: number, change: number) => {
    const data = inputs[name]!.slice();
    data[i] = data[i]! + change;
    return evaluate(scalars, { ...inputs, [name]: data });
  };
  const first = new Float64Array(inputs[name]!.length);
  const second = new Float64Array(inputs[name]!.length);
  for (let i = 0; i < first.length; i++) {
    const [above, below] = [at(i, step), at(i, -step)];
    first[i] = (above.value[0]! - below.value[0]!) / (2 * step);
    second[i] = (above.slope[0]! - below.slope[0]!) / (2 * step);
  }
  return { first, second };
}

/** Equal type and length, and equal elements but for `tolerance` times the larger of 1 and the largest. */
export function assertClose(actual: TypedArray, expected: TypedArray, tolerance: number, what: string): void {
  assert.equal(actual.constructor, expected.constructor, `${what}: element type`);
  assert.equal(actual.length, expected.length, `${what}: length`);
  const largest = Math.max(1, ...expected.map(Math.abs));
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!) / largest;
    // Equal infinities differ by NaN.
    const fits = error <= tolerance || Object.is(actual[i], expected[i]);
    assert.ok(fits, `${what}[${i}]: got ${actual[i]}, expected ${expected[i]}`);
  }
}
