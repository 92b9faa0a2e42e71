/** A runtime in the current thread. `node.ts` and `web.ts` give it their engines. */
import type { Graph, Loop } from '../graph/trace.ts';
import { ArrayStore, type Engine, type Loaded, type Program, ProgramCache, runStages } from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage, Work } from './runtime.ts';

export class LocalRuntime implements Runtime {
  readonly parallelism = 1;
  readonly here = this;
  readonly provider: Provider;
  readonly engine: Engine;
  readonly #cache = new ProgramCache<Loaded>();
  readonly #store = new ArrayStore();
  /** ONNX Runtime reads its inputs some time after a call: runs wait for one another. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(engine: Engine) {
    this.engine = engine;
    this.provider = engine.provider;
  }

  get compilations(): number {
    return this.#cache.size;
  }

  async compile<In extends string, Out extends string>(
    source: Graph<In, Out> | Loop<In, Out>,
  ): Promise<Executable<In, Out>> {
    return this.load(await this.engine.prepare(source)) as Promise<Executable<In, Out>>;
  }

  /** Loads what was lowered already. */
  load(program: Program): Promise<Executable> {
    return this.#cache.find(program, async () => {
      const loaded = await this.engine.load(program);
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
