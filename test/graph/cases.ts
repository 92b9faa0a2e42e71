/** The cases every operator is tested on. Mapped over all operators: one without cases does not compile. */
import { conv2d } from '../../src/graph/convolution.ts';
import { identity } from '../../src/graph/elementwise.ts';
import {
  abs,
  add,
  and,
  argMax,
  averagePool2d,
  broadcastTo,
  cast,
  concat,
  cos,
  type DType,
  div,
  equal,
  exp,
  gather,
  greater,
  greaterEqual,
  less,
  lessEqual,
  log,
  matmul,
  max,
  maximum,
  maxPool2d,
  mean,
  minimum,
  mul,
  neg,
  not,
  type Operator,
  or,
  pad,
  patches2d,
  pow,
  relu,
  reshape,
  type Shape,
  scatterAdd,
  select,
  sigmoid,
  sign,
  sin,
  slice,
  sqrt,
  stack,
  step,
  stopGradient,
  sub,
  sum,
  type Tensor,
  take,
  tanh,
  transpose,
} from '../../src/graph/index.ts';
import { operators } from '../../src/graph/operators.ts';
import { apply, type OperatorAttributes } from '../../src/graph/tensor.ts';
import { logSoftmax, softmaxCrossEntropy, squaredError } from '../../src/nn/losses.ts';
import { bools, type Case, type Float, integers, positive, real, type Source } from './contract.ts';

/** A function of one float: odd sizes, no axes, many axes. */
function unary(fn: (x: Tensor) => Tensor, source: (...shape: number[]) => Source = real): Case[] {
  return [[3, 5], [], [2, 1, 3, 2]].map((shape) => ({
    about: `[${shape}]`,
    inputs: [source(...shape)],
    apply: fn,
    shape,
  }));
}

/** How two operands may broadcast: a, b and the result. */
const broadcasts: readonly [Shape, Shape, Shape][] = [
  [
    [3, 5],
    [3, 5],
    [3, 5],
  ],
  [[2, 3, 4], [4], [2, 3, 4]],
  [[4], [2, 3, 4], [2, 3, 4]],
  [
    [2, 1, 4],
    [3, 1],
    [2, 3, 4],
  ],
  [[], [2, 3], [2, 3]],
  [[2, 3], [], [2, 3]],
  [[], [], []],
  [[1, 1], [5], [1, 5]],
];

type Binary = (a: Tensor, b: Tensor) => Tensor;

function arithmetic(fn: Binary, source: (...shape: number[]) => Source = real): Case[] {
  return [
    ...broadcasts.map(([a, b, shape]) => ({
      about: `[${a}] with [${b}]`,
      inputs: [source(...a), source(...b)],
      apply: fn,
      shape,
    })),
    {
      about: 'integers',
      inputs: [integers([7, -7, 9, 0, 5, 3], 2, 3), integers([2, 2, -4])],
      apply: fn,
      shape: [2, 3],
      dtype: 'int32',
    },
  ];
}

function comparison(fn: Binary): Case[] {
  return [
    ...broadcasts.map(([a, b, shape]) => ({
      about: `[${a}] with [${b}]`,
      inputs: [real(...a), real(...b)],
      apply: fn,
      shape,
      dtype: 'bool' as const,
    })),
    {
      about: 'ties',
      inputs: [real(4), real(4)],
      apply: (a, b) => fn(sign(a), sign(b)),
      shape: [4],
      dtype: 'bool',
    },
    {
      about: 'integers',
      inputs: [integers([1, 2, 3, 4, 5, 6], 2, 3), integers([1, 5, 3])],
      apply: fn,
      shape: [2, 3],
      dtype: 'bool',
    },
  ];
}

function logic(fn: Binary): Case[] {
  return broadcasts.map(([a, b, shape]) => ({
    about: `[${a}] with [${b}]`,
    inputs: [bools(...a), bools(...b)],
    apply: fn,
    shape,
    dtype: 'bool' as const,
  }));
}

const other = (float: Float): DType => (float === 'float32' ? 'float64' : 'float32');

