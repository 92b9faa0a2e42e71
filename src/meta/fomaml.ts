/** First-order MAML (§2): MAML with the Jacobian of the inner loop replaced by the identity. */
import { difference } from '../nn/parameters.ts';
import type { Algorithm } from './inner-loop.ts';

/**
 * φ_k − φ_{k−1}, the change made by the step on the tail, the last mini-batch. With inner SGD that is
 * −α·L'_tail(φ_{k−1}); with inner Adam it is the preconditioned step, as in the authors' code.
 */
export const fomaml: Algorithm = {
  name: 'fomaml',
  ownBatches: 1,
  direction({ start: adapted, step }, [tail]) {
    const afterTail = step(adapted, tail!);
    return { ...afterTail, direction: difference(afterTail.parameters, adapted.parameters) };
  },
};
