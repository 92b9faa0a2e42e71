/**
 * Training that survives being stopped at any moment: it keeps a checkpoint file and goes on from it, to
 * the same final bits as if it had never been stopped. Node only.
 *
 *     const setup = setUp(resolveSettings({ task: 'glyphs' }));
 *     const { state, curve } = await trainDurably(setup, {
 *       file: 'results/glyphs.safetensors', // gone on from if it is there; its folder is made
 *       runtime,
 *       onCurvePoint: ({ iteration, mean }) => console.log(iteration, mean),
 *     });
 *
 * The file is rewritten, whole or not at all, before training begins, every `checkpointEvery` seconds, with
 * every point of the learning curve, at the end, and when training ends early (`signal`, a loss that is not
 * finite). A process that is killed outright loses what came after the last of these. Calling again with a
 * file that is done trains nothing and returns what it came to. Weights and curve depend on the settings
 * alone; seconds are those of all the processes together. One process at a time may train with a file:
 * `trainDurably` holds its lock (`lock.ts`) meanwhile.
 *
 * `DurableTraining` is the same in parts, for callers that keep more in the checkpoint (`notes`) or end it
 * their own way; the lock is theirs to take.
 */
import { readFile } from 'node:fs/promises';
import { lockFile } from '../data/lock.ts';
import { DataError, OptionError } from '../errors.ts';
import { fileFault, removeLeftovers, writeAtomically } from '../files.ts';
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from '../meta/checkpoint.ts';
import { initialState, type TrainingState } from '../meta/train.ts';
import { decodeProgress, encodeProgress, type Progress } from './progress.ts';
import { type CurvePoint, type RunOptions, runTraining, type TrainingSoFar } from './run.ts';
import type { Settings } from './settings.ts';
import type { Setup } from './setup.ts';

/** Plain data: what comes back is what `JSON.parse` makes of it. */
export type Notes = Readonly<Record<string, unknown>>;

export interface DurableOptions {
  /** The checkpoint, a safetensors file as `decodeCheckpoint` reads it. */
  readonly file: string;
  /** Seconds of wall-clock time between two checkpoints; 0 writes one after every meta-iteration. @default 30 */
  readonly checkpointEvery?: number;
  /**
   * Go on with the settings given where those of the checkpoint are others. What decides the network, the
   * optimizers' states or which classes are tested on stays: with another seed, say, these could be among those
   * already trained on. @default false
   */
  readonly allowChanges?: boolean;
  /** Asked at every checkpoint for what else to keep in it; see `DurableTraining.found`. */
  readonly notes?: () => Notes;
  /** Seconds of training before, where the file is sealed and does not say. @default 0 */
  readonly trainSeconds?: number;
}

/** What was in the checkpoint file when it was opened. */
export interface Found {
  /** Meta-iterations done. */
  readonly iteration: number;
  /** What `notes` had returned; nothing in a sealed file. */
  readonly notes?: Notes;
  /** Whether the file was sealed: it is then the end of a run. */
  readonly sealed: boolean;
  /** Settings that are now others, allowed by `allowChanges`, as `innerLr 0.001 → 0.01`. */
  readonly changes: readonly string[];
}

export interface DurableRun extends TrainingSoFar {
  /** Inner steps taken in all. */
  readonly innerSteps: number;
  /** What it went on from. */
  readonly found?: Found;
}

/**
 * Meta-trains by the settings with a checkpoint file, going on from it where there is one.
 * @throws {OptionError} when the file is of other settings, naming each
 * @throws {DataError} when the file is damaged, can not be written, or another process trains with it; what it
 *   held before stays whole
 */
export async function trainDurably(
  setup: Setup,
  options: DurableOptions & Omit<RunOptions, 'from'>,
): Promise<DurableRun> {
  const release = await lockFile(options.file);
  try {
    const training = await DurableTraining.open(setup, options);
    return await training.run(options);
  } finally {
    release();
  }
}

