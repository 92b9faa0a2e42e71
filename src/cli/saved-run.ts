/** Reading what a run left: its weights and settings, and what it noted to be gone on with. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isShipped, shippedAddress, shippedNames } from '../app/shipped.ts';
import { DataError, didYouMean } from '../errors.ts';
import { type Notes, readCheckpoint } from '../experiments/durable.ts';
import type { Settings } from '../experiments/settings.ts';
import { settingsIn } from '../experiments/weights.ts';
import { fileFault } from '../files.ts';
import type { Checkpoint } from '../meta/checkpoint.ts';
import type { Provider } from '../runtime/runtime.ts';
import type { RunResult } from './run.ts';
import { metricsFile, weightsFile } from './run-folder.ts';

/** What the command line keeps in a checkpoint of a run that is not finished. */
export interface RunNotes extends Notes {
  /** Length of `metrics.jsonl` at that moment. */
  readonly metricsBytes: number;
  /** Sum of the losses since the last progress event. */
  readonly lossTotal: number;
  /** Since the start, in all processes so far. */
  readonly totalSeconds: number;
  readonly device: Provider;
  readonly tensorboard: boolean;
  /** Where the images came from, absolute. */
  readonly data?: string;
}

export interface SavedRun {
  /** Of the run. */
  readonly folder: string;
  /** Of the weights. */
  readonly path: string;
  readonly settings: Settings;
  readonly checkpoint: Checkpoint;
}

/** A file of weights, of whichever kind. */
export interface ModelFile {
  /** Of the run or the file; the working folder for weights that come with the package. */
  readonly folder: string;
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads weights, shipped ones or an adapted model.
 * @param source a run's folder, a file, or the name of weights that come with the package
 * @throws {DataError} when there are none
 */
export async function readModelFile(source: string): Promise<ModelFile> {
  if (isShipped(source)) {
    const path = fileURLToPath(shippedAddress(source));
    return { folder: '.', path, bytes: await readFile(path) };
  }
  const { folder, path } = await locateWeights(source);
  const bytes = await readFile(path).catch((cause) => {
    const remedy = didYouMean(source, shippedNames) || ': give the folder of a run, such as runs/demo/sine';
    throw new DataError(`${path}: no weights there${remedy} (${fileFault(cause)})`, { cause });
  });
  return { folder, path, bytes };
}

/** A run's folder stands for the weights in it; a file of weights lies in the folder of its run. */
export async function locateWeights(source: string): Promise<{ folder: string; path: string }> {
  const isFolder = await stat(source).then(
    (found) => found.isDirectory(),
    () => false,
  );
  return isFolder
    ? { folder: source, path: join(source, weightsFile) }
    : { folder: dirname(source), path: source };
}

/**
 * Reads a run's weights and the settings in them.
 * @param run its folder, or its weights
 * @throws {DataError} when there are none, or they are damaged or of settings this version does not know
 */
export async function readRun(run: string): Promise<SavedRun> {
  const { folder, path } = await locateWeights(run);
  const checkpoint = await readCheckpoint(path);
  if (checkpoint === undefined) {
    throw new DataError(`${path}: no weights there: give the folder of a run, such as runs/demo/sine`);
  }
  const settings = settingsIn(checkpoint.settings, path);
  return { folder, path, settings, checkpoint };
}

/**
 * The notes of a checkpoint; undefined where there are none, as in that of a finished run.
 * @param file its name, for messages
 * @throws {DataError} when they are not what the command line writes
 */
export function readNotes(notes: Notes | undefined, file: string): RunNotes | undefined {
  if (notes === undefined) return undefined;
  const { metricsBytes, lossTotal, totalSeconds, device, tensorboard, data } = notes as Partial<RunNotes>;
  const numbers = [metricsBytes, lossTotal, totalSeconds];
  const areNumbers = numbers.every((value) => typeof value === 'number' && Number.isFinite(value));
  const isDevice = ['cpu', 'native', 'webgpu'].includes(device as string);
  const areOthers = typeof tensorboard === 'boolean' && (data === undefined || typeof data === 'string');
  if (!areNumbers || !Number.isSafeInteger(metricsBytes) || metricsBytes! < 0 || !isDevice || !areOthers) {
    throw new DataError(`${file}: was not saved by \`anole train\`, or is damaged: start the run again`);
  }
  return notes as RunNotes;
}

/** The result of a run that is finished: the last line of its metrics, if that is one. */
export async function readResult(folder: string): Promise<RunResult | undefined> {
  const text = await readFile(join(folder, metricsFile), 'utf8').catch(() => '');
  try {
    const last: unknown = JSON.parse(text.trimEnd().split('\n').at(-1) ?? '');
    return (last as RunResult | null)?.event === 'result' ? (last as RunResult) : undefined;
  } catch {
    return undefined;
  }
}
