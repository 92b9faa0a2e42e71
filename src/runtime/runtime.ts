/** What runs compiled programs: the interface every runtime (one thread, many workers, browser) offers. */
import type { Graph, Loop } from '../graph/trace.ts';
import type { TypedArray } from '../graph/type.ts';

/** Where programs run: on ONNX Runtime's kernels for the CPU, as machine code of their own, or on WebGPU. */
export type Provider = 'cpu' | 'native' | 'webgpu';

/** Named arrays, row-major: what goes into a program and what comes out. */
export type Arrays<K extends string = string> = Readonly<Record<K, TypedArray>>;

/** A compiled program of static shapes. */
export interface Executable<In extends string = string, Out extends string = string> {
  /** @throws {DataError} when an input is absent or of another length or element type */
  run(inputs: Arrays<In>): Promise<Arrays<Out>>;
}

/**
 * One part of a longer computation. Inputs that are not given here are the inputs or outputs of the same
 * name of earlier stages: so the halves of a shared inner loop hand their parameters on.
 */
export interface Stage {
  readonly executable: Executable;
  readonly inputs: Arrays;
}

/** One of several computations that do not depend on each other. */
export interface Work {
  /** Stages that can be shared out: one worker may run the first of them, another the rest. */
  readonly pieces: readonly Stage[];
  /** The same computation in fewer, longer stages, for where one worker runs it all. @default `pieces` */
  readonly whole?: readonly Stage[];
}

/** Compiles programs and runs them; made by `nodeRuntime` or `webRuntime`. */
export interface Runtime {
  readonly provider: Provider;
  /** How many calls of `run` proceed at the same time. */
  readonly parallelism: number;
  /** A runtime in the calling thread, for short work between what runs in parallel; disposed with this one. */
  readonly here: Runtime;
  /** How many programs were compiled so far: constant in a steady loop. */
  readonly compilations: number;
  /** Simplifies, lowers and loads a program. Equal programs are compiled once. */
  compile<In extends string, Out extends string>(
    program: Graph<In, Out> | Loop<In, Out>,
  ): Promise<Executable<In, Out>>;
  /** Runs stages one after another in one place and returns the outputs named by `fetch`. */
  run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>>;
  /** Runs all `work`, spread evenly over what the runtime has; for each of it the outputs named by `fetch`. */
  runAll<K extends string>(work: readonly Work[], fetch: readonly K[]): Promise<Arrays<K>[]>;
  /** Takes back what a run returned, which must not be used again, to write later results into it. */
  recycle(results: Arrays): void;
  /** Frees all programs. A disposed runtime runs nothing more. */
  dispose(): Promise<void>;
}

export interface RuntimeOptions {
  /** Threads inside one operator. One is fastest where tasks run in parallel, and exactly repeatable. @default 1 */
  threads?: number;
}
