/** What a lowering gets, and the parts several lowerings share. */
import type { Operator, OperatorAttributes, Tensor } from '../graph/tensor.ts';
import { arrayOf, type DType, type Shape } from '../graph/type.ts';
import { type ModelBuilder, microsoft, type OnnxAttributes } from './model.ts';

/** What the lowering may count on. */
export interface LoweringTarget {
  /** Where the model runs; some operators exist on the CPU alone. */
  readonly provider: 'cpu' | 'webgpu';
  /** How many channels the direct convolutions of this machine block, where it has them. */
  readonly block?: number;
  /** Threads inside one operator. @default 1 */
  readonly threads?: number;
}

export interface LoweringContext<K extends Operator> {
  readonly model: ModelBuilder;
  readonly node: Tensor<K>;
  readonly attributes: OperatorAttributes[K];
  /** Names of the inputs' values. */
  readonly inputs: readonly string[];
  readonly target: LoweringTarget;
}

/** Emits the ONNX operators for one node and returns the name of its value. */
export type Lowering<K extends Operator> = (context: LoweringContext<K>) => string;

/** A constant scalar. */
export function scalar(model: ModelBuilder, dtype: DType, value: number): string {
  const data = arrayOf(dtype, 1);
  data[0] = value;
  return model.constant({ dtype, shape: [] }, data);
}

/** The same elements in another shape; of a value that was reshaped already, its source is taken. */
export function reshape(model: ModelBuilder, x: string, shape: Shape): string {
  const literal: OnnxAttributes = shape.includes(0) ? { allowzero: 1 } : {}; // 0 would else mean “as before”
  const [source = x] = model.inputsOf('Reshape', x);
  return model.op('Reshape', [source, model.integers(shape)], literal);
}

/** One operand of a matrix product: its value, its rank, and whether its last two axes are exchanged. */
export interface Operand {
  readonly name: string;
  readonly rank: number;
  readonly transposed?: boolean;
}

/** FusedMatMul reads transposed operands in place, but only the CPU has it and only for float32. */
export function product({ model, node, target }: LoweringContext<Operator>, a: Operand, b: Operand): string {
  const { transposed: transposeA = false } = a;
  const { transposed: transposeB = false } = b;
  if (!transposeA && !transposeB) return model.op('MatMul', [a.name, b.name]);
  if (target.provider === 'cpu' && node.dtype === 'float32') {
    const flags = { transA: Number(transposeA), transB: Number(transposeB) };
    return model.op('FusedMatMul', [a.name, b.name], flags, microsoft);
  }
  const [left, right] = [a, b].map(({ name, rank, transposed = false }) => {
    const axes = Array.from({ length: rank }, (_, axis) => axis);
    const perm = axes.with(rank - 1, rank - 2).with(rank - 2, rank - 1);
    return transposed ? model.op('Transpose', [name], { perm }) : name;
  });
  return model.op('MatMul', [left!, right!]);
}
