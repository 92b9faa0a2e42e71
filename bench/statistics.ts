/** What several measurements of one thing come to. */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Quartiles, between neighbours by linear interpolation. */
  readonly q1: number;
  readonly q3: number;
  /** In the order they were taken. */
  readonly samples: readonly number[];
}

/** @throws {RangeError} without any sample */
export function summarize(samples: readonly number[]): Summary {
  return {
    median: quantile(samples, 0.5),
    min: quantile(samples, 0),
    max: quantile(samples, 1),
    q1: quantile(samples, 0.25),
    q3: quantile(samples, 0.75),
    samples,
  };
}

/**
 * The value below which a fraction `q` of the samples lies, between neighbours by linear interpolation.
 * @throws {RangeError} without any sample
 */
export function quantile(samples: readonly number[], q: number): number {
  if (samples.length === 0) throw new RangeError('quantile: there are no samples');
  const sorted = [...samples].sort((a, b) => a - b);
  const place = q * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  return below + (above - below) * (place - Math.floor(place));
}

/** Median of the ratios of samples that were taken side by side: what drifts over minutes hits both. */
export function pairedRatio(numerators: readonly number[], denominators: readonly number[]): number {
  const pairs = Math.min(numerators.length, denominators.length);
  return quantile(
    Array.from({ length: pairs }, (_, i) => numerators[i]! / denominators[i]!),
    0.5,
  );
}
