/**
 * A runtime over worker threads: each holds every program in a session of its own and runs one list of
 * stages at a time. Arrays backed by a SharedArrayBuffer reach the workers without a copy.
 */
import { Worker } from 'node:worker_threads';
import type { Graph } from '../graph/trace.ts';
import { type LoadOptions, lowerGraph, type Program, samePrograms } from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage } from './runtime.ts';

/** What a worker is asked; `job` numbers the answer. */
export type Request =
  | { readonly job: number; readonly load: Program; readonly program: number }
  | {
      readonly job: number;
      readonly stages: readonly { readonly program: number; readonly inputs: Arrays }[];
      readonly fetch: readonly string[];
    };

/** What it answers. */
export type Reply = { readonly job: number } & ({ readonly outputs: Arrays } | { readonly error: Error });

type RequestBody = Request extends infer R ? (R extends Request ? Omit<R, 'job'> : never) : never;

interface Pending {
  resolve(outputs: Arrays): void;
  reject(error: Error): void;
}

/** One worker thread and the answers it owes. */
class Channel {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #jobs = 0;
  #failure: Error | undefined;

  constructor(options: LoadOptions) {
    this.#worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: options });
    this.#worker.unref(); // an idle pool does not keep the process alive
    this.#worker.on('message', (reply: Reply) => {
      const pending = this.#pending.get(reply.job);
      this.#pending.delete(reply.job);
      if (this.#pending.size === 0) this.#worker.unref();
      if ('error' in reply) pending?.reject(reply.error);
      else pending?.resolve(reply.outputs);
    });
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', (code) => this.#fail(new Error(`a worker thread ended with code ${code}`)));
  }

  ask(request: RequestBody): Promise<Arrays> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const job = this.#jobs++;
    this.#worker.ref();
    return new Promise((resolve, reject) => {
      this.#pending.set(job, { resolve, reject });
      this.#worker.postMessage({ job, ...request });
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}

interface Entry {
  readonly program: Program;
  readonly executable: Executable;
}

export class PoolRuntime implements Runtime {
  readonly provider: Provider;
  readonly parallelism: number;
  readonly #channels: readonly Channel[];
  readonly #idle: Channel[];
  readonly #waiting: ((channel: Channel) => void)[] = [];
  readonly #entries: Entry[] = [];

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
    return this.#entries.length;
  }

  async compile<In extends string, Out extends string>(graph: Graph<In, Out>): Promise<Executable<In, Out>> {
    const program = lowerGraph(graph, this.provider);
    const known = this.#entries.find((entry) => samePrograms(entry.program, program));
    if (known !== undefined) return known.executable as Executable<In, Out>;
    const executable: Executable = {
      run: (inputs) => this.run([{ executable, inputs }], program.outputs),
    };
    const index = this.#entries.push({ program, executable }) - 1;
    await Promise.all(this.#channels.map((channel) => channel.ask({ load: program, program: index })));
    return executable as Executable<In, Out>;
  }

  async run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const numbered = stages.map(({ executable, inputs }) => {
      const program = this.#entries.findIndex((entry) => entry.executable === executable);
      if (program < 0) throw new Error('internal: a stage was compiled by another runtime');
      return { program, inputs };
    });
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

  async dispose(): Promise<void> {
    this.#entries.length = 0;
    await Promise.all(this.#channels.map((channel) => channel.end()));
  }
}
