/**
 * Programs: a graph lowered to bytes, with what another thread needs to load and run it. Written over
 * the interface that onnxruntime-node and onnxruntime-web share.
 */
import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-common';
import { DataError, OptionError } from '../errors.ts';
import { simplify } from '../graph/simplify.ts';
import { split } from '../graph/split.ts';
import { type Graph, type Loop, mapRecord } from '../graph/trace.ts';
import { arrayOf, formatType, int32, size, type TensorType, type TypedArray } from '../graph/type.ts';
import type { Binding } from '../onnx/border.ts';
import type { LoweringTarget } from '../onnx/context.ts';
import { lower } from '../onnx/lower.ts';
import type { Arrays, Executable } from './runtime.ts';

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
  /** Types of the arrays a run takes and returns. */
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
  /** What the model takes and returns: parts of those arrays. */
  readonly feeds: readonly Binding[];
  readonly fetches: readonly Binding[];
}

export function lowerProgram(program: Graph | Loop, target: LoweringTarget): Program {
  const simple = 'body' in program ? mapRecord(program, prepare) : prepare(program);
  const { model, inputs, outputs } = lower(simple, target);
  return {
    model,
    inputs: typesOf(inputsOf(program)),
    outputs: typesOf('body' in program ? program.end.outputs : program.outputs),
    feeds: inputs,
    fetches: outputs,
  };
}

function prepare(graph: Graph): Graph {
  const simple = simplify(graph);
  const pieces = split(simple);
  return pieces === simple ? simple : simplify(pieces); // slices of what is in pieces already go
}

/** What a program is given: of a loop what its body and its end take, and which rounds it goes. */
function inputsOf(program: Graph | Loop): Readonly<Record<string, TensorType>> {
  if (!('body' in program)) return program.inputs;
  const { round: _, ...once } = program.body.inputs;
  return { ...once, ...program.end.inputs, firstRound: int32(), rounds: int32() };
}

function typesOf(values: Readonly<Record<string, TensorType>>): Record<string, TensorType> {
  return mapRecord(values, ({ dtype, shape }) => ({ dtype, shape }));
}

/** How ONNX Runtime loads a program. */
export interface LoadOptions extends LoweringTarget {
  /** What ONNX Runtime calls the provider, which depends on the package. */
  readonly executionProvider: string;
  /** Threads inside one operator. */
  readonly threads: number;
  /** Whether it writes outputs into arrays that it is given; onnxruntime-web does not. */
  readonly writesInPlace: boolean;
}

/** Arrays to write results into: fresh ones cost as much as filling them. */
export class ArrayStore {
  readonly #free = new Map<string, TypedArray[]>();
  readonly #taken = new WeakSet<TypedArray>();

  take({ dtype, shape }: TensorType): TypedArray {
    const length = size(shape);
    const array = this.#free.get(keyOf(arrayOf(dtype, 0), length))?.pop() ?? arrayOf(dtype, length);
    if (isWorthKeeping(array)) this.#taken.add(array);
    return array;
  }

  /** Takes an array back that nobody uses any more, once; one that is not from here stays its owner's. */
  give(array: TypedArray): void {
    if (this.#taken.delete(array)) this.adopt(array);
  }

  /** Takes an array that came from elsewhere for good. */
  adopt(array: TypedArray): void {
    if (!isWorthKeeping(array)) return;
    const key = keyOf(array, array.length);
    const list = this.#free.get(key);
    if (list === undefined) this.#free.set(key, [array]);
    else list.push(array);
  }
}

const isWorthKeeping = ({ byteLength, buffer }: TypedArray) =>
  byteLength >= 4096 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer;

const keyOf = (array: TypedArray, length: number) => `${array.constructor.name} ${length}`;

/** A program loaded into one ONNX Runtime session. */
export class LoadedProgram {
  readonly #ort: OnnxRuntime;
  readonly #program: Program;
  readonly #session: InferenceSession;
  readonly #writesInPlace: boolean;
  /** Copies of inputs that lie in shared memory, which ONNX Runtime does not take. */
  readonly #unshared = new Map<string, TypedArray>();

  private constructor(
    ort: OnnxRuntime,
    program: Program,
    session: InferenceSession,
    { writesInPlace }: LoadOptions,
  ) {
    this.#ort = ort;
    this.#program = program;
    this.#session = session;
    this.#writesInPlace = writesInPlace;
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
    return new LoadedProgram(ort, program, session, options);
  }