/** `trainDurably` in parts: open, run, then seal or leave to be gone on with. */
export class DurableTraining {
  /** What was in the file, if there was one. */
  readonly found: Found | undefined;
  readonly #setup: Setup;
  readonly #options: DurableOptions;
  readonly #curve: CurvePoint[];
  #state: TrainingState;
  #trainSeconds: number;
  #savedAt = performance.now();
  /** Whether there is anything to save. */
  #unsaved: boolean;
  /** The writes so far: one after the other, so that an older checkpoint never replaces a newer one. */
  #writing: Promise<void> = Promise.resolve();
  #closed = false;
  #isOnDisk: boolean;

  private constructor(setup: Setup, options: DurableOptions, start: TrainingSoFar, found?: Found) {
    this.#setup = setup;
    this.#options = options;
    this.#state = start.state;
    this.#curve = [...start.curve];
    this.#trainSeconds = start.trainSeconds;
    this.found = found;
    this.#isOnDisk = found !== undefined;
    this.#unsaved = found === undefined || found.changes.length > 0;
  }

  /**
   * Reads the file, or makes a fresh start where there is none. Nothing is written yet.
   * @throws {OptionError} when the file is of other settings, naming each
   * @throws {DataError} when the file is damaged
   */
  static async open(setup: Setup, options: DurableOptions): Promise<DurableTraining> {
    const { file, checkpointEvery = 30, allowChanges = false } = options;
    if (!(checkpointEvery >= 0)) {
      throw new OptionError(`checkpointEvery: expected seconds from 0 on, got ${checkpointEvery}`);
    }
    const checkpoint = await readCheckpoint(file);
    await removeLeftovers(file);
    const { settings } = setup;
    if (checkpoint === undefined) {
      const state = initialState({ ...setup, seed: settings.seed });
      return new DurableTraining(setup, options, { state, curve: [], trainSeconds: 0 });
    }
    const changes = compareSettings(checkpoint.settings, settings, { file, allowChanges });
    const { iteration } = checkpoint;
    if (iteration > settings.metaIterations) {
      throw new OptionError(
        `metaIterations: ${file} has ${iteration} done already, more than ${settings.metaIterations}: raise it`,
      );
    }
    const progress = decodeProgress(checkpoint.progress, file);
    const { curve, trainSeconds = options.trainSeconds ?? 0, notes, sealed } = progress;
    const start = { state: checkpoint.state(setup), curve, trainSeconds };
    return new DurableTraining(setup, options, start, {
      iteration,
      sealed,
      changes,
      ...(notes && { notes }),
    });
  }

  /** Where the training is; changed in place while it runs. */
  get state(): TrainingState {
    return this.#state;
  }

  /** Points of the learning curve so far, those before it was stopped too. */
  get curve(): readonly CurvePoint[] {
    return this.#curve;
  }

  /** Whether the file is there: found, or written since. */
  get isOnDisk(): boolean {
    return this.#isOnDisk;
  }

