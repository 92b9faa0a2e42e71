/**
 * A runtime over several threads: each holds every program in a session of its own and runs one list of stages
 * at a time. The calling thread is one of them. Arrays backed by a SharedArrayBuffer reach the others without
 * a copy.
 */
import { Worker } from 'node:worker_threads';
import { DataError } from '../errors.ts';
import type { Graph, Loop } from '../graph/trace.ts';
import type { TypedArray } from '../graph/type.ts';
import type { LocalRuntime } from './local.ts';
import type { LoadOptions } from './onnx.ts';
import { disposedError, type Program, ProgramCache } from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage, Work } from './runtime.ts';
import { type Segment, schedule } from './schedule.ts';

/** What a worker runs programs with: ONNX Runtime as told, or a library's machine code. */
export type WorkerOptions = LoadOptions | 'native';

/** What a worker is asked; `job` numbers the answer. */
export type Request =
  | { readonly job: number; readonly load: Program; readonly program: number }
  | {
      readonly job: number;
      readonly stages: readonly { readonly program: number; readonly inputs: Arrays }[];
      readonly fetch: readonly string[];
      /** Arrays of earlier results that may be written into. */
      readonly recycled: readonly TypedArray[];
    }
  | { readonly job: number; readonly end: true };

/** What it answers. An error loses its class on the way, so that is told beside it. */
export type Reply = { readonly job: number } & (
  | { readonly outputs: Arrays }
  | { readonly error: Error; readonly isDataError: boolean }
);

type RequestBody = Request extends infer R ? (R extends Request ? Omit<R, 'job'> : never) : never;

interface Pending {
  resolve(outputs: Arrays): void;
  reject(error: Error): void;
}

/** A thread that runs stages, one list after another. */
interface Place {
  /** How many lists it has not finished yet. */
  readonly load: number;
  /** `moved` are inputs that may be taken instead of being copied: the caller does not use them any more. */
  run(
    stages: readonly { readonly program: PooledProgram; readonly inputs: Arrays }[],
    fetch: readonly string[],
    moved: readonly TypedArray[],
  ): Promise<Arrays>;
  /** Takes back a result of its own. */
  recycle(array: TypedArray): void;
}

/** A program as the threads know it. */
interface PooledProgram {
  /** In the workers. */
  readonly number: number;
  /** In the calling thread. */
  readonly executable: Executable;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** The calling thread. */
class Here implements Place {
  readonly #runtime: LocalRuntime;
  load = 0;

  constructor(runtime: LocalRuntime) {
    this.#runtime = runtime;
  }

  run: Place['run'] = (stages, fetch) => {
    const list = stages.map(({ program, inputs }) => ({ executable: program.executable, inputs }));
    this.load++;
    return this.#runtime.run(list, fetch).finally(() => this.load--);
  };

  recycle(array: TypedArray): void {
    this.#runtime.recycle({ array });
  }
}

/** One worker thread and the answers it owes. */
class Channel implements Place {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  readonly #pending = new Map<number, Pending>();
  #recycled: TypedArray[] = [];
  #jobs = 0;
  #failure: Error | undefined;

  constructor(options: WorkerOptions) {
    // Flags of the main thread, such as --input-type, are not for this file.
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: options, execArgv: [] });
    this.#worker.unref(); // an idle pool does not keep the process alive
    this.#worker.on('message', (reply: Reply) => {
      const pending = this.#pending.get(reply.job);
      if (pending === undefined) return; // it was told otherwise already
      this.#pending.delete(reply.job);
      if (this.#pending.size === 0) this.#worker.unref();
      if ('outputs' in reply) pending.resolve(reply.outputs);
      else if (!reply.isDataError) pending.reject(reply.error);
      else pending.reject(new DataError(reply.error.message, { cause: reply.error }));
    });
    this.#worker.on('error', (error) => this.#fail(error));
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#fail(new Error(`a worker thread ended before its work, with exit code ${code}`));
        resolve();
      });
    });
  }

  get load(): number {
    return this.#pending.size;
  }

  run: Place['run'] = (stages, fetch, moved) => {
    const numbered = stages.map(({ program, inputs }) => ({ program: program.number, inputs }));
    const recycled = this.#recycled;
    this.#recycled = [];
    return this.ask({ stages: numbered, fetch, recycled }, [...recycled, ...moved]);
  };

  /** It goes back with the next request. */
  recycle(array: TypedArray): void {
    this.#recycled.push(array);
  }

  ask(request: RequestBody, moved: readonly TypedArray[] = []): Promise<Arrays> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const job = this.#jobs++;
    return new Promise((resolve, reject) => {
      const buffers = moved.map(({ buffer }) => buffer as ArrayBuffer);
      this.#worker.postMessage({ job, ...request }, buffers);
      this.#worker.ref();
      this.#pending.set(job, { resolve, reject });
    });
  }

  /** Lets the thread end by itself: one that is terminated inside ONNX Runtime aborts the process. */
  async end(): Promise<void> {
    this.#fail(disposedError());
    this.#worker.ref();
    this.#worker.postMessage({ job: this.#jobs++, end: true } satisfies Request);
    await this.#ended;
  }

  /** From now on everything asked is answered by the first error. */
  #fail(error: Error): void {
    this.#failure ??= error;
    for (const pending of this.#pending.values()) pending.reject(this.#failure);
    this.#pending.clear();
  }
}

