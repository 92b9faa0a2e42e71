/**
 * Seeded random streams. A stream is a value: its state can be read, saved in a checkpoint and restored,
 * so a resumed run draws what an uninterrupted one would have drawn. The generator is xoroshiro128+ of
 * the package pure-rand; this file adds named streams and the few distributions the project needs.
 */

import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus, xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator';

/** The state of a stream: four 32-bit integers. */
export type RandomState = readonly number[];

/** A seeded stream of random numbers, whose state can be kept and gone on with. */
export class Random {
  #generator: RandomGenerator;

  private constructor(generator: RandomGenerator) {
    this.#generator = generator;
  }

  /**
   * The stream called `name` of a run's `seed`. Streams of different names are independent, so drawing
   * more from one (say for evaluation) never shifts another.
   */
  static stream(seed: number, name: string): Random {
    let hash = 0x811c9dc5; // FNV-1a over "seed/name"
    for (const character of `${seed}/${name}`) {
      hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
    }
    const generator = xoroshiro128plus(hash | 0);
    for (let i = 0; i < 64; i++) generator.next(); // leave the sparse bits of the seed behind
    return new Random(generator);
  }

  /** The stream that goes on from a `state`. */
  static fromState(state: RandomState): Random {
    return new Random(xoroshiro128plusFromState([...state]));
  }

  /** Where the stream stands: a copy, which later draws leave alone. */
  get state(): RandomState {
    return [...this.#generator.getState()];
  }

  /** Uniform in [low, high). @default 0 and 1 */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * uniformFloat64(this.#generator);
  }

  /** Uniform integer in 0 … count − 1. */
  integer(count: number): number {
    return uniformInt(this.#generator, 0, count - 1);
  }

  /** Gaussian by the Box-Muller transform; one draw uses two uniforms. @default mean 0, deviation 1 */
  normal(mean = 0, deviation = 1): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return mean + deviation * radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles `items` in place (Fisher-Yates) and returns them. */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swap = items[i];
      items[i] = items[j];
      items[j] = swap;
    }
    return items;
  }

  /** `chosen` different integers of 0 … count − 1, in random order. */
  choose(count: number, chosen: number): number[] {
    const picked: number[] = [];
    const moved = new Map<number, number>(); // a sparse Fisher-Yates: only touched places are stored
    for (let i = 0; i < chosen; i++) {
      const j = i + this.integer(count - i);
      picked.push(moved.get(j) ?? j);
      moved.set(j, moved.get(i) ?? i);
    }
    return picked;
  }
}
