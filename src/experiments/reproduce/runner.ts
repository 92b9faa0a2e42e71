/**
 * Runs the units of a plan and keeps what they came to in a state file, so that a run that is stopped at any
 * moment goes on where it was: units that are done stay done, and those under way find what they kept.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { lockFile } from '../../data/lock.ts';
import { DataError, OptionError } from '../../errors.ts';
import { writeAtomically } from '../../files.ts';
import type { Runtime } from '../../runtime/runtime.ts';
import type { Done, Json, Plan, Report, Unit, UnitContext } from './experiment.ts';

/** The name of the state file in the folder of an experiment. */
export const stateFile = 'state.json';

/** The state file's `format`; another number is another meaning of its entries. */
const format = 'anole reproduction 1';

export interface RunnerOptions {
  /** Name of the experiment; a folder holds one. */
  readonly name: string;
  /** Where the state file and the units' own files lie. */
  readonly folder: string;
  /** How many threads may compute at the same time. */
  readonly workers: number;
  /** A runtime with so many workers, off the main thread when `apart`. */
  readonly startRuntime: (options: { workers: number; apart: boolean }) => Promise<Runtime>;
  readonly images: UnitContext['images'];
  readonly signal: AbortSignal;
  /** Only units of which a name has one of these at the start of one of its parts, such as `5-way/reptile`. @default all */
  readonly only?: readonly string[];
  readonly onProgress?: (progress: UnitProgress) => void;
  /** A unit is done and saved. */
  readonly onUnit?: (unit: Unit, outcome: Outcome) => void | Promise<void>;
}

export interface UnitProgress {
  /** Work done, how much of it before this process began, and all there is. */
  readonly done: number;
  readonly before: number;
  readonly total: number;
  /** The unit that reported, and what it says. */
  readonly note: string;
}

/** What became of a unit. */
export interface Outcome {
  readonly result: Json;
  readonly seconds: number;
}

interface StoredUnit {
  readonly settings: Json;
  readonly seconds: number;
  readonly kept?: Json;
  readonly result?: Json;
}

interface Stored {
  readonly format: string;
  readonly experiment: string;
  /** Wall-clock time of all the processes together, and their time on processors. */
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly units: Readonly<Record<string, StoredUnit>>;
}

/** The units of one plan and where each stands. */
export class Runner {
  readonly #plan: Plan;
  readonly #options: RunnerOptions;
  #units = new Map<string, StoredUnit>();
  #secondsBefore = 0;
  #cpuSecondsBefore = 0;
  readonly #began = performance.now();
  readonly #cpuBefore = process.cpuUsage();
  #writing: Promise<void> = Promise.resolve();

  private constructor(plan: Plan, options: RunnerOptions) {
    this.#plan = plan;
    this.#options = options;
  }

  /**
   * Reads the state file, if there is one.
   * @throws {OptionError} when it is of another experiment, or a unit was begun with other settings
   * @throws {DataError} when it is damaged
   */
  static async open(plan: Plan, options: RunnerOptions): Promise<Runner> {
    const runner = new Runner(plan, options);
    await runner.#read();
    return runner;
  }

