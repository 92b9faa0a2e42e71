/** Reptile (§3, equation 5): move the initialization towards the weights adapted to each task. */
import { difference } from '../nn/parameters.ts';
import type { Algorithm } from './inner-loop.ts';

/** φ̃ − φ, with φ̃ = U_τ^k(φ). The outer step averages it over the meta-batch: φ ← φ + ε·(1/n)Σ(φ̃ᵢ − φ). */
export const reptile: Algorithm = {
  name: 'reptile',
  ownBatches: 0,
  direction({ initial, start: adapted }) {
    return { ...adapted, direction: difference(adapted.parameters, initial) };
  },
};
