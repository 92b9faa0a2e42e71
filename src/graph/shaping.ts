/** Operators that move elements without changing them: the linear maps that are their own theory. */
import { ShapeError } from '../errors.ts';
import { sumTo } from './reductions.ts';
import { apply, type RulesOf, type Tensor } from './tensor.ts';
import {
  broadcastShapes,
  formatType,
  normalizeAxis,
  type Shape,
  sameShape,
  size,
  strides,
  type TensorType,
  type Value,
} from './type.ts';

/**
 * Copies between a dense tensor and a strided window of another: for every element of `window`, in
 * order, calls `visit(elementOfWindow, elementOfWhole)`.
 */
function forEachInWindow(
  whole: Shape,
  window: Shape,
  starts: readonly number[],
  steps: readonly number[],
  visit: (inWindow: number, inWhole: number) => void,
): void {
  const wholeStrides = strides(whole);
  const windowStrides = strides(window);
  const count = size(window);
  for (let i = 0; i < count; i++) {
    let j = 0;
    for (let axis = 0; axis < window.length; axis++) {
      const place = Math.floor(i / windowStrides[axis]!) % window[axis]!;
      j += (starts[axis]! + place * steps[axis]!) * wholeStrides[axis]!;
    }
    visit(i, j);
  }
}

function requireEveryAxis(
  where: string,
  x: TensorType,
  lists: Readonly<Record<string, readonly number[]>>,
): void {
  for (const [name, { length }] of Object.entries(lists)) {
    if (length !== x.shape.length) {
      throw new ShapeError(
        `${where}: ${name} needs a number for each of the ${x.shape.length} axes of ${formatType(x)}, got ${length}`,
      );
    }
  }
}

