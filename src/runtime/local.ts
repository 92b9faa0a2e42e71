/** A runtime in the current thread. `node.ts` and `web.ts` give it their ONNX Runtime. */
import type { Graph } from '../graph/trace.ts';
import {
  LoadedProgram,
  type LoadOptions,
  lowerGraph,
  type OnnxRuntime,
  type Program,
  runStages,
  samePrograms,
} from './program.ts';
import type { Arrays, Executable, Provider, Runtime, Stage } from './runtime.ts';

interface Entry {
  readonly program: Program;
  readonly loaded: LoadedProgram;
  readonly executable: Executable;
}

export class LocalRuntime implements Runtime {
  readonly parallelism = 1;
  readonly provider: Provider;
  readonly #ort: OnnxRuntime;
  readonly #options: LoadOptions;
  readonly #entries: Entry[] = [];

  constructor(ort: OnnxRuntime, options: LoadOptions) {
    this.#ort = ort;
    this.#options = options;
    this.provider = options.provider;
  }

  get compilations(): number {
    return this.#entries.length;
  }

  async compile<In extends string, Out extends string>(graph: Graph<In, Out>): Promise<Executable<In, Out>> {
    const program = lowerGraph(graph, this.provider);
    let entry = this.#entries.find((other) => samePrograms(other.program, program));
    if (entry === undefined) {
      const loaded = await LoadedProgram.load(this.#ort, program, this.#options);
      entry = { program, loaded, executable: { run: (inputs) => loaded.run(inputs) } };
      this.#entries.push(entry);
    }
    return entry.executable as Executable<In, Out>;
  }

  run<K extends string>(stages: readonly Stage[], fetch: readonly K[]): Promise<Arrays<K>> {
    const loaded = stages.map(({ executable, inputs }) => {
      const entry = this.#entries.find((other) => other.executable === executable);
      if (entry === undefined) throw new Error('internal: a stage was compiled by another runtime');
      return { program: entry.loaded, inputs };
    });
    return runStages(loaded, fetch);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#entries.splice(0).map(({ loaded }) => loaded.release()));
  }
}