/** Sizes of a convolution and what comes out. */
interface Convolution {
  /** [N, H, W, C], or with leading axes on both operands. */
  readonly x: Shape;
  /** [kh, kw, C, F] */
  readonly w: Shape;
  readonly strides: readonly [number, number];
  readonly padding: OperatorAttributes['conv2d']['padding'];
  /** [N, H', W', F] */
  readonly y: Shape;
}

const none = [
  [0, 0],
  [0, 0],
] as const;

/**
 * Strides 1, 2, 3; kernels 1, 2, 3, 5; SAME, VALID and lopsided padding; pixels no filter reaches; many
 * channels, whose rows are looked up in another way than short ones.
 */
const convolutions: readonly Convolution[] = [
  { x: [2, 3, 4, 2], w: [1, 1, 2, 3], strides: [1, 1], padding: none, y: [2, 3, 4, 3] },
  { x: [1, 5, 5, 2], w: [1, 1, 2, 2], strides: [2, 2], padding: none, y: [1, 3, 3, 2] },
  { x: [2, 4, 3, 1], w: [2, 2, 1, 2], strides: [1, 1], padding: none, y: [2, 3, 2, 2] },
  {
    x: [2, 5, 4, 2],
    w: [3, 3, 2, 2],
    strides: [1, 1],
    padding: [
      [1, 1],
      [1, 1],
    ],
    y: [2, 5, 4, 2],
  },
  {
    x: [1, 6, 5, 2],
    w: [3, 3, 2, 1],
    strides: [2, 2],
    padding: [
      [0, 1],
      [1, 1],
    ],
    y: [1, 3, 3, 1],
  },
  { x: [1, 7, 8, 1], w: [2, 3, 1, 2], strides: [3, 3], padding: none, y: [1, 2, 2, 2] },
  {
    x: [1, 4, 3, 1],
    w: [5, 5, 1, 2],
    strides: [1, 1],
    padding: [
      [2, 2],
      [2, 2],
    ],
    y: [1, 4, 3, 2],
  },
  {
    x: [1, 5, 6, 2],
    w: [3, 2, 2, 1],
    strides: [2, 1],
    padding: [
      [2, 0],
      [0, 1],
    ],
    y: [1, 3, 6, 1],
  },
  {
    x: [2, 2, 4, 4, 2],
    w: [2, 3, 3, 2, 1],
    strides: [2, 2],
    padding: [
      [0, 1],
      [0, 1],
    ],
    y: [2, 2, 2, 2, 1],
  },
  { x: [2, 1, 1, 2, 3, 1], w: [2, 1, 2, 2, 1, 2], strides: [1, 1], padding: none, y: [2, 1, 1, 1, 2, 2] },
  { x: [2, 3, 2, 16], w: [2, 1, 16, 1], strides: [1, 1], padding: none, y: [2, 2, 2, 1] },
  { x: [2, 3, 2, 1], w: [2, 1, 1, 17], strides: [1, 2], padding: none, y: [2, 2, 1, 17] },
];

function convolution(
  operands: (sizes: Convolution) => readonly [Shape, Shape, Shape],
  fn: (a: Tensor, b: Tensor, sizes: Convolution) => Tensor,
): Case[] {
  return convolutions.map((sizes) => {
    const [a, b, shape] = operands(sizes);
    const about = `[${sizes.x}] by [${sizes.w}] strides ${sizes.strides} padding ${JSON.stringify(sizes.padding)}`;
    return { about, inputs: [real(...a), real(...b)], apply: (x, w) => fn(x, w, sizes), shape };
  });
}

