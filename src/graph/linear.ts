/** Matrix product and table look-up, each with its adjoint. */
import { ShapeError } from '../errors.ts';
import { requireFloat, sumTo } from './reductions.ts';
import { apply, type RulesOf, type Tensor } from './tensor.ts';
import { broadcastShapes, formatType, isFloat, normalizeAxis, size, type TensorType } from './type.ts';

/** Rows and columns of a matrix stack, as the product sees it. */
function matrixSize(type: TensorType, transposed: boolean): [number, number] {
  const [rows, columns] = type.shape.slice(-2) as [number, number];
  return transposed ? [columns, rows] : [rows, columns];
}

/** Which matrix of a stack of shape `lead` stands at place `index` of the broadcast stack `out`. */
function stackIndex(lead: readonly number[], out: readonly number[], index: number): number {
  let source = 0;
  let stride = 1;
  let rest = index;
  for (let back = 1; back <= out.length; back++) {
    const length = out[out.length - back]!;
    const own = lead[lead.length - back] ?? 1;
    if (own !== 1) source += (rest % length) * stride;
    stride *= own;
    rest = Math.floor(rest / length);
  }
  return source;
}

function requireIndices(where: string, indices: TensorType): void {
  if (indices.dtype !== 'int32') {
    throw new ShapeError(`${where}: expected int32 indices, got ${formatType(indices)}: cast them`);
  }
}

