/** Reductions over axes, and the broadcasts they are the adjoints of. */
import { ShapeError } from '../errors.ts';
import { cast, div, equal, mul } from './elementwise.ts';
import { broadcastTo, reshape } from './shaping.ts';
import { apply, type RulesOf, type Tensor } from './tensor.ts';
import {
  formatType,
  isFloat,
  normalizeAxes,
  normalizeAxis,
  type Shape,
  sameShape,
  size,
  strides,
  type TensorType,
  type Value,
} from './type.ts';

/** `keepDims` keeps reduced axes with length 1. */
export interface ReductionOptions {
  /** Axes to reduce; negative ones count from the end. @default all */
  axes?: readonly number[];
  /** @default false */
  keepDims?: boolean;
}

function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): Shape {
  return keepDims
    ? shape.map((length, axis) => (axes.includes(axis) ? 1 : length))
    : shape.filter((_, axis) => !axes.includes(axis));
}

/** Calls `visit(i, o)` for every element i of x and the element o of the reduction it falls into. */
function forEachReduced(x: TensorType, axes: readonly number[], visit: (i: number, o: number) => void): void {
  const outStrides = strides(reducedShape(x.shape, axes, true)).map((s, axis) =>
    axes.includes(axis) ? 0 : s,
  );
  const inStrides = strides(x.shape);
  const count = size(x.shape);
  for (let i = 0; i < count; i++) {
    let o = 0;
    for (let axis = 0; axis < x.shape.length; axis++) {
      o += (Math.floor(i / inStrides[axis]!) % x.shape[axis]!) * outStrides[axis]!;
    }
    visit(i, o);
  }
}

/** @throws {ShapeError} when x does not hold floats. */
export function requireFloat(where: string, x: TensorType): void {
  if (!isFloat(x.dtype))
    throw new ShapeError(`${where}: expected floats, got ${formatType(x)}: cast it first`);
}

export const reductions: RulesOf<'sum' | 'max' | 'argMax'> = {
  sum: {
    infer([x], { axes, keepDims }) {
      requireFloat('sum', x!);
      return { dtype: x!.dtype, shape: reducedShape(x!.shape, axes, keepDims) };
    },
    gradient(node, g) {
      const { shape } = node.inputs[0]!;
      return [broadcastTo(reshape(g, reducedShape(shape, node.attributes.axes, true)), shape)];
    },
    evaluate([x], { axes }, out) {
      const sums = new Float64Array(out.data.length); // sums in double, rounded once
      forEachReduced(x!, axes, (i, o) => {
        sums[o]! += x!.data[i]!;
      });
      out.data.set(sums);
    },
  },
  max: {
    infer([x], { axes, keepDims }) {
      requireFloat('max', x!);
      return { dtype: x!.dtype, shape: reducedShape(x!.shape, axes, keepDims) };
    },
    gradient(node, g) {
      const x = node.inputs[0]!;
      const { axes } = node.attributes;
      const kept = reducedShape(x.shape, axes, true);
      const winners = cast(equal(x, reshape(node, kept)), x.dtype); // a tie shares the cotangent
      return [mul(winners, div(reshape(g, kept), sum(winners, { axes, keepDims: true })))];
    },
    evaluate([x], { axes }, out) {
      out.data.fill(Number.NEGATIVE_INFINITY);
      forEachReduced(x!, axes, (i, o) => {
        out.data[o] = Math.max(out.data[o]!, x!.data[i]!);
      });
    },
  },
  argMax: {
    infer([x], { axis }) {
      requireFloat('argMax', x!);
      return { dtype: 'int32', shape: reducedShape(x!.shape, [axis], false) };
    },
    gradient: () => [undefined],
    evaluate([x], { axis }, out: Value) {
      const best = new Float64Array(out.data.length).fill(Number.NEGATIVE_INFINITY);
      const stride = strides(x!.shape)[axis]!;
      forEachReduced(x!, [axis], (i, o) => {
        if (x!.data[i]! > best[o]!) {
          best[o] = x!.data[i]!;
          out.data[o] = Math.floor(i / stride) % x!.shape[axis]!;
        }
      });
    },
  },
};

function allAxes(where: string, x: Tensor, axes: readonly number[] | undefined): readonly number[] {
  return axes === undefined ? x.shape.map((_, axis) => axis) : normalizeAxes(where, axes, x.rank);
}

/** Sum over `axes`. */
export function sum(x: Tensor, options: ReductionOptions = {}): Tensor {
  const axes = allAxes('sum', x, options.axes);
  return apply('sum', reductions.sum, [x], { axes, keepDims: options.keepDims ?? false });
}

/** Arithmetic mean over `axes`. */
export function mean(x: Tensor, options: ReductionOptions = {}): Tensor {
  const axes = allAxes('mean', x, options.axes);
  const count = size(axes.map((axis) => x.shape[axis]!));
  return mul(sum(x, options), 1 / count);
}

/** Largest element over `axes`; elements that tie share its gradient. */
export function max(x: Tensor, options: ReductionOptions = {}): Tensor {
  const axes = allAxes('max', x, options.axes);
  return apply('max', reductions.max, [x], { axes, keepDims: options.keepDims ?? false });
}

/** Index of the (first) largest element along `axis`, int32 without that axis. @default axis −1 */
export function argMax(x: Tensor, axis = -1): Tensor {
  return apply('argMax', reductions.argMax, [x], { axis: normalizeAxis('argMax', axis, x.rank) });
}

/** Sums over the axes along which `shape` was broadcast to x: the adjoint of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.rank - shape.length;
  const axes = x.shape.flatMap((length, axis) =>
    axis < lead || (shape[axis - lead] === 1 && length !== 1) ? [axis] : [],
  );
  const keepDims = axes.some((axis) => axis >= lead); // else the reduced shape is `shape` already
  return reshape(sum(x, { axes, keepDims }), shape);
}
