/**
 * Programs: a graph lowered to bytes, with what another thread needs to load and run it. Written over
 * the interface that onnxruntime-node and onnxruntime-web share.
 */
import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-common';
import { DataError, OptionError } from '../errors.ts';
import { simplify } from '../graph/simplify.ts';
import { type Graph, mapRecord } from '../graph/trace.ts';
import { arrayOf, formatType, size, type TensorType } from '../graph/type.ts';
import { lower } from '../onnx/lower.ts';
import { outputName } from '../onnx/model.ts';
import type { Arrays, Executable, Provider } from './runtime.ts';

/** The part of the ONNX Runtime packages that is used. */
export interface OnnxRuntime {
  readonly InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly Tensor: TensorConstructor;
}

/** A lowered graph. Plain data: it can be sent to a worker. */
export interface Program {
  readonly model: Uint8Array;
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: readonly string[];
}

export function lowerGraph(graph: Graph, provider: Provider): Program {
  const inputs = mapRecord(graph.inputs, ({ dtype, shape }) => ({ dtype, shape }));
  return { model: lower(simplify(graph), { provider }), inputs, outputs: Object.keys(graph.outputs) };
}

/** How ONNX Runtime loads a program. */
export interface LoadOptions {
  readonly provider: Provider;
  /** What ONNX Runtime calls the provider, which depends on the package. */
  readonly executionProvider: string;
  /** Threads inside one operator. */
  readonly threads: number;
}

/** A program loaded into one ONNX Runtime session. */
export class LoadedProgram {
  readonly #ort: OnnxRuntime;
  readonly #program: Program;
  readonly #session: InferenceSession;

  private constructor(ort: OnnxRuntime, program: Program, session: InferenceSession) {
    this.#ort = ort;
    this.#program = program;
    this.#session = session;
  }

  static async load(ort: OnnxRuntime, program: Program, options: LoadOptions): Promise<LoadedProgram> {
    const creation = ort.InferenceSession.create(program.model, {
      executionProviders: [options.executionProvider],
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: 'all',
    });
    const session = await creation.catch((cause: Error) => {
      if (options.provider === 'cpu') throw cause;
      const reason = cause.message.split('\n')[0]!.replace(/^.* was false\. /, ''); // without its source line
      throw new OptionError(`device: "${options.provider}" can not be used here: use cpu (${reason})`, {
        cause,
      });
    });
    return new LoadedProgram(ort, program, session);
  }

  get inputs(): readonly string[] {
    return Object.keys(this.#program.inputs);
  }

  /** Runs with the inputs found in `arrays`, which may hold more, and returns its outputs, or those `wanted`. */
  async run(arrays: Arrays, wanted = new Set(this.#program.outputs)): Promise<Arrays> {
    const feeds: Record<string, OrtTensor> = {};
    for (const [name, type] of Object.entries(this.#program.inputs)) {
      const data = arrays[name];
      const kind = arrayOf(type.dtype, 0).constructor;
      if (data?.length !== size(type.shape) || data.constructor !== kind) {
        const got = data === undefined ? 'nothing' : `a ${data.constructor.name} of ${data.length}`;
        throw new DataError(`run: input "${name}" is ${formatType(type)}, got ${got}`);
      }
      const own = data.buffer instanceof ArrayBuffer ? data : data.slice(); // ONNX Runtime takes no shared memory
      feeds[name] = new this.#ort.Tensor(type.dtype as 'float32', own as Float32Array, type.shape);
    }
    const names = this.#program.outputs.filter((name) => wanted.has(name));
    if (names.length === 0) return {}; // nobody needs it
    const outputs = await this.#session.run(feeds, names.map(outputName));
    return Object.fromEntries(names.map((name) => [name, outputs[outputName(name)]!.data as Arrays[string]]));
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Runs loaded stages in order; each finds what it is not given among the values before it. */
export async function runStages<K extends string>(
  stages: readonly { readonly program: LoadedProgram; readonly inputs: Arrays }[],
  fetch: readonly K[],
): Promise<Arrays<K>> {
  let known: Arrays = {};
  for (const [i, { program, inputs }] of stages.entries()) {
    const wanted = new Set<string>([
      ...fetch,
      ...stages.slice(i + 1).flatMap((later) => later.program.inputs),
    ]);
    const given = { ...known, ...inputs };
    known = { ...given, ...(await program.run(given, wanted)) };
  }
  const absent = fetch.find((name) => known[name] === undefined);
  if (absent !== undefined) throw new DataError(`run: no stage has an output "${absent}"`);
  return Object.fromEntries(fetch.map((name) => [name, known[name]])) as Arrays<K>;
}

/**
 * What was compiled by one runtime. Equal programs are compiled once, also when the second is asked for
 * while the first is still being loaded; a program that fails to load is forgotten.
 */
export class ProgramCache<T> {
  readonly #programs = new Map<Program, Promise<Executable>>();
  readonly #loaded = new Map<Executable, T>();
  #disposed = false;

  /** How many programs were compiled. */
  get size(): number {
    return this.#programs.size;
  }

  /** The executable of a program, which `load` makes where it is new. */
  find(program: Program, load: () => Promise<[Executable, T]>): Promise<Executable> {
    this.#requireOpen();
    for (const [known, executable] of this.#programs) if (samePrograms(known, program)) return executable;
    const compiled = load().then(([executable, loaded]) => {
      this.#loaded.set(executable, loaded);
      return executable;
    });
    this.#programs.set(program, compiled);
    compiled.catch(() => this.#programs.delete(program));
    return compiled;
  }

  /** What was loaded for an executable of this runtime. */
  loaded(executable: Executable): T {
    this.#requireOpen();
    const loaded = this.#loaded.get(executable);
    if (loaded === undefined) throw new Error('internal: a stage was compiled by another runtime');
    return loaded;
  }

  /** Everything loaded, to be freed; there will be no more. */
  async dispose(): Promise<T[]> {
    this.#disposed = true;
    await Promise.allSettled(this.#programs.values());
    const all = [...this.#loaded.values()];
    this.#loaded.clear();
    return all;
  }

  #requireOpen(): void {
    if (this.#disposed) throw disposedError();
  }
}

export function disposedError(): Error {
  return new Error('this runtime was disposed and runs nothing more: start another');
}

function samePrograms(a: Program, b: Program): boolean {
  return a.model.length === b.model.length && a.model.every((byte, i) => byte === b.model[i]);
}