  get inputs(): readonly string[] {
    return Object.keys(this.#program.inputs);
  }

  /** Runs with the inputs found in `arrays`, which may hold more, and returns its outputs, or those `wanted`. */
  async run(
    arrays: Arrays,
    store: ArrayStore,
    wanted: ReadonlySet<string> = new Set(Object.keys(this.#program.outputs)),
  ): Promise<Arrays> {
    const given = mapRecord(this.#program.inputs, (type, name) => checked(name, type, arrays[name]));
    const fetches = this.#program.fetches.filter(({ name }) => wanted.has(name));
    if (fetches.length === 0) return {}; // nobody needs it
    const feeds: Record<string, OrtTensor> = {};
    const copied = new Map<TypedArray, TypedArray>();
    for (const feed of this.#program.feeds) {
      const data = given[feed.name]!;
      if (!copied.has(data)) copied.set(data, this.#unshare(feed.name, data));
      feeds[feed.value] = this.#tensor(feed, copied.get(data)!);
    }
    const results: Record<string, TypedArray> = {};
    for (const { name } of fetches) results[name] ??= store.take(this.#program.outputs[name]!);
    if (this.#writesInPlace) {
      const places = fetches.map(
        (fetch) => [fetch.value, this.#tensor(fetch, results[fetch.name]!)] as const,
      );
      await this.#session.run(feeds, Object.fromEntries(places));
      return results;
    }
    const values = fetches.map(({ value }) => value);
    const outputs = await this.#session.run(feeds, values);
    for (const { value, name, offset } of fetches) {
      results[name]!.set(outputs[value]!.data as TypedArray, offset);
    }
    return results;
  }

  release(): Promise<void> {
    return this.#session.release();
  }

  /** The part of an array that a binding names, in place. */
  #tensor({ offset, type: { dtype, shape } }: Binding, array: TypedArray): OrtTensor {
    const part = array.subarray(offset, offset + size(shape));
    return new this.#ort.Tensor(dtype as 'float32', part as Float32Array, shape);
  }

  #unshare(name: string, data: TypedArray): TypedArray {
    if (data.buffer instanceof ArrayBuffer) return data;
    const known = this.#unshared.get(name);
    if (known === undefined) {
      this.#unshared.set(name, data.slice());
    } else {
      known.set(data);
    }
    return this.#unshared.get(name)!;
  }
}

function checked(name: string, type: TensorType, data: TypedArray | undefined): TypedArray {
  const kind = arrayOf(type.dtype, 0).constructor;
  if (data?.length === size(type.shape) && data.constructor === kind) return data;
  const got = data === undefined ? 'nothing' : `a ${data.constructor.name} of ${data.length}`;
  throw new DataError(`run: input "${name}" is ${formatType(type)}, got ${got}`);
}

/** Runs loaded stages in order; each finds what it is not given among the values before it. */
export async function runStages<K extends string>(
  stages: readonly { readonly program: LoadedProgram; readonly inputs: Arrays }[],
  fetch: readonly K[],
  store: ArrayStore,
): Promise<Arrays<K>> {
  let known: Arrays = {};
  const made = new Set<TypedArray>();
  for (const [i, { program, inputs }] of stages.entries()) {
    const later = stages.slice(i + 1).flatMap((stage) => stage.program.inputs);
    const given = { ...known, ...inputs };
    const outputs = await program.run(given, store, new Set<string>([...fetch, ...later]));
    known = { ...given, ...outputs };
    for (const array of Object.values(outputs)) made.add(array);
    const needed = new Set(Object.values(known));
    for (const array of made) {
      if (needed.has(array)) continue;
      made.delete(array);
      store.give(array);
    }
  }
  const absent = fetch.find((name) => known[name] === undefined);
  if (absent !== undefined) throw new DataError(`run: no stage has an output "${absent}"`);
  const results = Object.fromEntries(fetch.map((name) => [name, known[name]])) as Arrays<K>;
  const returned = new Set<TypedArray>(Object.values(results));
  for (const array of made) if (!returned.has(array)) store.give(array);
  return results;
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

/** Also of inputs and outputs of the same types: what a model does not read is not in its bytes. */
function samePrograms(a: Program, b: Program): boolean {
  const border = ({ inputs, outputs }: Program) => JSON.stringify([inputs, outputs]);
  return (
    a.model.length === b.model.length &&
    border(a) === border(b) &&
    a.model.every((byte, i) => byte === b.model[i])
  );
}
