/**
 * A runtime over worker threads: each holds every program in a session of its own and runs one list of
 * stages at a time. Arrays backed by a SharedArrayBuffer reach the workers without a copy.
 */
import { Worker } from 'node:worker_threads';
import { DataError } from '../errors.ts';
import type { Graph } from '../graph/trace.ts';
import { disposedError, type LoadOptions, lowerGraph, type Program, ProgramCache } from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage } from './runtime.ts';
import { type Segment, schedule } from './schedule.ts';

/** What a worker is asked; `job` numbers the answer. */
export type Request =
  | { readonly job: number; readonly load: Program; readonly program: number }
  | {
      readonly job: number;
      readonly stages: readonly { readonly program: number; readonly inputs: Arrays }[];
      readonly fetch: readonly string[];
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

  ask(request: RequestBody): Promise<Arrays> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const job = this.#jobs++;
    return new Promise((resolve, reject) => {
      this.#worker.postMessage({ job, ...request });
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
  readonly #channels: readonly Channel[];
  readonly #idle: Channel[];
  readonly #waiting: ((channel: Channel) => void)[] = [];
  /** By the numbers the workers know them by. */
  readonly #cache = new ProgramCache<{ readonly program: number; readonly outputs: readonly string[] }>();
  #programs = 0;

  private constructor(channels: readonly Channel[], provider: Provider) {
    this.#channels = channels;
    this.#idle = [...channels];
    this.parallelism = channels.length;
    this.provider = provider;
  }

  static start({ workers, ...options }: LoadOptions & { workers: number }): PoolRuntime {
    return new PoolRuntime(
      Array.from({ length: workers }, () => new Channel(options)),
      options.provider,
    );
  }

  get compilations(): number {
    return this.#cache.size;
  }

  async compile<In extends string, Out extends string>(graph: Graph<In, Out>): Promise<Executable<In, Out>> {
    const load = lowerGraph(graph, this.provider);
    return this.#cache.find(load, async () => {
      const program = this.#programs++;
      const outputs = Object.keys(load.outputs);
      await Promise.all(this.#channels.map((channel) => channel.ask({ load, program })));
      const executable: Executable = {
        run: (inputs) => this.run([{ executable, inputs }], outputs),
      };
      return [executable, { program, outputs }];
    }) as Promise<Executable<In, Out>>;
  }

  async run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const numbered = stages.map(({ executable, inputs }) => ({
      program: this.#cache.loaded(executable).program,
      inputs,
    }));
    const channel =
      this.#idle.pop() ?? (await new Promise<Channel>((resolve) => this.#waiting.push(resolve)));
    try {
      return (await channel.ask({ stages: numbered, fetch })) as Arrays<K>;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#idle.push(channel);
      else next(channel);
    }
  }

  async runAll<K extends string>(
    lists: readonly (readonly Stage[])[],
    fetch: readonly K[],
  ): Promise<Arrays<K>[]> {
    const plan = schedule(
      lists.map((stages) => stages.length),
      this.parallelism,
    );
    const results: Arrays<K>[] = [];
    // What the beginnings of cut lists leave to their ends. They come first on their workers, so each is
    // under way before another worker asks for it.
    const beginnings = new Map<number, Promise<Arrays>>();
    const runSegment = async ({ list, from, to }: Segment): Promise<void> => {
      const stages = lists[list]!;
      if (to < stages.length) {
        const part = stages.slice(0, to);
        const outputs = part.flatMap(({ executable }) => this.#cache.loaded(executable).outputs);
        beginnings.set(list, this.run(part, [...new Set(outputs)]));
        await beginnings.get(list);
      } else {
        const inputs = stages.slice(0, from).map((stage) => stage.inputs);
        const before = Object.assign({}, ...inputs, await beginnings.get(list));
        const [first, ...rest] = stages.slice(from);
        results[list] = await this.run(
          [{ ...first!, inputs: { ...before, ...first!.inputs } }, ...rest],
          fetch,
        );
      }
    };
    await Promise.all(
      plan.map(async (segments) => {
        for (const segment of segments) await runSegment(segment);
      }),
    );
    return results;
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#channels.map((channel) => channel.end()), this.#cache.dispose()]);
  }
}
