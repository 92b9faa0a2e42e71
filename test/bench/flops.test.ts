/** The count of floating-point operations against a count by hand. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { flopsPerImage, miniImagenetShape, omniglotShape } from '../../bench/flops.ts';

describe('flopsPerImage', () => {
  it('of the Omniglot network', () => {
    // Output pixels × taps × filters, a multiplication and an addition each; forward and gradients.
    const conv1 = 14 * 14 * (9 * 1) * 64 * 2 * 2; // no gradient of the image
    const conv2 = 7 * 7 * (9 * 64) * 64 * 2 * 3;
    const conv3 = 4 * 4 * (9 * 64) * 64 * 2 * 3;
    const conv4 = 2 * 2 * (9 * 64) * 64 * 2 * 3;
    const dense = 256 * 5 * 2 * 3;
    assert.equal(flopsPerImage(omniglotShape), conv1 + conv2 + conv3 + conv4 + dense);
    assert.equal(10 * flopsPerImage(omniglotShape), 157_209_600); // a step at batch 10
  });

  it('of the Mini-ImageNet network, whose sides are 84, 42, 21, 11 and, pooled, 6', () => {
    const conv1 = 84 * 84 * (9 * 3) * 32 * 2 * 2;
    const conv2 = 42 * 42 * (9 * 32) * 32 * 2 * 3;
    const conv3 = 21 * 21 * (9 * 32) * 32 * 2 * 3;
    const conv4 = 11 * 11 * (9 * 32) * 32 * 2 * 3;
    const dense = 1152 * 5 * 2 * 3;
    assert.equal(flopsPerImage(miniImagenetShape), conv1 + conv2 + conv3 + conv4 + dense);
  });
});
