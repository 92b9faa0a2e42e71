/** A runtime in the current thread. `node.ts` and `web.ts` give it their ONNX Runtime. */
import type { Graph, Loop } from '../graph/trace.ts';
import {
  ArrayStore,
  LoadedProgram,
  type LoadOptions,
  lowerProgram,
  type OnnxRuntime,
  type Program,
  ProgramCache,
  runStages,
} from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage, Work } from './runtime.ts';

export class LocalRuntime implements Runtime {
  readonly parallelism = 1;
  readonly here = this;
  readonly provider: Provider;
  readonly #ort: OnnxRuntime;
  readonly #options: LoadOptions;
  readonly #cache = new ProgramCache<LoadedProgram>();
  readonly #store = new ArrayStore();
  /** ONNX Runtime reads its inputs some time after a call: runs wait for one another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(ort: OnnxRuntime, options: LoadOptions) {
    this.#ort = ort;
    this.#options = options;
    this.provider = options.provider;
  }

  get compilations(): number {
    return this.#cache.size;
  }

  async compile<In extends string, Out extends string>(
    source: Graph<In, Out> | Loop<In, Out>,
  ): Promise<Executable<In, Out>> {
    return this.load(lowerProgram(source, this.#options)) as Promise<Executable<In, Out>>;
  }

  /** Loads what was lowered already. */
  load(program: Program): Promise<Executable> {
    return this.#cache.find(program, async () => {
      const loaded = await LoadedProgram.load(this.#ort, program, this.#options);
      const executable: Executable = {
        run: (inputs) => this.run([{ executable, inputs }], Object.keys(program.outputs)),
      };
      return [executable, loaded];
    });
  }

  async run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const loaded = stages.map(({ executable, inputs }) => ({
      program: this.#cache.loaded(executable),
      inputs,
    }));
    const run = this.#last.then(() => runStages(loaded, fetch, this.#store));
    this.#last = run.catch(() => undefined);
    return run;
  }

  async runAll<K extends string>(work: readonly Work[], fetch: readonly K[]): Promise<Arrays<K>[]> {
    const results: Arrays<K>[] = [];
    for (const { pieces, whole = pieces } of work) results.push(await this.run(whole, fetch));
    return results;
  }

  recycle(results: Arrays): void {
    for (const array of Object.values(results)) this.#store.give(array);
  }

  async dispose(): Promise<void> {
    const programs = await this.#cache.dispose();
    await this.#last; // a program that is released in the middle of a run fails it
    await Promise.all(programs.map((program) => program.release()));
  }
}
