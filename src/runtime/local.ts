/** A runtime in the current thread. `node.ts` and `web.ts` give it their ONNX Runtime. */
import type { Graph } from '../graph/trace.ts';
import {
  LoadedProgram,
  type LoadOptions,
  lowerGraph,
  type OnnxRuntime,
  ProgramCache,
  runStages,
} from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage } from './runtime.ts';

export class LocalRuntime implements Runtime {
  readonly parallelism = 1;
  readonly provider: Provider;
  readonly #ort: OnnxRuntime;
  readonly #options: LoadOptions;
  readonly #cache = new ProgramCache<LoadedProgram>();

  constructor(ort: OnnxRuntime, options: LoadOptions) {
    this.#ort = ort;
    this.#options = options;
    this.provider = options.provider;
  }

  get compilations(): number {
    return this.#cache.size;
  }

  async compile<In extends string, Out extends string>(graph: Graph<In, Out>): Promise<Executable<In, Out>> {
    const program = lowerGraph(graph, this.provider);
    return this.#cache.find(program, async () => {
      const loaded = await LoadedProgram.load(this.#ort, program, this.#options);
      const executable: Executable = {
        run: (inputs) => this.run([{ executable, inputs }], Object.keys(program.outputs)),
      };
      return [executable, loaded];
    }) as Promise<Executable<In, Out>>;
  }

  async run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const loaded = stages.map(({ executable, inputs }) => ({
      program: this.#cache.loaded(executable),
      inputs,
    }));
    return runStages(loaded, fetch);
  }

  async runAll<K extends string>(
    lists: readonly (readonly Stage[])[],
    fetch: readonly K[],
  ): Promise<Arrays<K>[]> {
    const results: Arrays<K>[] = [];
    for (const stages of lists) results.push(await this.run(stages, fetch));
    return results;
  }

  async dispose(): Promise<void> {
    const programs = await this.#cache.dispose();
    await Promise.all(programs.map((program) => program.release()));
  }
}