/** conv2d through its options: the padding is worked out from them. */
const convolutionOptions: Case[] = (
  [
    [[2, 5, 4, 2], [3, 3, 2, 3], {}, [2, 5, 4, 3]],
    [[1, 7, 6, 1], [3, 3, 1, 2], { stride: 2 }, [1, 4, 3, 2]],
    [[1, 7, 5, 1], [2, 2, 1, 2], { stride: 3 }, [1, 3, 2, 2]],
    [[1, 7, 6, 1], [5, 5, 1, 1], { stride: 2, padding: 'valid' }, [1, 2, 1, 1]],
    [[2, 3, 4, 4, 2], [3, 3, 2, 1], { stride: 2 }, [2, 3, 2, 2, 1]],
  ] as const
).map(([x, w, options, shape]) => ({
  about: `[${x}] by [${w}] with ${JSON.stringify(options)}`,
  inputs: [real(...x), real(...w)],
  apply: (images, filters) => conv2d(images, filters, options),
  shape,
}));

/** All four pairs of transpose flags, on [m, k] × [k, n] with leading axes. */
function products(lead: Shape, leadA: Shape, leadB: Shape): Case[] {
  return [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB): Case => {
      const a = transposeA ? [...leadA, 3, 2] : [...leadA, 2, 3];
      const b = transposeB ? [...leadB, 5, 3] : [...leadB, 3, 5];
      return {
        about: `[${a}]${transposeA ? 'ᵀ' : ''} × [${b}]${transposeB ? 'ᵀ' : ''}`,
        inputs: [real(...a), real(...b)],
        apply: (x, y) => matmul(x, y, { transposeA, transposeB }),
        shape: [...lead, 2, 5],
      };
    }),
  );
}

/** Reductions of [3, 4, 5]. */
function reduction(fn: typeof sum): Case[] {
  return (
    [
      [undefined, [], [1, 1, 1]],
      [[0], [4, 5], [1, 4, 5]],
      [[1], [3, 5], [3, 1, 5]],
      [[-1], [3, 4], [3, 4, 1]],
      [[0, 2], [4], [1, 4, 1]],
      [[2, 1], [3], [3, 1, 1]],
      [[], [3, 4, 5], [3, 4, 5]],
    ] as const
  ).flatMap(([axes, dropped, kept]) =>
    [false, true].map((keepDims) => ({
      about: `axes ${axes ?? 'all'}${keepDims ? ' kept' : ''}`,
      inputs: [real(3, 4, 5)],
      apply: (x: Tensor) => fn(x, { axes, keepDims }),
      shape: keepDims ? kept : dropped,
    })),
  );
}