export const linear: RulesOf<'matmul' | 'gather' | 'scatterAdd'> = {
  matmul: {
    infer([a, b], { transposeA, transposeB }) {
      const got = `got ${formatType(a!)}${transposeA ? 'ᵀ' : ''} and ${formatType(b!)}${transposeB ? 'ᵀ' : ''}`;
      if (a!.shape.length < 2 || b!.shape.length < 2) {
        throw new ShapeError(
          `matmul: expected matrices or stacks of them, ${got}: reshape vectors to [n,1] or [1,n]`,
        );
      }
      if (!isFloat(a!.dtype) || a!.dtype !== b!.dtype) {
        throw new ShapeError(`matmul: expected floats of one dtype, ${got}: cast one of them`);
      }
      const [rows, innerA] = matrixSize(a!, transposeA);
      const [innerB, columns] = matrixSize(b!, transposeB);
      if (innerA !== innerB) {
        throw new ShapeError(`matmul: inner sizes differ, ${got} (${innerA} ≠ ${innerB})`);
      }
      const lead = broadcastShapes(a!.shape.slice(0, -2), b!.shape.slice(0, -2));
      if (lead === undefined) throw new ShapeError(`matmul: leading axes do not broadcast, ${got}`);
      return { dtype: a!.dtype, shape: [...lead, rows, columns] };
    },
    gradient(node, g) {
      const [a, b] = node.inputs as [Tensor, Tensor];
      const { transposeA, transposeB } = node.attributes;
      const da = transposeA
        ? matmul(b, g, { transposeA: transposeB, transposeB: true })
        : matmul(g, b, { transposeB: !transposeB });
      const db = transposeB
        ? matmul(g, a, { transposeA: true, transposeB: transposeA })
        : matmul(a, g, { transposeA: !transposeA });
      return [sumTo(da, a.shape), sumTo(db, b.shape)];
    },
    evaluate([a, b], { transposeA, transposeB }, out) {
      const [rows, inner] = matrixSize(a!, transposeA);
      const [, columns] = matrixSize(b!, transposeB);
      const lead = out.shape.slice(0, -2);
      const [rowStepA, innerStepA] = transposeA ? [1, rows] : [inner, 1];
      const [innerStepB, columnStepB] = transposeB ? [1, inner] : [columns, 1];
      for (let s = 0; s < size(lead); s++) {
        const startA = stackIndex(a!.shape.slice(0, -2), lead, s) * rows * inner;
        const startB = stackIndex(b!.shape.slice(0, -2), lead, s) * inner * columns;
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            let total = 0;
            for (let k = 0; k < inner; k++) {
              const left = a!.data[startA + row * rowStepA + k * innerStepA]!;
              total += left * b!.data[startB + k * innerStepB + column * columnStepB]!;
            }
            out.data[(s * rows + row) * columns + column] = total;
          }
        }
      }
    },
  },
  gather: {
    infer([x, indices], { axis }) {
      requireIndices('gather', indices!);
      return { dtype: x!.dtype, shape: x!.shape.toSpliced(axis, 1, ...indices!.shape) };
    },
    gradient(node, g) {
      const [x, indices] = node.inputs as [Tensor, Tensor];
      if (!isFloat(x.dtype)) return [undefined, undefined];
      const { axis } = node.attributes;
      return [scatterAdd(g, indices, { axis, length: x.shape[axis]! }), undefined];
    },
    evaluate([x, indices], { axis }, out) {
      const inner = size(x!.shape.slice(axis + 1));
      const length = x!.shape[axis]!;
      const count = indices!.data.length;
      for (let outer = 0; outer < size(x!.shape.slice(0, axis)); outer++) {
        for (let i = 0; i < count; i++) {
          const from = (outer * length + indices!.data[i]!) * inner;
          out.data.set(x!.data.subarray(from, from + inner), (outer * count + i) * inner);
        }
      }
    },
  },
  scatterAdd: {
    infer([updates, indices], { axis, length }) {
      requireIndices('scatterAdd', indices!);
      const window = updates!.shape.slice(axis, axis + indices!.shape.length);
      requireFloat('scatterAdd', updates!);
      if (window.join() !== indices!.shape.join()) {
        throw new ShapeError(
          `scatterAdd: axes from ${axis} on must match the indices, got ${formatType(updates!)} and ${formatType(indices!)}`,
        );
      }
      return { dtype: updates!.dtype, shape: updates!.shape.toSpliced(axis, indices!.shape.length, length) };
    },
    gradient(node, g) {
      return [gather(g, node.inputs[1]!, node.attributes.axis), undefined];
    },
    evaluate([updates, indices], { axis, length }, out) {
      const inner = size(updates!.shape.slice(axis + indices!.shape.length));
      const count = indices!.data.length;
      for (let outer = 0; outer < size(updates!.shape.slice(0, axis)); outer++) {
        for (let i = 0; i < count; i++) {
          const to = (outer * length + indices!.data[i]!) * inner;
          const from = (outer * count + i) * inner;
          for (let k = 0; k < inner; k++) out.data[to + k] = out.data[to + k]! + updates!.data[from + k]!;
        }
      }
    },
  },
};

export interface MatmulOptions {
  /** Take `a` with its last two axes exchanged. @default false */
  transposeA?: boolean;
  /** Take `b` with its last two axes exchanged. @default false */
  transposeB?: boolean;
}

/** Matrix product of the last two axes, [..., m, k] × [..., k, n] → [..., m, n]; leading axes broadcast. */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  return apply('matmul', linear.matmul, [a, b], { transposeA, transposeB });
}

/** The entries of `axis` named by int32 `indices` (any shape, all in range), which takes its place. @default axis 0 */
export function gather(x: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply('gather', linear.gather, [x, indices], { axis: normalizeAxis('gather', axis, x.rank) });
}

/**
 * The adjoint of `gather`: a tensor of zeros, `length` long at `axis`, to which the entries of `updates`
 * are added where `indices` says. The axes of `indices` stand in `updates` from `axis` on. @default axis 0
 */
export function scatterAdd(
  updates: Tensor,
  indices: Tensor,
  options: { axis?: number; length: number },
): Tensor {
  const { length } = options;
  const axis = normalizeAxis('scatterAdd', options.axis ?? 0, updates.rank - indices.rank + 1);
  return apply('scatterAdd', linear.scatterAdd, [updates, indices], { axis, length });
}