export const shaping: RulesOf<'reshape' | 'broadcastTo' | 'transpose' | 'slice' | 'pad' | 'concat'> = {
  reshape: {
    infer([x], { shape }) {
      if (size(shape) !== size(x!.shape)) {
        throw new ShapeError(
          `reshape: ${formatType(x!)} has ${size(x!.shape)} elements, [${shape.join(',')}] needs ${size(shape)}`,
        );
      }
      return { dtype: x!.dtype, shape };
    },
    gradient: (node, g) => [reshape(g, node.inputs[0]!.shape)],
    evaluate: ([x], _, out) => out.data.set(x!.data),
  },
  broadcastTo: {
    infer([x], { shape }) {
      if (!sameShape(broadcastShapes(x!.shape, shape) ?? [-1], shape)) {
        throw new ShapeError(`broadcastTo: ${formatType(x!)} does not broadcast to [${shape.join(',')}]`);
      }
      return { dtype: x!.dtype, shape };
    },
    gradient: (node, g) => [sumTo(g, node.inputs[0]!.shape)],
    evaluate([x], { shape }, out) {
      const own = new Array<number>(shape.length - x!.shape.length).fill(1).concat(x!.shape);
      const steps = strides(own).map((stride, axis) => (own[axis] === 1 ? 0 : stride));
      const outStrides = strides(shape);
      for (let i = 0; i < out.data.length; i++) {
        let j = 0;
        for (let axis = 0; axis < shape.length; axis++) {
          j += (Math.floor(i / outStrides[axis]!) % shape[axis]!) * steps[axis]!;
        }
        out.data[i] = x!.data[j]!;
      }
    },
  },
  transpose: {
    infer([x], { permutation }) {
      const sorted = [...permutation].sort((a, b) => a - b);
      if (sorted.length !== x!.shape.length || sorted.some((axis, i) => axis !== i)) {
        throw new ShapeError(
          `transpose: [${permutation.join(',')}] is no permutation of the ${x!.shape.length} axes of ${formatType(x!)}`,
        );
      }
      return { dtype: x!.dtype, shape: permutation.map((axis) => x!.shape[axis]!) };
    },
    gradient(node, g) {
      const inverse = new Array<number>(g.rank);
      node.attributes.permutation.forEach((from, to) => {
        inverse[from] = to;
      });
      return [transpose(g, inverse)];
    },
    evaluate([x], { permutation }, out) {
      const steps = permutation.map((axis) => strides(x!.shape)[axis]!);
      const outStrides = strides(out.shape);
      for (let i = 0; i < out.data.length; i++) {
        let j = 0;
        for (let axis = 0; axis < steps.length; axis++) {
          j += (Math.floor(i / outStrides[axis]!) % out.shape[axis]!) * steps[axis]!;
        }
        out.data[i] = x!.data[j]!;
      }
    },
  },
  slice: {
    infer([x], { starts, sizes, steps }) {
      requireEveryAxis('slice', x!, { starts, sizes, steps });
      x!.shape.forEach((length, axis) => {
        const last = starts[axis]! + (sizes[axis]! - 1) * steps[axis]!;
        const whole = [starts, sizes, steps].every((list) => Number.isInteger(list[axis]));
        if (!whole || starts[axis]! < 0 || sizes[axis]! < 1 || steps[axis]! < 1 || last >= length) {
          throw new ShapeError(
            `slice: axis ${axis} of ${formatType(x!)} has no ${sizes[axis]} elements from ${starts[axis]} in steps of ${steps[axis]}`,
          );
        }
      });
      return { dtype: x!.dtype, shape: sizes };
    },
    gradient(node, g) {
      const { starts, sizes, steps } = node.attributes;
      const high = node.inputs[0]!.shape.map(
        (length, axis) => length - 1 - starts[axis]! - (sizes[axis]! - 1) * steps[axis]!,
      );
      return [pad(g, { low: starts, high, interior: steps.map((step) => step - 1) })];
    },
    evaluate([x], { starts, sizes, steps }, out) {
      forEachInWindow(x!.shape, sizes, starts, steps, (i, j) => {
        out.data[i] = x!.data[j]!;
      });
    },
  },
  pad: {
    infer([x], { low, high, interior }) {
      requireEveryAxis('pad', x!, { low, high, interior });
      const shape = x!.shape.map((length, axis) => {
        if (low[axis]! < 0 || high[axis]! < 0 || interior[axis]! < 0) {
          throw new ShapeError(
            `pad: padding must not be negative, got axis ${axis} of ${formatType(x!)}: use slice`,
          );
        }
        return low[axis]! + length + Math.max(length - 1, 0) * interior[axis]! + high[axis]!;
      });
      return { dtype: x!.dtype, shape };
    },
    gradient(node, g) {
      const { low, interior } = node.attributes;
      if (node.inputs[0]!.size === 0) return [undefined];
      return [
        slice(
          g,
          low,
          node.inputs[0]!.shape,
          interior.map((gap) => gap + 1),
        ),
      ];
    },
    evaluate([x], { low, interior, value }, out) {
      out.data.fill(value);
      const steps = interior.map((gap) => gap + 1);
      forEachInWindow(out.shape, x!.shape, low, steps, (i, j) => {
        out.data[j] = x!.data[i]!;
      });
    },
  },
  concat: {
    infer(inputs, { axis }) {
      const first = inputs[0]!;
      let total = 0;
      for (const part of inputs) {
        const fits =
          part.dtype === first.dtype &&
          part.shape.length === first.shape.length &&
          part.shape.every((length, other) => other === axis || length === first.shape[other]);
        if (!fits) {
          throw new ShapeError(
            `concat: parts must agree but for axis ${axis}, got ${inputs.map(formatType).join(', ')}`,
          );
        }
        total += part.shape[axis]!;
      }
      return {
        dtype: first.dtype,
        shape: first.shape.map((length, other) => (other === axis ? total : length)),
      };
    },
    gradient(node, g) {
      const { axis } = node.attributes;
      let offset = 0;
      return node.inputs.map((part) => {
        const starts = part.shape.map((_, other) => (other === axis ? offset : 0));
        offset += part.shape[axis]!;
        return part.size === 0 ? undefined : slice(g, starts, part.shape);
      });
    },
    evaluate(inputs, { axis }, out: Value) {
      let offset = 0;
      for (const part of inputs) {
        const starts = part.shape.map((_, other) => (other === axis ? offset : 0));
        const steps = part.shape.map(() => 1);
        forEachInWindow(out.shape, part.shape, starts, steps, (i, j) => {
          out.data[j] = part.data[i]!;
        });
        offset += part.shape[axis]!;
      }
    },
  },
};

