/** The harness: what a work is, and how its variants are measured in turns. */
import type { ImageSplit } from '../src/node.ts';
import type { PeerWork } from './peer.ts';
import { type Summary, summarize } from './statistics.ts';

/** One way of doing a work that is measured: ours on some cores, or the peer's. */
export interface Variant {
  /** Such as `ours-1`: ours on one core. */
  readonly name: string;
  /** One measurement, in the work's unit. */
  sample(): Promise<number>;
  close?(): Promise<void>;
}

/** A declaration of something to measure. */
export interface Work {
  /** Such as `omniglot-step/10`. */
  readonly name: string;
  /** What is measured, in a line. */
  readonly measures: string;
  readonly unit: Unit;
  /** @default as asked for on the command line, and never more */
  readonly runs?: number;
  /** Floating-point operations in what `unit` is counted for; see flops.ts. @default no share of the peak */
  readonly flops?: number;
  /** Why it can't be measured here. @default it can */
  readonly unavailable?: (context: Context) => Promise<string | undefined> | string | undefined;
  ours(context: Context): Promise<readonly Variant[]>;
  /** The same work for the peer. @default none */
  readonly peer?: (context: Context) => Promise<PeerComparison>;
}

export type Unit = 'ms' | 's' | 'MB' | 'GFLOP/s';

export interface PeerComparison {
  readonly work: PeerWork;
  /** How long a sample takes at least, in seconds. @default as ours */
  readonly seconds?: number;
  /** What the peer's check must answer, to a thousandth. @default no check */
  readonly expected?: Readonly<Record<string, number | readonly number[]>>;
}

/** What works share. */
export interface Context {
  /** How long a sample takes at least, in seconds. */
  readonly seconds: number;
  /** Folder of Omniglot's archives. @default where `anole data fetch` puts them */
  readonly data?: string;
  /** A folder for files, gone when the benchmark ends. */
  readonly scratch: string;
  /** Omniglot's images, read once. */
  omniglot(): Promise<ImageSplit>;
}

/** Something that is called again and again. */
export interface Repeatable {
  /** Units of work in one call. */
  readonly units: number;
  run(): Promise<void>;
  close?(): Promise<void>;
}

/** A variant that takes the time of a unit, in ms, over calls of at least `seconds`, after as long to warm up. */
export async function timed(name: string, repeatable: Repeatable, seconds: number): Promise<Variant> {
  const { units, run } = repeatable;
  const sample = async () => {
    const start = performance.now();
    let calls = 0;
    let elapsed = 0;
    while (elapsed < 1000 * seconds) {
      await run();
      calls++;
      elapsed = performance.now() - start;
    }
    return elapsed / (calls * units);
  };
  await sample();
  return { name, sample, close: repeatable.close };
}

/** Samples of all variants, in turns: a first of each, a second of each, … so that noise hits all alike. */
export async function measure(
  variants: readonly Variant[],
  runs: number,
): Promise<Readonly<Record<string, Summary>>> {
  const samples = variants.map((): number[] => []);
  for (let run = 0; run < runs; run++) {
    for (const [i, variant] of variants.entries()) samples[i]!.push(await variant.sample());
  }
  return Object.fromEntries(variants.map(({ name }, i) => [name, summarize(samples[i]!)]));
}