export class PoolRuntime implements Runtime {
  readonly provider: Provider;
  readonly parallelism: number;
  readonly here: LocalRuntime;
  readonly #channels: readonly Channel[];
  /** All threads, the calling one first. */
  readonly #places: readonly Place[];
  /** Which thread a result came from, by its memory. */
  readonly #makers = new WeakMap<ArrayBufferLike, Place>();
  readonly #cache = new ProgramCache<PooledProgram>();
  #programs = 0;

  private constructor(here: LocalRuntime, channels: readonly Channel[], apart: boolean) {
    this.here = here;
    this.#channels = channels;
    this.#places = apart ? channels : [new Here(here), ...channels];
    this.parallelism = this.#places.length;
    this.provider = here.provider;
  }

  /** With `apart`, the calling thread is not one of the `workers`. */
  static start(
    here: LocalRuntime,
    { workers, apart, options }: { workers: number; apart: boolean; options: WorkerOptions },
  ): PoolRuntime {
    const channels = Array.from({ length: apart ? workers : workers - 1 }, () => new Channel(options));
    return new PoolRuntime(here, channels, apart);
  }

  get compilations(): number {
    return Math.max(this.#cache.size, this.here.compilations);
  }

  async compile<In extends string, Out extends string>(
    source: Graph<In, Out> | Loop<In, Out>,
  ): Promise<Executable<In, Out>> {
    const load = await this.here.engine.prepare(source);
    return this.#cache.find(load, async () => {
      const number = this.#programs++;
      const loads = this.#channels.map((channel) => channel.ask({ load, program: number }));
      const [local] = await Promise.all([this.here.load(load), ...loads]);
      const [inputs, outputs] = [Object.keys(load.inputs), Object.keys(load.outputs)];
      const executable: Executable = {
        run: (given) => this.run([{ executable, inputs: given }], outputs),
      };
      return [executable, { number, executable: local, inputs, outputs }];
    }) as Promise<Executable<In, Out>>;
  }

  run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const leastLoaded = this.#places.reduce((a, b) => (b.load < a.load ? b : a));
    return this.#run(leastLoaded, stages, fetch);
  }

  async #run<K extends string>(
    place: Place,
    stages: readonly Stage[],
    fetch: readonly K[],
    moved: readonly TypedArray[] = [],
  ): Promise<Arrays<K>> {
    const list = stages.map(({ executable, inputs }) => ({
      program: this.#cache.loaded(executable),
      inputs,
    }));
    const results = await place.run(list, fetch, moved);
    for (const { buffer } of Object.values(results)) {
      if (buffer instanceof ArrayBuffer) this.#makers.set(buffer, place); // what is shared is the caller's
    }
    return results as Arrays<K>;
  }

  async runAll<K extends string>(work: readonly Work[], fetch: readonly K[]): Promise<Arrays<K>[]> {
    const plan = schedule(
      work.map(({ pieces }) => pieces.length),
      this.parallelism,
    );
    const programOf = ({ executable }: Stage) => this.#cache.loaded(executable);
    // What the beginnings of cut work leave to the ends. They come first on their threads, which get all
    // that does not wait for something at once, so that none stands idle between two tasks.
    const beginnings = new Map<number, Promise<Arrays>>();
    plan.forEach((segments, thread) => {
      for (const { list, to } of segments) {
        const { pieces } = work[list]!;
        if (to === pieces.length) continue;
        const later = pieces.slice(to).map(programOf);
        const read = new Set<string>(later.flatMap(({ inputs }) => inputs));
        const made = new Set<string>(later.flatMap(({ outputs }) => outputs));
        const outputs = pieces.slice(0, to).flatMap((stage) => programOf(stage).outputs);
        const kept = outputs.filter(
          (name) => read.has(name) || (fetch.includes(name as K) && !made.has(name)),
        );
        beginnings.set(list, this.#run(this.#places[thread]!, pieces.slice(0, to), [...new Set(kept)]));
      }
    });
    const runSegment = async (place: Place, { list, from, to }: Segment): Promise<Arrays<K>> => {
      const { pieces, whole = pieces } = work[list]!;
      if (from === 0) return this.#run(place, whole, fetch);
      const left = await beginnings.get(list)!;
      const inputs = pieces.slice(0, from).map((stage) => stage.inputs);
      const [first, ...rest] = pieces.slice(from, to);
      const given: Arrays = Object.assign({}, ...inputs, left, first!.inputs);
      const moved = Object.values(left).filter(({ buffer }) => buffer instanceof ArrayBuffer);
      return this.#run(place, [{ ...first!, inputs: given }, ...rest], fetch, moved);
    };
    const results: Promise<Arrays<K>>[] = [];
    plan.forEach((segments, thread) => {
      for (const segment of segments) {
        if (segment.to < work[segment.list]!.pieces.length) continue;
        results[segment.list] = runSegment(this.#places[thread]!, segment);
      }
    });
    return Promise.all(results);
  }

  recycle(results: Arrays): void {
    for (const array of Object.values(results)) {
      const maker = this.#makers.get(array.buffer);
      if (maker === undefined || array.byteLength !== array.buffer.byteLength) continue;
      this.#makers.delete(array.buffer); // once
      maker.recycle(array);
    }
  }

  async dispose(): Promise<void> {
    const ends = this.#channels.map((channel) => channel.end());
    await Promise.all([...ends, this.#cache.dispose(), this.here.dispose()]);
  }
}
