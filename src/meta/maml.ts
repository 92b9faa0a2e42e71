/** MAML (§2): the gradient of the adapted loss by the initialization, through the whole inner loop. */
import { add, mul } from '../graph/elementwise.ts';
import { valueAndGrad } from '../graph/grad.ts';
import { mapRecord } from '../graph/trace.ts';
import type { Vector } from '../nn/parameters.ts';
import type { Algorithm, Point } from './inner-loop.ts';

/**
 * −α·g with g = ∇_φ L_tail(U_τ^{k−1}(φ)), exact: second derivatives included, also those through Adam's
 * moments. The factor α gives all algorithms one outer step; outer Adam divides it out again.
 */
export const maml: Algorithm = {
  name: 'maml',
  ownBatches: 'all',
  direction({ start, step, loss, learningRate }, batches) {
    let adapted: Point = start;
    const { value, gradient } = valueAndGrad((initial: Vector) => {
      const beginning: Point = { ...start, parameters: initial };
      adapted = batches.slice(0, -1).reduce((point, batch) => step(point, batch), beginning);
      return loss(adapted.parameters, batches.at(-1)!);
    })(start.parameters);
    const lossTotal = add(adapted.lossTotal, value);
    return { ...adapted, lossTotal, direction: mapRecord(gradient, (part) => mul(part, -learningRate)) };
  },
};