export const cases: { readonly [K in Operator]: readonly Case[] } = {
  neg: unary(neg),
  exp: unary(exp),
  log: unary(log, positive),
  sqrt: unary(sqrt, positive),
  sin: unary(sin),
  cos: unary(cos),
  tanh: unary(tanh),
  sigmoid: unary(sigmoid),
  relu: unary(relu),
  step: unary(step),
  abs: unary(abs),
  sign: unary(sign),

  add: arithmetic(add),
  sub: arithmetic(sub),
  mul: arithmetic(mul),
  div: arithmetic(div),
  maximum: arithmetic(maximum),
  minimum: arithmetic(minimum),
  pow: [0.5, 3, -1, 2.5].flatMap((exponent) =>
    unary((x) => pow(x, exponent), positive).map((one) => ({ ...one, about: `${exponent} of ${one.about}` })),
  ),

  equal: [
    ...comparison(equal),
    {
      about: 'bools',
      inputs: [bools(2, 3), bools(3)],
      apply: (a, b) => equal(a, b),
      shape: [2, 3],
      dtype: 'bool',
    },
  ],
  less: comparison(less),
  greater: comparison(greater),
  lessEqual: comparison(lessEqual),
  greaterEqual: comparison(greaterEqual),
  and: logic(and),
  or: logic(or),
  not: [{ about: 'bools', inputs: [bools(3, 5)], apply: not, shape: [3, 5], dtype: 'bool' }],

  select: [
    ...(
      [
        [
          [3, 5],
          [3, 5],
          [3, 5],
          [3, 5],
        ],
        [[3, 1], [5], [3, 5], [3, 5]],
        [[2, 3, 4], [4], [3, 1], [2, 3, 4]],
        [[4], [2, 3, 4], [], [2, 3, 4]],
        [[], [2], [1], [2]],
      ] as const
    ).map(([condition, a, b, shape]) => ({
      about: `[${condition}] ? [${a}] : [${b}]`,
      inputs: [bools(...condition), real(...a), real(...b)],
      apply: (...operands: Tensor[]) => select(operands[0]!, operands[1]!, operands[2]!),
      shape,
    })),
    {
      about: 'a computed condition',
      inputs: [real(3, 4), real(3, 4)],
      apply: (a, b) => select(greater(a, b), mul(a, b), b),
      shape: [3, 4],
    },
    {
      about: 'integers',
      inputs: [bools(2, 3), integers([1, 2, 3])],
      apply: (condition, a) => select(condition, a, 7),
      shape: [2, 3],
      dtype: 'int32',
    },
    {
      about: 'bools',
      inputs: [bools(2, 1), bools(2, 3), bools(3)],
      apply: (...operands: Tensor[]) => select(operands[0]!, operands[1]!, operands[2]!),
      shape: [2, 3],
      dtype: 'bool',
    },
  ],
  cast: [
    {
      about: 'to the other float',
      inputs: [real(3, 5)],
      apply: (x) => cast(x, other(x.dtype as Float)),
      shape: [3, 5],
      dtype: other,
    },
    {
      about: 'floats are cut off',
      inputs: [real(3, 5)],
      apply: (x) => cast(mul(x, 10), 'int32'),
      shape: [3, 5],
      dtype: 'int32',
    },
    {
      about: 'floats to bools',
      inputs: [real(3, 5)],
      apply: (x) => cast(relu(x), 'bool'),
      shape: [3, 5],
      dtype: 'bool',
    },
    {
      about: 'integers to floats',
      inputs: [integers([3, -4])],
      apply: (x) => cast(x, 'float32'),
      shape: [2],
    },
    { about: 'bools to floats', inputs: [bools(5)], apply: (x) => cast(x, 'float32'), shape: [5] },
    {
      about: 'integers to bools',
      inputs: [integers([3, 0, -4])],
      apply: (x) => cast(x, 'bool'),
      shape: [3],
      dtype: 'bool',
    },
    {
      about: 'bools to integers',
      inputs: [bools(5)],
      apply: (x) => cast(x, 'int32'),
      shape: [5],
      dtype: 'int32',
    },
  ],
  identity: [
    ...unary(identity),
    { about: 'integers', inputs: [integers([4, 5])], apply: identity, shape: [2], dtype: 'int32' },
  ],
  stopGradient: unary(stopGradient).map((one) => ({ ...one, stopped: true })),

  reshape: [
    { about: 'joins axes', inputs: [real(3, 4, 5)], apply: (x) => reshape(x, [3, -1]), shape: [3, 20] },
    {
      about: 'splits an axis',
      inputs: [real(12)],
      apply: (x) => reshape(x, [2, 1, -1, 3]),
      shape: [2, 1, 2, 3],
    },
    { about: 'to a scalar', inputs: [real(1, 1)], apply: (x) => reshape(x, []), shape: [] },
    { about: 'from a scalar', inputs: [real()], apply: (x) => reshape(x, [1, -1]), shape: [1, 1] },
    { about: 'no elements', inputs: [real(0, 3)], apply: (x) => reshape(x, [3, 0, 2]), shape: [3, 0, 2] },
    { about: 'bools', inputs: [bools(2, 3)], apply: (x) => reshape(x, [6]), shape: [6], dtype: 'bool' },
  ],
  broadcastTo: [
    { about: 'new axes', inputs: [real(4)], apply: (x) => broadcastTo(x, [2, 3, 4]), shape: [2, 3, 4] },
    {
      about: 'axes of 1',
      inputs: [real(3, 1, 2)],
      apply: (x) => broadcastTo(x, [3, 5, 2]),
      shape: [3, 5, 2],
    },
    { about: 'both', inputs: [real(1, 3)], apply: (x) => broadcastTo(x, [2, 4, 3]), shape: [2, 4, 3] },
    { about: 'a scalar', inputs: [real()], apply: (x) => broadcastTo(x, [2, 3]), shape: [2, 3] },
    {
      about: 'integers',
      inputs: [integers([1, 2])],
      apply: (x) => broadcastTo(x, [3, 2]),
      shape: [3, 2],
      dtype: 'int32',
    },
  ],
  transpose: [
    { about: 'reversed', inputs: [real(2, 3, 4)], apply: (x) => transpose(x), shape: [4, 3, 2] },
    { about: 'a cycle', inputs: [real(2, 3, 4)], apply: (x) => transpose(x, [1, 2, 0]), shape: [3, 4, 2] },
    {
      about: 'negative axes',
      inputs: [real(2, 3, 4)],
      apply: (x) => transpose(x, [0, -1, -2]),
      shape: [2, 4, 3],
    },
    {
      about: 'four axes',
      inputs: [real(2, 1, 3, 2)],
      apply: (x) => transpose(x, [2, 0, 3, 1]),
      shape: [3, 2, 2, 1],
    },
    { about: 'bools', inputs: [bools(2, 3)], apply: (x) => transpose(x), shape: [3, 2], dtype: 'bool' },
  ],
  slice: [
    { about: 'a window', inputs: [real(5, 7)], apply: (x) => slice(x, [1, 2], [3, 4]), shape: [3, 4] },
    { about: 'steps', inputs: [real(5, 7)], apply: (x) => slice(x, [0, 1], [3, 2], [2, 3]), shape: [3, 2] },
    {
      about: 'steps beside whole axes',
      inputs: [real(2, 7, 3)],
      apply: (x) => slice(x, [0, 1, 0], [2, 3, 3], [1, 2, 1]),
      shape: [2, 3, 3],
    },
    { about: 'one element', inputs: [real(4)], apply: (x) => slice(x, [3], [1]), shape: [1] },
    { about: 'a step past the end', inputs: [real(5)], apply: (x) => slice(x, [1], [2], [3]), shape: [2] },
    {
      about: 'integers',
      inputs: [integers([4, 5, 6, 7])],
      apply: (x) => slice(x, [1], [2], [2]),
      shape: [2],
      dtype: 'int32',
    },
    { about: 'bools', inputs: [bools(4)], apply: (x) => slice(x, [1], [2]), shape: [2], dtype: 'bool' },
  ],
  pad: [
    {
      about: 'around',
      inputs: [real(2, 3)],
      apply: (x) => pad(x, { low: [1, 0], high: [2, 1] }),
      shape: [5, 4],
    },
    {
      about: 'with a value',
      inputs: [real(2, 3)],
      apply: (x) => pad(x, { low: [0, 2], value: -1.5 }),
      shape: [2, 5],
    },
    { about: 'between', inputs: [real(2, 3)], apply: (x) => pad(x, { interior: [2, 1] }), shape: [4, 5] },
    {
      about: 'between and around with a value',
      inputs: [real(3, 2)],
      apply: (x) => pad(x, { low: [1, 0], high: [0, 2], interior: [1, 0], value: 3 }),
      shape: [6, 4],
    },
    {
      about: 'integers',
      inputs: [integers([1, 2])],
      apply: (x) => pad(x, { low: [1], interior: [1], value: 9 }),
      shape: [4],
      dtype: 'int32',
    },
    {
      about: 'bools',
      inputs: [bools(3)],
      apply: (x) => pad(x, { low: [1], high: [1], value: 1 }),
      shape: [5],
      dtype: 'bool',
    },
  ],
  concat: [
    {
      about: 'two, first axis',
      inputs: [real(2, 3), real(1, 3)],
      apply: (a, b) => concat([a, b]),
      shape: [3, 3],
    },
    {
      about: 'three, last axis',
      inputs: [real(2, 1), real(2, 3), real(2, 2)],
      apply: (...parts) => concat(parts, -1),
      shape: [2, 6],
    },
    {
      about: 'three, middle axis',
      inputs: [real(2, 1, 3), real(2, 2, 3), real(2, 1, 3)],
      apply: (...parts) => concat(parts, 1),
      shape: [2, 4, 3],
    },
    {
      about: 'an empty one among others',
      inputs: [real(2, 3), real(0, 3), real(1, 3)],
      apply: (...parts) => concat(parts),
      shape: [3, 3],
    },
    {
      about: 'one beside a copy of itself',
      inputs: [real(2, 3)],
      apply: (x) => concat([x, x]),
      shape: [4, 3],
    },
    {
      about: 'one operand',
      inputs: [real(2, 3)],
      apply: (x) => apply('concat', operators.concat, [x], { axis: 1 }),
      shape: [2, 3],
    },
    {
      about: 'integers',
      inputs: [integers([1]), integers([2, 3])],
      apply: (a, b) => concat([a, b]),
      shape: [3],
      dtype: 'int32',
    },
    {
      about: 'bools',
      inputs: [bools(1), bools(2)],
      apply: (a, b) => concat([a, b]),
      shape: [3],
      dtype: 'bool',
    },
  ],

  sum: [
    ...reduction(sum),
    { about: 'no rows', inputs: [real(0, 3)], apply: (x) => sum(x, { axes: [0] }), shape: [3] },
  ],
  max: reduction(max),
  argMax: [
    { about: 'last axis', inputs: [real(3, 5)], apply: (x) => argMax(x), shape: [3], dtype: 'int32' },
    { about: 'first axis', inputs: [real(3, 5)], apply: (x) => argMax(x, 0), shape: [5], dtype: 'int32' },
    {
      about: 'middle axis',
      inputs: [real(2, 4, 3)],
      apply: (x) => argMax(x, 1),
      shape: [2, 3],
      dtype: 'int32',
    },
    {
      about: 'ties go to the first',
      inputs: [real(3, 6)],
      apply: (x) => argMax(sign(x)),
      shape: [3],
      dtype: 'int32',
    },
  ],

  matmul: [
    ...products([], [], []),
    ...products([2], [2], [2]),
    ...products([2], [2], []),
    ...products([2], [], [2]),
    ...products([2, 2], [2, 1], [2]),
    ...products([2], [1], [2]),
    { about: 'no rows', inputs: [real(0, 3), real(3, 2)], apply: (a, b) => matmul(a, b), shape: [0, 2] },
    {
      about: 'row by column',
      inputs: [real(1, 4), real(4, 1)],
      apply: (a, b) => matmul(a, b),
      shape: [1, 1],
    },
    {
      about: 'by itself',
      inputs: [real(3, 2)],
      apply: (x) => matmul(x, x, { transposeA: true }),
      shape: [2, 2],
    },
  ],
  gather: [
    {
      about: 'first axis, duplicates',
      inputs: [real(4, 3), integers([2, 0, 2])],
      apply: (x, i) => gather(x, i),
      shape: [3, 3],
    },
    {
      about: 'middle axis',
      inputs: [real(2, 4, 3), integers([3, 1, 1, 0, 3])],
      apply: (x, i) => gather(x, i, 1),
      shape: [2, 5, 3],
    },
    {
      about: 'last axis',
      inputs: [real(3, 4), integers([1, 1])],
      apply: (x, i) => gather(x, i, -1),
      shape: [3, 2],
    },
    {
      about: 'table of indices',
      inputs: [real(4, 3), integers([2, 0, 2, 1, 2, 3], 2, 3)],
      apply: (x, i) => gather(x, i),
      shape: [2, 3, 3],
    },
    {
      about: 'table of indices, last axis',
      inputs: [real(2, 4), integers([2, 0, 2, 1], 2, 2)],
      apply: (x, i) => gather(x, i, 1),
      shape: [2, 2, 2],
    },
    {
      about: 'a scalar index',
      inputs: [real(4, 3), { kind: 'integers', values: [2], shape: [] }],
      apply: (x, i) => gather(x, i),
      shape: [3],
    },
    {
      about: 'integers',
      inputs: [integers([4, 5, 6]), integers([2, 2, 0])],
      apply: (x, i) => gather(x, i),
      shape: [3],
      dtype: 'int32',
    },
    {
      about: 'bools',
      inputs: [bools(3), integers([2, 2, 0])],
      apply: (x, i) => gather(x, i),
      shape: [3],
      dtype: 'bool',
    },
  ],
  scatterAdd: [
    {
      about: 'first axis, duplicates',
      inputs: [real(3, 2), integers([2, 0, 2])],
      apply: (u, i) => scatterAdd(u, i, { length: 4 }),
      shape: [4, 2],
    },
    {
      about: 'middle axis',
      inputs: [real(2, 3, 2), integers([1, 1, 0])],
      apply: (u, i) => scatterAdd(u, i, { axis: 1, length: 5 }),
      shape: [2, 5, 2],
    },
    {
      about: 'last axis',
      inputs: [real(2, 3), integers([3, 0, 3])],
      apply: (u, i) => scatterAdd(u, i, { axis: -1, length: 4 }),
      shape: [2, 4],
    },
    {
      about: 'table of indices',
      inputs: [real(2, 3, 2), integers([2, 0, 2, 1, 2, 3], 2, 3)],
      apply: (u, i) => scatterAdd(u, i, { length: 4 }),
      shape: [4, 2],
    },
    {
      about: 'table of indices, last axis',
      inputs: [real(3, 2, 2), integers([2, 0, 2, 1], 2, 2)],
      apply: (u, i) => scatterAdd(u, i, { axis: 1, length: 4 }),
      shape: [3, 4],
    },
    {
      about: 'a scalar index',
      inputs: [real(3), { kind: 'integers', values: [2], shape: [] }],
      apply: (u, i) => scatterAdd(u, i, { length: 4 }),
      shape: [4, 3],
    },
  ],

  conv2d: [
    ...convolution(
      ({ x, w, y }) => [x, w, y],
      (x, w, { strides, padding }) => apply('conv2d', operators.conv2d, [x, w], { strides, padding }),
    ),
    ...convolutionOptions,
  ],
  conv2dInputGradient: convolution(
    ({ x, w, y }) => [y, w, x],
    (g, w, { x, strides, padding }) => {
      const inputSize = x.slice(-3, -1) as [number, number];
      const attributes = { strides, padding, inputSize };
      return apply('conv2dInputGradient', operators.conv2dInputGradient, [g, w], attributes);
    },
  ),
  conv2dFilterGradient: convolution(
    ({ x, w, y }) => [x, y, w],
    (x, g, { w, strides, padding }) => {
      const kernelSize = w.slice(-4, -2) as [number, number];
      const attributes = { strides, padding, kernelSize };
      return apply('conv2dFilterGradient', operators.conv2dFilterGradient, [x, g], attributes);
    },
  ),
};

