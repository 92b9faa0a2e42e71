/** What is to be reached: floors, not finishing lines. */

export interface Target {
  readonly work: RegExp;
  /** A ratio against a variant of the peer, a share of the peak, or the measured value itself. */
  readonly of: 'peer-1' | 'peer-2' | 'peer-2x1' | 'peak-1' | 'peak-2' | 'value';
  /** At least this ratio or share; of values, at most this one. */
  readonly bound: number;
}

export const targets: readonly Target[] = [
  { work: /^sine-inner-loop/, of: 'peer-1', bound: 8 },
  { work: /^omniglot-step\/10$/, of: 'peer-1', bound: 2 },
  { work: /^omniglot-meta-iteration$/, of: 'peer-2', bound: 2.5 },
  { work: /^omniglot-meta-iteration$/, of: 'peer-2x1', bound: 1.8 },
  { work: /^omniglot-meta-iteration$/, of: 'peak-2', bound: 0.5 },
  { work: /^mini-imagenet-step\/10$/, of: 'peer-1', bound: 1.5 },
  { work: /^maml-gradient$/, of: 'peer-1', bound: 2 },
  { work: /^evaluation/, of: 'peer-2', bound: 3 },
  { work: /^evaluation/, of: 'peer-2x1', bound: 3 },
  { work: /^memory\/omniglot$/, of: 'value', bound: 500 },
  { work: /^memory\/mini/, of: 'value', bound: 2500 },
  { work: /^start-up\/warm$/, of: 'value', bound: 1 },
];

/** Whether a target is met by what was measured. */
export function isReached({ of, bound }: Target, measured: number): boolean {
  return of === 'value' ? measured <= bound : measured >= bound;
}
