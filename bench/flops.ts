/**
 * Floating-point operations of an inner step that can't be avoided: the matrix products of the convolutions
 * and of the dense layer, a multiplication and an addition each. Forward, the gradient of the filters, and
 * the gradient of the inputs but for the first layer, whose inputs are the images. Border patches count
 * whole, padding included. Batch norm, ReLU, pooling, the loss and the optimizer do not count.
 */

export interface ConvNetShape {
  /** Height and width of an image. */
  readonly side: number;
  readonly channels: number;
  readonly filters: number;
  /** Outputs of the dense layer. */
  readonly ways: number;
  /** Of the four 3×3 convolutions; 1 is followed by 2×2 pooling, so both halve the side. */
  readonly stride: 1 | 2;
}

export const omniglotShape: ConvNetShape = { side: 28, channels: 1, filters: 64, ways: 5, stride: 2 };
export const miniImagenetShape: ConvNetShape = { side: 84, channels: 3, filters: 32, ways: 5, stride: 1 };

/** Floating-point operations of forward and backward on one image. */
export function flopsPerImage({ side, channels, filters, ways, stride }: ConvNetShape): number {
  let flops = 0;
  let depth = channels;
  let height = side;
  for (let layer = 0; layer < 4; layer++) {
    const half = Math.ceil(height / 2);
    const pixels = stride === 2 ? half ** 2 : height ** 2; // of the convolution's output
    const products = layer === 0 ? 2 : 3; // no gradient of the images
    flops += products * 2 * pixels * 9 * depth * filters;
    [height, depth] = [half, filters];
  }
  return flops + 3 * 2 * height ** 2 * filters * ways;
}
