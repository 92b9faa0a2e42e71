/**
 * Convolution by ONNX Runtime's direct kernels, which look nothing up: for wide images they are about twice
 * as fast as patches and a product. ONNX Runtime keeps them for models whose filters are constant, and lays
 * images out in blocks of channels for them; these are the operators that it rewrites such models with.
 */
import type { OperatorAttributes, Tensor } from '../graph/tensor.ts';
import { type LoweringContext, type LoweringTarget, reshape } from './context.ts';
import type { ModelBuilder } from './model.ts';

/** ONNX Runtime's operators on blocked channels. */
const blocked = 'com.microsoft.nchwc';

/** From so many output pixels on the direct kernels are the faster ones. */
export const wide = 100;

/** Whether a convolution of images x [N, H, W, C] with filters w [kh, kw, C, F] to y can be direct. */
export function isDirect(target: LoweringTarget, x: Tensor, w: Tensor, y: Tensor): boolean {
  const { block } = target;
  const [height, width, filters] = y.shape.slice(-3) as [number, number, number];
  return (
    block !== undefined &&
    y.dtype === 'float32' &&
    x.rank === 4 &&
    w.rank === 4 &&
    x.shape[3]! % block === 0 &&
    filters % block === 0 &&
    height * width >= wide
  );
}

/** x * w */
export function lowerDirectConv2d({
  model,
  node,
  attributes,
  inputs,
  target,
}: LoweringContext<'conv2d'>): string {
  const w = node.inputs[1]!;
  const block = target.block!;
  const [height, width, channels, filters] = w.shape as [number, number, number, number];
  const split = reshape(model, inputs[1]!, [height, width, channels / block, block, filters / block, block]);
  const filter = model.op('Transpose', [split], { perm: [4, 2, 0, 1, 3, 5] });
  const { strides, padding } = attributes;
  const pads = [padding[0][0], padding[1][0], padding[0][1], padding[1][1]];
  return convolve(model, inputs[0]!, {
    filter: reshape(model, filter, [filters, channels, height, width]),
    filters,
    kernel: [height, width],
    strides,
    pads,
  });
}

/** The gradient by the input, with steps of one pixel: g * w turned around. */
export function lowerDirectInputGradient(context: LoweringContext<'conv2dInputGradient'>): string {
  const { model, node, attributes, inputs, target } = context;
  const [g, w] = node.inputs as [Tensor, Tensor];
  const block = target.block!;
  const [height, width, channels, filters] = w.shape as [number, number, number, number];
  const taps = height * width;
  const split = reshape(model, inputs[1]!, [taps, channels / block, block, filters / block, block]);
  const backwards = model.constant(
    { dtype: 'int32', shape: [taps] },
    Int32Array.from({ length: taps }, (_, i) => taps - 1 - i),
  );
  const turned = model.op('Gather', [split, backwards], { axis: 0 });
  const filter = model.op('Transpose', [turned], { perm: [1, 3, 0, 4, 2] });
  const before = [height - 1 - attributes.padding[0][0], width - 1 - attributes.padding[1][0]] as const;
  const after = [height, width].map(
    (length, axis) => node.shape[1 + axis]! - g.shape[1 + axis]! - before[axis]! + length - 1,
  );
  return convolve(model, inputs[0]!, {
    filter: reshape(model, filter, [channels, filters, height, width]),
    filters: channels,
    kernel: [height, width],
    strides: [1, 1],
    pads: [...before, ...after],
  });
}

interface BlockedConvolution {
  /** [F, C, kh, kw] in shape, [F/b, C/b, kh, kw, b, b] in memory. */
  readonly filter: string;
  readonly filters: number;
  readonly kernel: readonly [number, number];
  readonly strides: OperatorAttributes['conv2d']['strides'];
  /** Top, left, bottom, right. */
  readonly pads: readonly number[];
}

/** x [N, H, W, C] → [N, H', W', F] */
function convolve(
  model: ModelBuilder,
  x: string,
  { filter, filters, kernel, strides, pads }: BlockedConvolution,
) {
  const reordered = model.op('ReorderInput', [x], { channels_last: 1 }, blocked);
  const y = model.op('Conv', [reordered, filter], { kernel_shape: kernel, strides, pads }, blocked);
  return model.op('ReorderOutput', [y], { channels: filters, channels_last: 1 }, blocked);
}

/**
 * A model that shows how the direct kernels block channels: it reorders x [1, 32, 1, 2], and the first
 * element of the second pixel comes out at the place of the block's size.
 */
export function probe(model: ModelBuilder): Uint8Array {
  const type = { dtype: 'float32', shape: [1, 32, 1, 2] } as const;
  const x = model.input('x', type);
  model.output('y', type, model.op('ReorderInput', [x], { channels_last: 0 }, blocked));
  return model.finish();
}
