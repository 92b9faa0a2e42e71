/** First-order MAML (§3): MAML with the Jacobian of the inner loop replaced by the identity. */
import { difference } from '../nn/parameters.ts';
import type { Algorithm } from './inner-loop.ts';

/**
 * φ_k − φ_{k−1}, the change made by the step on the tail, the last mini-batch. With inner SGD that is
 * −α·L'_tail(φ_{k−1}); with inner Adam it is the preconditioned step, as in the authors' code.
 */
export const fomaml: Algorithm = {
  name: 'fomaml',
  chunks: true,
  direction({ start, batches, step }) {
    const adapted = batches.slice(0, -1).reduce((point, batch) => step(point, batch), start);
    const afterTail = step(adapted, batches.at(-1)!);
    return { ...afterTail, direction: difference(afterTail.parameters, adapted.parameters) };
  },
};
