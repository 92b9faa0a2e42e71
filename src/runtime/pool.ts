/**
 * A runtime over worker threads: each holds every program in a session of its own and runs one list of
 * stages at a time. Arrays backed by a SharedArrayBuffer reach the workers without a copy.
 */
import { Worker } from 'node:worker_threads';
import { DataError } from '../errors.ts';
import type { Graph, Loop } from '../graph/trace.ts';
import type { TypedArray } from '../graph/type.ts';
import { disposedError, type LoadOptions, lowerProgram, type Program, ProgramCache } from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage, Work } from './runtime.ts';
import { type Segment, schedule } from './schedule.ts';

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

/** One worker thread and the answers it owes. */
class Channel {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  readonly #pending = new Map<number, Pending>();
  #jobs = 0;
  #failure: Error | undefined;

  constructor(options: LoadOptions) {
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

  /** How many requests it has not answered yet; it takes them one after another. */
  get load(): number {
    return this.#pending.size;
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

/** A program as the workers know it. */
interface PooledProgram {
  readonly program: number;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

export class PoolRuntime implements Runtime {
  readonly provider: Provider;
  readonly parallelism: number;
  readonly here: Runtime;
  readonly #target: LoadOptions;
  readonly #channels: readonly Channel[];
  /** Whose results came in which memory, and what of it goes back there with the next request. */
  readonly #makers = new WeakMap<ArrayBufferLike, Channel>();
  readonly #recycled = new Map<Channel, TypedArray[]>();
  /** By the numbers the workers know them by. */
  readonly #cache = new ProgramCache<PooledProgram>();
  #programs = 0;

  private constructor(channels: readonly Channel[], here: Runtime, target: LoadOptions) {
    this.here = here;
    this.#target = target;
    this.#channels = channels;
    this.parallelism = channels.length;
    this.provider = here.provider;
  }

  static start(here: Runtime, { workers, ...options }: LoadOptions & { workers: number }): PoolRuntime {
    return new PoolRuntime(
      Array.from({ length: workers }, () => new Channel(options)),
      here,
      options,
    );
  }

  get compilations(): number {
    return this.#cache.size + this.here.compilations;
  }

  async compile<In extends string, Out extends string>(
    source: Graph<In, Out> | Loop<In, Out>,
  ): Promise<Executable<In, Out>> {
    const load = lowerProgram(source, this.#target);
    return this.#cache.find(load, async () => {
      const program = this.#programs++;
      const [inputs, outputs] = [Object.keys(load.inputs), Object.keys(load.outputs)];
      await Promise.all(this.#channels.map((channel) => channel.ask({ load, program })));
      const executable: Executable = {
        run: (given) => this.run([{ executable, inputs: given }], outputs),
      };
      return [executable, { program, inputs, outputs }];
    }) as Promise<Executable<In, Out>>;
  }

  run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const leastLoaded = this.#channels.reduce((a, b) => (b.load < a.load ? b : a));
    return this.#run(leastLoaded, stages, fetch, []);
  }

  /** `moved` are inputs that go over to the worker instead of being copied: they can not be used here any more. */
  async #run<K extends string>(
    channel: Channel,
    stages: readonly Stage[],
    fetch: readonly K[],
    moved: readonly TypedArray[],
  ): Promise<Arrays<K>> {
    const numbered = stages.map(({ executable, inputs }) => ({
      program: this.#cache.loaded(executable).program,
      inputs,
    }));
    const recycled = this.#recycled.get(channel) ?? [];
    this.#recycled.delete(channel);
    const results = await channel.ask({ stages: numbered, fetch, recycled }, [...recycled, ...moved]);
    for (const { buffer } of Object.values(results)) this.#makers.set(buffer, channel);
    return results as Arrays<K>;
  }

  async runAll<K extends string>(work: readonly Work[], fetch: readonly K[]): Promise<Arrays<K>[]> {
    const plan = schedule(
      work.map(({ pieces }) => pieces.length),
      this.parallelism,
    );
    const programOf = ({ executable }: Stage) => this.#cache.loaded(executable);
    // What the beginnings of cut work leave to the ends. They come first on their workers, which get all
    // that does not wait for something at once, so that none stands idle between two tasks.
    const beginnings = new Map<number, Promise<Arrays>>();
    const runSegment = async (channel: Channel, { list, from, to }: Segment): Promise<Arrays<K>> => {
      const { pieces, whole = pieces } = work[list]!;
      if (from === 0) return this.#run(channel, whole, fetch, []);
      const left = await beginnings.get(list)!;
      const inputs = pieces.slice(0, from).map((stage) => stage.inputs);
      const [first, ...rest] = pieces.slice(from, to);
      const given: Arrays = Object.assign({}, ...inputs, left, first!.inputs);
      const moved = Object.values(left).filter(({ buffer }) => buffer instanceof ArrayBuffer);
      return this.#run(channel, [{ ...first!, inputs: given }, ...rest], fetch, moved);
    };
    plan.forEach((segments, worker) => {
      for (const { list, to } of segments) {
        const { pieces } = work[list]!;
        if (to === pieces.length) continue;
        const wanted = new Set<string>([
          ...fetch,
          ...pieces.slice(to).flatMap((stage) => programOf(stage).inputs),
        ]);
        const outputs = new Set(pieces.slice(0, to).flatMap((stage) => programOf(stage).outputs));
        const made = [...outputs].filter((name) => wanted.has(name));
        beginnings.set(list, this.#run(this.#channels[worker]!, pieces.slice(0, to), made, []));
      }
    });
    const results: Promise<Arrays<K>>[] = [];
    plan.forEach((segments, worker) => {
      for (const segment of segments) {
        if (segment.to < work[segment.list]!.pieces.length) continue;
        results[segment.list] = runSegment(this.#channels[worker]!, segment);
      }
    });
    return Promise.all(results);
  }

  recycle(results: Arrays): void {
    for (const array of Object.values(results)) {
      const maker = this.#makers.get(array.buffer);
      if (maker === undefined || array.byteLength !== array.buffer.byteLength) continue;
      this.#makers.delete(array.buffer); // once
      const list = this.#recycled.get(maker);
      if (list === undefined) this.#recycled.set(maker, [array]);
      else list.push(array);
    }
  }

  async dispose(): Promise<void> {
    const ends = this.#channels.map((channel) => channel.end());
    await Promise.all([...ends, this.#cache.dispose(), this.here.dispose()]);
  }
}