/** Functions made of several operators, under the same contract. */
export const compositions: Readonly<Record<string, readonly Case[]>> = {
  maxPool2d: [
    {
      about: 'whole windows',
      inputs: [real(2, 4, 4, 2)],
      apply: (x) => maxPool2d(x, 2),
      shape: [2, 2, 2, 2],
    },
    {
      about: 'SAME, odd sizes',
      inputs: [real(2, 5, 7, 1)],
      apply: (x) => maxPool2d(x, 2),
      shape: [2, 3, 4, 1],
    },
    {
      about: 'VALID, odd sizes',
      inputs: [real(2, 5, 7, 1)],
      apply: (x) => maxPool2d(x, 2, { padding: 'valid' }),
      shape: [2, 2, 3, 1],
    },
    {
      about: 'overlapping',
      inputs: [real(1, 5, 4, 2)],
      apply: (x) => maxPool2d(x, 3, { stride: 2 }),
      shape: [1, 3, 2, 2],
    },
    {
      about: 'overlapping, stride 1',
      inputs: [real(1, 3, 4, 1)],
      apply: (x) => maxPool2d(x, 2, { stride: 1 }),
      shape: [1, 3, 4, 1],
    },
    {
      about: 'leading axes',
      inputs: [real(2, 2, 3, 3, 1)],
      apply: (x) => maxPool2d(x, 2),
      shape: [2, 2, 2, 2, 1],
    },
  ],
  averagePool2d: [
    {
      about: 'whole windows',
      inputs: [real(2, 4, 4, 2)],
      apply: (x) => averagePool2d(x, 2),
      shape: [2, 2, 2, 2],
    },
    {
      about: 'SAME, odd sizes',
      inputs: [real(2, 5, 7, 1)],
      apply: (x) => averagePool2d(x, 2),
      shape: [2, 3, 4, 1],
    },
    {
      about: 'VALID, odd sizes',
      inputs: [real(2, 5, 7, 1)],
      apply: (x) => averagePool2d(x, 2, { padding: 'valid' }),
      shape: [2, 2, 3, 1],
    },
    {
      about: 'overlapping',
      inputs: [real(1, 5, 4, 2)],
      apply: (x) => averagePool2d(x, 3, { stride: 1 }),
      shape: [1, 5, 4, 2],
    },
    {
      about: 'leading axes',
      inputs: [real(2, 2, 3, 3, 1)],
      apply: (x) => averagePool2d(x, 2),
      shape: [2, 2, 2, 2, 1],
    },
  ],
  patches2d: [
    { about: 'SAME', inputs: [real(2, 3, 4, 2)], apply: (x) => patches2d(x, 3), shape: [2, 3, 4, 18] },
    {
      about: 'VALID, stride 2',
      inputs: [real(1, 5, 4, 2)],
      apply: (x) => patches2d(x, 2, { stride: 2, padding: 'valid' }),
      shape: [1, 2, 2, 8],
    },
    {
      about: 'leading axes',
      inputs: [real(2, 2, 3, 3, 1)],
      apply: (x) => patches2d(x, 2),
      shape: [2, 2, 3, 3, 4],
    },
    {
      about: 'of chosen images, which is looked up before they are chosen',
      inputs: [real(3, 3, 3, 1), integers([2, 0, 2])],
      apply: (x, chosen) => patches2d(gather(x, chosen), 2),
      shape: [3, 3, 3, 4],
    },
  ],
  mean: reduction(mean),
  stack: [
    {
      about: 'first axis',
      inputs: [real(2, 3), real(2, 3)],
      apply: (...parts) => stack(parts),
      shape: [2, 2, 3],
    },
    {
      about: 'middle axis',
      inputs: [real(2, 3), real(2, 3), real(2, 3)],
      apply: (...parts) => stack(parts, 1),
      shape: [2, 3, 3],
    },
    {
      about: 'last axis',
      inputs: [real(2, 3), real(2, 3)],
      apply: (...parts) => stack(parts, -1),
      shape: [2, 3, 2],
    },
    { about: 'scalars', inputs: [real(), real()], apply: (...parts) => stack(parts), shape: [2] },
  ],
  take: [
    { about: 'first axis', inputs: [real(4, 3)], apply: (x) => take(x, 2), shape: [3] },
    { about: 'last axis', inputs: [real(4, 3)], apply: (x) => take(x, 1, -1), shape: [4] },
    { about: 'to a scalar', inputs: [real(4)], apply: (x) => take(x, 3), shape: [] },
  ],
  logSoftmax: [
    { about: 'rows', inputs: [real(3, 5)], apply: logSoftmax, shape: [3, 5] },
    { about: 'leading axes', inputs: [real(2, 3, 4)], apply: logSoftmax, shape: [2, 3, 4] },
  ],
  softmaxCrossEntropy: (['mean', 'sum'] as const).map((reduce) => ({
    about: reduce,
    inputs: [real(4, 3), integers([0, 2, 1, 2])],
    apply: softmaxCrossEntropy(reduce) as Case['apply'],
    shape: [],
  })),
  squaredError: (['mean', 'sum'] as const).map((reduce) => ({
    about: reduce,
    inputs: [real(4, 3), real(4, 3)],
    apply: squaredError(reduce) as Case['apply'],
    shape: [],
  })),
};
