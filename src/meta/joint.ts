/** Joint training (§3): the loss expected over all tasks, minimized with no thought of adaptation. */
import { difference } from '../nn/parameters.ts';
import type { Algorithm } from './inner-loop.ts';

/**
 * Reptile's inner loop with every gradient taken at φ: with SGD the direction is −α·Σᵢ∇L_i(φ), the k·AvgGrad
 * of §5 without its AvgGradInner. With one inner step it is Reptile with k = 1, as the paper defines it.
 */
export const joint: Algorithm = {
  name: 'joint',
  ownBatches: 0,
  advance: ({ initial, start, step }, batch) => step(start, batch, initial),
  direction({ initial, start: moved }) {
    return { ...moved, direction: difference(moved.parameters, initial) };
  },
};
