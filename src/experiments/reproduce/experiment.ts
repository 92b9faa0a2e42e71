/**
 * What an experiment is: units of work, each of which can be stopped and gone on with, and a report of what
 * they measured. Each of the paper's tables and figures is one file beside this one.
 */
import type { Runtime } from '../../runtime/runtime.ts';
import type { Settings } from '../settings.ts';
import type { ImageSplit } from '../setup.ts';
import type { Picture } from './pictures.ts';

/** Plain data: what comes back from a state file is what went in, to the last bit. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** What is asked of an experiment. */
export interface ReproduceOptions {
  /** All iteration counts and numbers of evaluation tasks are multiplied by it. */
  readonly scale: number;
  /** Seeds 0 … seeds − 1, each a run of its own: class split, initialization and all tasks. */
  readonly seeds: number;
  /** Tasks of an evaluation at the end. @default the experiment's own, times `scale` */
  readonly evalTasks?: number;
  /** Every x of a figure instead of those that show its course. @default false */
  readonly allPoints?: boolean;
}

export interface Experiment {
  /** Its word on the command line. */
  readonly name: string;
  /** One line: what it shows, and where that stands in the paper. */
  readonly summary: string;
  plan(options: ReproduceOptions): Plan;
}

/** An experiment with its options filled in. */
export interface Plan {
  readonly title: string;
  readonly units: readonly Unit[];
  /**
   * Whether units run side by side, one worker each. Otherwise they run one after another and share all
   * workers, which takes tasks that can run side by side.
   */
  readonly parallelUnits: boolean;
  /** What was measured so far; some units may not be done. */
  report(done: Done): Report;
}

/** The result of a unit, or undefined when it is not done. */
export type Done = <R extends Json>(unit: Unit<R>) => R | undefined;

export interface Unit<R extends Json = Json> {
  /** A path such as `5-way/reptile/seed-0`, different for every unit of an experiment. */
  readonly id: string;
  /** Other names of it, by which it can be asked for too. @default none */
  readonly also?: readonly string[];
  /** Everything that decides the result. A unit that was begun with others is not gone on with. */
  readonly settings: Json;
  /** How much work it is, in gradient steps on ten examples, for the time left. */
  readonly work: number;
  /** Does it. Equal settings give equal results, bit for bit, however often it was stopped. */
  run(context: UnitContext): Promise<R>;
  /** What came of it in a few words, for a line of progress. */
  note?(result: R): string;
}

/** What a unit works with. */
export interface UnitContext {
  readonly runtime: Runtime;
  readonly signal: AbortSignal;
  /** A file of this unit's own, such as its checkpoint; it stays where it is. */
  file(name: string): string;
  /** What `keep` was last given, before the unit was stopped. */
  readonly kept: Json | undefined;
  /** Saves a part of the result, to be found in `kept`. */
  keep(part: Json): Promise<void>;
  /** Reports that `share` of the unit's work, 0 … 1, is done. */
  progress(share: number, note?: string): void;
  /** Images of a task, parted by the seed; undefined for tasks that make their own. */
  images(settings: Pick<Settings, 'task' | 'seed'>): Promise<ImageSplit | undefined>;
}

/** A unit whose result is known by its type. */
export function unit<R extends Json>(definition: Unit<R>): Unit<R> {
  return definition;
}

/** A measured or printed number with what is known of its spread. */
export interface Measure {
  readonly value: number;
  /** Standard deviation over seeds, where there are several. */
  readonly deviation?: number;
  /** Half-width of the 95% interval over tasks. */
  readonly ci95?: number;
}

/** A line of the table at the end: ours, the paper's, and the difference. */
export interface Row {
  readonly label: string;
  readonly ours?: Measure | undefined;
  /** In place of a number of ours, such as `diverged`. */
  readonly remark?: string;
  readonly paper?: Measure | undefined;
}

export interface RowGroup {
  readonly title: string;
  /** `percent`: values are fractions of 1. `number`: three significant digits. */
  readonly unit: 'percent' | 'number';
  /** What the paper's column holds: its numbers or its theory's. @default 'paper' */
  readonly reference?: 'paper' | 'theory';
  readonly rows: readonly Row[];
}

export interface Report {
  readonly groups: readonly RowGroup[];
  /** Everything measured, for the record. */
  readonly measured: Json;
  /** By file name. */
  readonly pictures: Readonly<Record<string, Picture>>;
  /** What a reader must know to take the numbers rightly. */
  readonly remarks: readonly string[];
}