  /** Trains to the end, saving on the way, and however it ends. */
  async run(options: Omit<RunOptions, 'from'>): Promise<DurableRun> {
    const { checkpointEvery = 30 } = this.#options;
    try {
      if (this.#unsaved) await this.save(); // from here on it can be killed
      const from = { state: this.#state, curve: this.#curve, trainSeconds: this.#trainSeconds };
      const { innerSteps } = await runTraining(this.#setup, {
        ...options,
        from,
        onState: (state) => {
          this.#state = state;
          options.onState?.(state);
        },
        onProgress: (progress) => {
          this.#trainSeconds = progress.trainSeconds;
          this.#unsaved = true;
          options.onProgress?.(progress);
        },
        onCurvePoint: async (point) => {
          this.#curve.push(point);
          this.#unsaved = true;
          await options.onCurvePoint?.(point);
          await this.save();
        },
        onIteration: async (iteration) => {
          await options.onIteration?.(iteration);
          if (performance.now() - this.#savedAt >= 1000 * checkpointEvery) await this.save();
        },
      });
      if (this.#unsaved) await this.save();
      const { found } = this;
      const result = { state: this.#state, curve: this.#curve, trainSeconds: this.#trainSeconds, innerSteps };
      return found === undefined ? result : { ...result, found };
    } catch (error) {
      if (this.#unsaved) await this.save().catch(() => {}); // the first error is the one to tell
      throw error;
    }
  }

  /**
   * Writes a checkpoint of this moment, at any moment.
   * @throws {DataError} when the file can not be written; what it held before stays whole
   */
  async save(): Promise<void> {
    if (this.#closed) return;
    const notes = this.#options.notes?.();
    await this.#write({ trainSeconds: this.#trainSeconds, ...(notes && { notes }), sealed: false });
  }

  /** The last `save`: later ones, of a training that is still ending, do nothing. */
  async close(): Promise<void> {
    const saved = this.save();
    this.#closed = true;
    await saved;
  }

  /** No more saves, and none on its way: the file may be taken away. */
  async abandon(): Promise<void> {
    this.#closed = true;
    await this.#writing;
  }

  /**
   * Writes the file a last time, as the end of a run: without seconds and notes, so that its bytes depend on
   * the settings alone.
   */
  async seal(): Promise<void> {
    this.#closed = true;
    await this.#write({ sealed: true });
  }

  #write(progress: Omit<Progress, 'curve'>): Promise<void> {
    const { file } = this.#options;
    const content = { ...this.#setup, settings: { ...this.#setup.settings }, state: this.#state };
    const bytes = encodeCheckpoint({
      ...content,
      progress: encodeProgress({ ...progress, curve: this.#curve }),
    });
    this.#unsaved = false;
    const written = this.#writing.then(async () => {
      await writeAtomically(file, bytes).catch((cause) => {
        this.#unsaved = true;
        throw new DataError(`${(cause as Error).message}; a checkpoint written before is still whole`, {
          cause,
        });
      });
      this.#savedAt = performance.now();
      this.#isOnDisk = true;
    });
    this.#writing = written.catch(() => {}); // told to whoever asked for it
    return written;
  }
}

/**
 * The checkpoint in a file, or undefined where there is no file.
 * @throws {DataError} when it can not be read or is none
 */
export async function readCheckpoint(file: string): Promise<Checkpoint | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DataError(`could not read ${file} (${fileFault(cause)}): give another file`, { cause });
  }
  return decodeCheckpoint(bytes, file);
}

/** What no run may change on its way, and why. */
const fixed: Partial<Record<keyof Settings, string>> = {
  task: 'another task needs a run of its own',
  ways: 'another number of classes needs a run of its own',
  seed: 'it parts the classes into those to train and those to test on',
  minImages: 'it parts the classes into those to train and those to test on',
  imageSize: 'images of another size need a run of their own',
  gray: 'other images need a run of their own',
  innerOptimizer: 'the other has another state',
  outerOptimizer: 'the other has another state',
};

/**
 * The changes, as text.
 * @throws {OptionError} naming them where they are not allowed
 */
export function compareSettings(
  saved: Checkpoint['settings'],
  wanted: Settings,
  { file, allowChanges = false }: { readonly file: string; readonly allowChanges?: boolean },
): string[] {
  const before: Readonly<Record<string, unknown>> = saved;
  const now: Readonly<Record<string, unknown>> = { ...wanted };
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]));
  for (const name of changed) {
    const reason = fixed[name as keyof Settings];
    if (reason === undefined) continue;
    throw new OptionError(
      `${name}: ${file} was trained with ${before[name]}, not ${now[name]}, and this can not change (${reason}): ` +
        'leave it out, or start another run',
    );
  }
  if (changed.length > 0 && !allowChanges) {
    const list = changed.map((name) => `${name} ${before[name]}, not ${now[name]}`).join('; ');
    throw new OptionError(
      `resume: ${file} was trained with ${list}: leave that out, or allow it with allowChanges`,
    );
  }
  return changed.map((name) => `${name} ${before[name]} → ${now[name]}`);
}