  async #read(): Promise<void> {
    const { folder, name } = this.#options;
    const stored = await readState(join(folder, stateFile));
    if (stored === undefined) return;
    if (stored.experiment !== name) {
      throw new OptionError(
        `out: ${folder} holds "${stored.experiment}", not "${name}": give another folder`,
      );
    }
    for (const { id, settings } of this.#plan.units) {
      const before = stored.units[id];
      if (before === undefined) continue;
      const change = firstChange(before.settings, settings);
      if (change !== undefined) {
        throw new OptionError(
          `out: ${folder} has "${id}" with ${change}: give another folder, or the options it began with`,
        );
      }
    }
    this.#units = new Map(Object.entries(stored.units));
    this.#secondsBefore = stored.seconds;
    this.#cpuSecondsBefore = stored.cpuSeconds;
  }

  /** The units asked for. */
  get chosen(): readonly Unit[] {
    const { only } = this.#options;
    const { units } = this.#plan;
    if (only === undefined) return units;
    const matches = ({ id, also = [] }: Unit, part: string) =>
      [id, ...also].some((name) => `/${name}`.includes(`/${part}`));
    const lacking = only.find((part) => !units.some((unit) => matches(unit, part)));
    if (lacking !== undefined) {
      const some = units.slice(0, 3).map(({ id }) => id);
      throw new OptionError(
        `only: no part of this experiment has "${lacking}" in its name, such as ${some.join(', ')}`,
      );
    }
    return units.filter((unit) => only.some((part) => matches(unit, part)));
  }

  /** Wall-clock seconds of all the processes that worked on it, this one's so far too. */
  get seconds(): number {
    return this.#secondsBefore + (performance.now() - this.#began) / 1000;
  }

  /** Their time on processors, all threads together: what is left of the seconds on a machine that others use too. */
  get cpuSeconds(): number {
    const { user, system } = process.cpuUsage(this.#cpuBefore);
    return this.#cpuSecondsBefore + (user + system) / 1e6;
  }

  outcome({ id }: Unit): Outcome | undefined {
    const stored = this.#units.get(id);
    return stored?.result === undefined ? undefined : { result: stored.result, seconds: stored.seconds };
  }

  report(): Report {
    const done: Done = <R extends Json>(unit: Unit<R>) => this.outcome(unit)?.result as R | undefined;
    return this.#plan.report(done);
  }

  /**
   * Does all units asked for that are not done yet.
   * @throws {DataError} when another process does units of this folder
   */
  async run(): Promise<void> {
    if (this.chosen.every((unit) => this.outcome(unit) !== undefined)) return;
    const unlock = await lockFile(join(this.#options.folder, stateFile));
    try {
      await this.#read(); // what a process that held the lock has done since
      await this.#runUnits();
    } finally {
      unlock();
    }
  }

  async #runUnits(): Promise<void> {
    const { workers, startRuntime, signal } = this.#options;
    const waiting = this.chosen.filter((unit) => this.outcome(unit) === undefined);
    if (waiting.length === 0) return;
    const meter = new Meter(waiting, this.#options.onProgress);
    const stop = new AbortController();
    const any = AbortSignal.any([signal, stop.signal]);
    const saving = setInterval(() => void this.#save().catch(() => {}), 30_000); // so that a kill costs few seconds of the count
    const lanes = this.#plan.parallelUnits ? Math.min(workers, waiting.length) : 1;
    const threads = this.#plan.parallelUnits ? 1 : workers;
    const next = () => waiting.shift();
    const lane = async () => {
      for (let unit = next(); unit !== undefined; unit = next()) {
        any.throwIfAborted();
        const runtime = await startRuntime({ workers: threads, apart: lanes > 1 });
        try {
          await this.#perform(unit, { runtime, signal: any, meter });
        } finally {
          await runtime.dispose(); // a unit's programs are of no use to the next one
        }
      }
    };
    try {
      const running = Array.from({ length: lanes }, lane);
      for (const one of running) one.catch((error: unknown) => stop.abort(error));
      const ends = await Promise.allSettled(running);
      if (any.aborted) throw any.reason;
      const failed = ends.find((end) => end.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    } finally {
      clearInterval(saving);
      await this.#save();
    }
  }

  async #perform(
    unit: Unit,
    { runtime, signal, meter }: { runtime: Runtime; signal: AbortSignal; meter: Meter },
  ): Promise<void> {
    const began = performance.now();
    const before = this.#units.get(unit.id);
    const store = (parts: Pick<StoredUnit, 'kept' | 'result'>) => {
      const seconds = (before?.seconds ?? 0) + (performance.now() - began) / 1000;
      this.#units.set(unit.id, { settings: unit.settings, seconds, ...parts });
    };
    const kept = before?.kept;
    let latest = kept;
    store(kept === undefined ? {} : { kept }); // its files are bound to its settings from here on
    await this.#save();
    const result = await unit
      .run({
        runtime,
        signal,
        kept,
        file: (name) => join(this.#options.folder, 'units', ...unit.id.split('/'), name),
        keep: async (part) => {
          latest = part;
          store({ kept: part });
          await this.#save();
        },
        progress: (share, note = '') => meter.update(unit, share, note),
        images: this.#options.images,
      })
      .catch(async (error: unknown) => {
        store(latest === undefined ? {} : { kept: latest });
        throw error;
      });
    store({ result });
    await this.#save();
    meter.update(unit, 1, '');
    await this.#options.onUnit?.(unit, this.outcome(unit)!);
  }

  #save(): Promise<void> {
    const state: Stored = {
      format,
      experiment: this.#options.name,
      seconds: this.seconds,
      cpuSeconds: this.cpuSeconds,
      units: Object.fromEntries(this.#units),
    };
    const bytes = new TextEncoder().encode(`${JSON.stringify(state, undefined, 1)}\n`);
    const written = this.#writing.then(() => writeAtomically(join(this.#options.folder, stateFile), bytes));
    this.#writing = written.catch(() => {}); // told to whoever asked for it
    return written;
  }
}

/** Adds up what the units report. */
class Meter {
  readonly #report: RunnerOptions['onProgress'];
  readonly #total: number;
  readonly #done = new Map<Unit, number>();
  /** What was done before this process began, as the first report of each unit says. */
  readonly #before = new Map<Unit, number>();

  constructor(units: readonly Unit[], report: RunnerOptions['onProgress']) {
    this.#report = report;
    this.#total = units.reduce((total, { work }) => total + work, 0);
  }

  update(unit: Unit, share: number, note: string): void {
    const work = share * unit.work;
    if (!this.#before.has(unit)) this.#before.set(unit, share < 1 ? work : 0);
    this.#done.set(unit, work);
    const sum = (map: Map<Unit, number>) => [...map.values()].reduce((a, b) => a + b, 0);
    this.#report?.({
      done: sum(this.#done),
      before: sum(this.#before),
      total: this.#total,
      note: note === '' ? unit.id : `${unit.id}: ${note}`,
    });
  }
}

async function readState(path: string): Promise<Stored | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DataError(`could not read ${path} (${(cause as Error).message}): give another folder`, {
      cause,
    });
  }
  try {
    const state = JSON.parse(text) as Stored;
    if (state.format !== format)
      throw new Error(`its format is ${JSON.stringify(state.format)}, not "${format}"`);
    return state;
  } catch (cause) {
    throw new DataError(
      `${path}: not the state of an experiment (${(cause as Error).message}): give another folder`,
      { cause },
    );
  }
}

/** The first place where two plain values differ, in words; undefined when they do not. */
export function firstChange(before: Json, now: Json, path = ''): string | undefined {
  if (isRecord(before) && isRecord(now)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
      const change = firstChange(before[key] ?? null, now[key] ?? null, path === '' ? key : `${path}.${key}`);
      if (change !== undefined) return change;
    }
    return undefined;
  }
  const [a, b] = [JSON.stringify(before), JSON.stringify(now)];
  return a === b ? undefined : `${path === '' ? 'settings' : path} ${a}, not ${b}`;
}

function isRecord(value: Json): value is { readonly [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
