/** Losses of a batch of outputs, as scalars. */
import { equal, exp, log, mul, neg, select, stopGradient, sub } from '../graph/elementwise.ts';
import { max, sum } from '../graph/reductions.ts';
import { reshape } from '../graph/shaping.ts';
import { constant, type Tensor } from '../graph/tensor.ts';

/**
 * How the losses of a batch become one: their mean, or their sum as in the authors' code (its gradient
 * of a vector loss adds up the examples), which multiplies the learning rate of SGD by the batch size.
 */
export type LossReduction = 'mean' | 'sum';

/** outputs [batch, n] and targets, int32 [batch] of class ids or float32 [batch, n] of values → scalar. */
export type Loss = (outputs: Tensor, targets: Tensor) => Tensor;

/** log softmax over the last axis, by the shift that keeps exp from overflowing. */
export function logSoftmax(logits: Tensor): Tensor {
  const shifted = sub(logits, stopGradient(max(logits, { axes: [-1], keepDims: true })));
  return sub(shifted, log(sum(exp(shifted), { axes: [-1], keepDims: true })));
}

/** Softmax cross-entropy of logits [batch, classes] with class ids int32 [batch]. @default mean over the batch */
export function softmaxCrossEntropy(reduction: LossReduction = 'mean'): Loss {
  return (logits, labels) => {
    const [batch, classes] = logits.shape as [number, number];
    const ids = constant(
      { dtype: 'int32', shape: [classes] },
      Int32Array.from({ length: classes }, (_, i) => i),
    );
    const chosen = equal(reshape(labels, [batch, 1]), ids); // one-hot [batch, classes]
    const total = neg(sum(select(chosen, logSoftmax(logits), 0))); // a logit of −∞ is one that is masked
    return reduction === 'mean' ? mul(total, 1 / batch) : total;
  };
}

/** Squared error of outputs [batch, n] and targets [batch, n]. @default mean over all elements */
export function squaredError(reduction: LossReduction = 'mean'): Loss {
  return (outputs, targets) => {
    const difference = sub(outputs, targets);
    const total = sum(mul(difference, difference));
    return reduction === 'mean' ? mul(total, 1 / outputs.size) : total;
  };
}