/** The same elements, row-major, in another shape. One length may be −1: it is worked out. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = size(shape.filter((length) => length !== -1));
  const unknown = x.size / known;
  if (shape.includes(-1) && (shape.indexOf(-1) !== shape.lastIndexOf(-1) || !Number.isInteger(unknown))) {
    throw new ShapeError(
      `reshape: the −1 of [${shape.join(',')}] can not be worked out from the ${x.size} elements of ${formatType(x)}`,
    );
  }
  const target = shape.map((length) => (length === -1 ? unknown : length));
  return sameShape(target, x.shape) ? x : apply('reshape', shaping.reshape, [x], { shape: target });
}

/** Repeats axes of length 1 (and missing leading axes) up to `shape`. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  return sameShape(shape, x.shape) ? x : apply('broadcastTo', shaping.broadcastTo, [x], { shape });
}

/** Axis i of the result is axis `permutation[i]` of x. @default all axes reversed */
export function transpose(x: Tensor, permutation?: readonly number[]): Tensor {
  const axes = permutation?.map((axis) => normalizeAxis('transpose', axis, x.rank));
  return apply('transpose', shaping.transpose, [x], {
    permutation: axes ?? x.shape.map((_, axis) => x.rank - 1 - axis),
  });
}

/** `sizes[a]` elements of every axis a, from `starts[a]` in steps of `steps[a]`. @default steps 1 */
export function slice(
  x: Tensor,
  starts: readonly number[],
  sizes: readonly number[],
  steps: readonly number[] = x.shape.map(() => 1),
): Tensor {
  const window = apply('slice', shaping.slice, [x], { starts, sizes, steps });
  return sameShape(sizes, x.shape) ? x : window; // as many elements as there are: all of them
}

export interface PadOptions {
  /** Elements put before each axis. @default 0 */
  low?: readonly number[];
  /** Elements put after each axis. @default 0 */
  high?: readonly number[];
  /** Elements put between neighbours of each axis. @default 0 */
  interior?: readonly number[];
  /** What is put there. @default 0 */
  value?: number;
}

/** Surrounds x (and spreads it, with `interior`) with a constant. The adjoint of `slice`. */
export function pad(x: Tensor, options: PadOptions): Tensor {
  const none = x.shape.map(() => 0);
  const { low = none, high = none, interior = none, value = 0 } = options;
  const nothing = [...low, ...high, ...interior].every((length) => length === 0);
  return nothing ? x : apply('pad', shaping.pad, [x], { low, high, interior, value });
}

/** Joins tensors along `axis`; their other axes agree. */
export function concat(parts: readonly Tensor[], axis = 0): Tensor {
  if (parts.length === 0) throw new ShapeError('concat: got no tensors: give at least one');
  if (parts.length === 1) return parts[0]!;
  return apply('concat', shaping.concat, parts, { axis: normalizeAxis('concat', axis, parts[0]!.rank) });
}

/** Joins tensors of one shape along a new `axis`. */
export function stack(parts: readonly Tensor[], axis = 0): Tensor {
  const first = parts[0];
  if (first === undefined) throw new ShapeError('stack: got no tensors: give at least one');
  if (parts.some((part) => part.dtype !== first.dtype || !sameShape(part.shape, first.shape))) {
    throw new ShapeError(`stack: parts must be of one type, got ${parts.map(formatType).join(', ')}`);
  }
  const place = normalizeAxis('stack', axis, first.rank + 1);
  const shape = first.shape.toSpliced(place, 0, 1);
  return concat(
    parts.map((part) => reshape(part, shape)),
    place,
  );
}

/** Element `index` along `axis`, without that axis. */
export function take(x: Tensor, index: number, axis = 0): Tensor {
  const place = normalizeAxis('take', axis, x.rank);
  if (!Number.isInteger(index) || index < 0 || index >= x.shape[place]!) {
    throw new ShapeError(
      `take: index ${index} is outside axis ${axis} of ${formatType(x)}: use 0 … ${x.shape[place]! - 1}`,
    );
  }
  const starts = x.shape.map((_, other) => (other === place ? index : 0));
  const sizes = x.shape.toSpliced(place, 1, 1);
  return reshape(slice(x, starts, sizes), x.shape.toSpliced(place, 1));
}
