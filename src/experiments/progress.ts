/** What a checkpoint holds of a run beside its state, as JSON: the learning curve, seconds, and notes. */
import { isObject } from '../data/json.ts';
import { DataError } from '../errors.ts';
import type { CurvePoint } from './run.ts';

export interface Progress {
  readonly curve: readonly CurvePoint[];
  /** Time spent in meta-iterations; left out of a sealed file, as it is another every time. */
  readonly trainSeconds?: number;
  /** What whoever runs the training keeps for itself. */
  readonly notes?: Readonly<Record<string, unknown>>;
  /** Whether the run is at its end and nothing will be added. */
  readonly sealed: boolean;
}

/** JSON has no place for numbers that are not finite, which a curve may have: they are written as text. */
type StoredNumber = number | 'NaN' | 'Infinity' | '-Infinity';

interface StoredPoint {
  readonly iteration: number;
  readonly metric: CurvePoint['metric'];
  readonly mean: StoredNumber;
  readonly ci95: StoredNumber;
  readonly values: readonly StoredNumber[];
}

/** As plain data for `encodeCheckpoint`. */
export function encodeProgress({ curve, ...others }: Progress): Readonly<Record<string, unknown>> {
  const points = curve.map(
    ({ iteration, metric, mean, ci95, values }): StoredPoint => ({
      iteration,
      metric,
      mean: stored(mean),
      ci95: stored(ci95),
      values: Array.from(values, stored),
    }),
  );
  return { curve: points, ...others };
}

/**
 * What `encodeProgress` wrote; a checkpoint without progress is the sealed end of a run without a curve.
 * @param file its name, for messages
 * @throws {DataError} when it is not what `encodeProgress` writes
 */
export function decodeProgress(
  progress: Readonly<Record<string, unknown>> | undefined,
  file: string,
): Progress {
  if (progress === undefined) return { curve: [], sealed: true };
  const { curve, trainSeconds, notes, sealed } = progress;
  const isTime = trainSeconds === undefined || isDuration(trainSeconds);
  if (!Array.isArray(curve) || !curve.every(isPoint) || !isTime || typeof sealed !== 'boolean') {
    throw new DataError(`${file}: its learning curve or seconds are damaged: start the run again`);
  }
  if (notes !== undefined && !isObject(notes)) {
    throw new DataError(`${file}: its notes are damaged: start the run again`);
  }
  const points = curve.map(
    ({ iteration, metric, mean, ci95, values }): CurvePoint => ({
      iteration,
      metric,
      mean: Number(mean),
      ci95: Number(ci95),
      values: Float64Array.from(values, Number),
    }),
  );
  return {
    curve: points,
    sealed,
    ...(trainSeconds === undefined ? {} : { trainSeconds }),
    ...(notes === undefined ? {} : { notes }),
  };
}

function stored(value: number): StoredNumber {
  return Number.isFinite(value) ? value : (String(value) as StoredNumber);
}

function isPoint(value: unknown): value is StoredPoint {
  if (!isObject(value)) return false;
  const { iteration, metric, mean, ci95, values } = value;
  const isMetric = metric === 'accuracy' || metric === 'meanSquaredError';
  const isIteration = Number.isSafeInteger(iteration) && Number(iteration) >= 0;
  return isIteration && isMetric && Array.isArray(values) && [mean, ci95, ...values].every(isStored);
}

function isStored(value: unknown): value is StoredNumber {
  return typeof value === 'number' || value === 'NaN' || value === 'Infinity' || value === '-Infinity';
}

function isDuration(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
