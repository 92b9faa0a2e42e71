/** Reptile (§3, equation 5): move the initialization towards the weights adapted to each task. */
import { difference } from '../nn/parameters.ts';
import type { Algorithm } from './inner-loop.ts';

/** φ̃ − φ, with φ̃ = U_τ^k(φ). The outer step averages it over the meta-batch: φ ← φ + ε·(1/n)Σ(φ̃ᵢ − φ). */
export const reptile: Algorithm = {
  name: 'reptile',
  chunks: true,
  direction({ initial, start, batches, step }) {
    const adapted = batches.reduce((point, batch) => step(point, batch), start);
    return { ...adapted, direction: difference(adapted.parameters, initial) };
  },
};
