/** The one table from elementwise operators to C: the value of one element, from those of its operands. */
import type { Operator, Tensor } from '../graph/tensor.ts';
import { type DType, isFloat } from '../graph/type.ts';

/** What C calls the elements of a dtype. */
export const typeNames: Readonly<Record<DType, string>> = {
  float32: 'float',
  float64: 'double',
  int32: 'int',
  bool: 'unsigned char',
};

type Expression<K extends Operator> = (node: Tensor<K>, operands: readonly string[]) => string;

/** A function of the C library by its name for doubles. */
const library =
  (name: string): Expression<Operator> =>
  ({ dtype }, [x]) =>
    `__builtin_${name}${dtype === 'float32' ? 'f' : ''}(${x})`;

/** One of ours for floats, which a compiler can compute several of at once (prelude.ts); the library's for doubles. */
const own =
  (name: string, double: (x: string) => string): Expression<Operator> =>
  ({ dtype }, [x]) =>
    dtype === 'float32' ? `${name}32(${x})` : double(x!);

/** Arithmetic; of whole numbers on unsigned ones, whose overflow is defined. */
const arithmetic =
  (sign: string): Expression<Operator> =>
  ({ dtype }, [a, b]) =>
    dtype === 'int32' ? `(int)((unsigned)${a} ${sign} (unsigned)${b})` : `${a} ${sign} ${b}`;

const infix =
  (sign: string): Expression<Operator> =>
  (_, [a, b]) =>
    `${a} ${sign} ${b}`;

const expressions = {
  neg: ({ dtype }, [x]) => (dtype === 'int32' ? `(int)(0u - (unsigned)${x})` : `-${x}`),
  exp: own('exp', (x) => `__builtin_exp(${x})`),
  log: library('log'),
  sqrt: library('sqrt'),
  sin: library('sin'),
  cos: library('cos'),
  tanh: own('tanh', (x) => `__builtin_tanh(${x})`),
  sigmoid: own('sigmoid', (x) => `1.0 / (1.0 + __builtin_exp(-${x}))`),
  // Comparisons are so that what is no number stays none.
  relu: (_, [x]) => `${x} < 0 ? 0 : ${x}`,
  step: (_, [x]) => `${x} > 0 ? 1 : 0`,
  abs: library('fabs'),
  sign: (_, [x]) => `${x} > 0 ? 1 : ${x} < 0 ? -1 : ${x}`,
  add: arithmetic('+'),
  sub: arithmetic('-'),
  mul: arithmetic('*'),
  div: ({ dtype }, [a, b]) =>
    dtype === 'int32'
      ? `${b} == 0 ? 0 : ${b} == -1 ? (int)(0u - (unsigned)${a}) : ${a} / ${b}`
      : `${a} / ${b}`,
  pow: (node, [x]) =>
    node.dtype === 'float32'
      ? `__builtin_powf(${x}, ${literal(node.attributes.exponent, 'float32')})`
      : `__builtin_pow(${x}, ${literal(node.attributes.exponent, 'float64')})`,
  maximum: (_, [a, b]) => `${a} < ${b} || ${b} != ${b} ? ${b} : ${a}`,
  minimum: (_, [a, b]) => `${a} > ${b} || ${b} != ${b} ? ${b} : ${a}`,
  equal: infix('=='),
  less: infix('<'),
  greater: infix('>'),
  lessEqual: infix('<='),
  greaterEqual: infix('>='),
  and: infix('&'),
  or: infix('|'),
  not: (_, [x]) => `!${x}`,
  select: (_, [condition, a, b]) => `${condition} ? ${a} : ${b}`,
  cast: ({ dtype }, [x]) => (dtype === 'bool' ? `${x} != 0` : `(${typeNames[dtype]})${x}`),
} satisfies { [K in Operator]?: Expression<K> };

/** How an elementwise operator is written, given its operands; undefined for all others. */
export function expressionOf(node: Tensor<Operator>): ((operands: readonly string[]) => string) | undefined {
  const expression = (expressions as Partial<Record<Operator, Expression<Operator>>>)[node.kind];
  return expression && ((operands) => expression(node, operands));
}

/** A number as C writes it, with all its digits. */
export function literal(value: number, dtype: DType): string {
  if (!isFloat(dtype)) return value === -(2 ** 31) ? '(-2147483647 - 1)' : `${value}`;
  if (Number.isNaN(value)) return '__builtin_nanf("")';
  if (!Number.isFinite(value)) return value > 0 ? '__builtin_inff()' : '(-__builtin_inff())';
  const digits = Object.is(value, -0) ? '-0' : String(dtype === 'float32' ? Math.fround(value) : value);
  const text = /[.e]/.test(digits) ? digits : `${digits}.0`;
  const written = dtype === 'float32' ? `${text}f` : text;
  return value < 0 || Object.is(value, -0) ? `(${written})` : written;
}
