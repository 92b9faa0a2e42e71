/** Programs: a graph lowered to what another thread needs to load and run it, and lists of them. */
import { DataError } from '../errors.ts';
import { simplify } from '../graph/simplify.ts';
import { split } from '../graph/split.ts';
import { type Graph, type Loop, mapRecord } from '../graph/trace.ts';
import { arrayOf, formatType, int32, size, type TensorType, type TypedArray } from '../graph/type.ts';
import type { Binding } from '../onnx/border.ts';
import type { Arrays, Executable, Provider } from './runtime.ts';

/** A program as one thread hands it to another: plain data. */
export interface Program {
  /** Types of the arrays a run takes and returns. */
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
  /** The ONNX model, or the constants of a library. */
  readonly model: Uint8Array;
  readonly code: OnnxCode | NativeCode;
}

/** What an ONNX model takes and returns: parts of the arrays. */
export interface OnnxCode {
  readonly kind: 'onnx';
  readonly feeds: readonly Binding[];
  readonly fetches: readonly Binding[];
}

/** Machine code in a library. */
export interface NativeCode {
  readonly kind: 'native';
  /** Its path. */
  readonly library: string;
  /** Memory that a run needs. */
  readonly arenaBytes: number;
  /** Outputs that are only computed where they are wanted; all others always are. */
  readonly optional: readonly string[];
}

/** A way to run programs. */
export interface Engine {
  readonly provider: Provider;
  /** Simplifies and lowers a program. */
  prepare(program: Graph | Loop): Promise<Program>;
  load(program: Program): Promise<Loaded>;
}

/** A program that a thread can run. */
export interface Loaded {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Runs with the inputs found in `arrays`, which may hold more, and returns its outputs, or those `wanted`. */
  run(arrays: Arrays, store: ArrayStore, wanted?: ReadonlySet<string>): Promise<Arrays>;
  release(): Promise<void>;
}

/** The same program, simpler, with large values in pieces. */
export function prepare(program: Graph | Loop): Graph | Loop {
  return 'body' in program ? mapRecord(program, inPieces) : inPieces(program);
}

function inPieces(graph: Graph): Graph {
  const simple = simplify(graph);
  const pieces = split(simple);
  return pieces === simple ? simple : simplify(pieces); // slices of what is in pieces already go
}

/** Types of the arrays that a program takes and returns. */
export function borderOf(program: Graph | Loop): Pick<Program, 'inputs' | 'outputs'> {
  const outputs = 'body' in program ? program.end.outputs : program.outputs;
  return { inputs: typesOf(inputsOf(program)), outputs: typesOf(outputs) };
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

/** An input that is what the program takes. @throws {DataError} when it is not */
export function checked(name: string, type: TensorType, data: TypedArray | undefined): TypedArray {
  const kind = arrayOf(type.dtype, 0).constructor;
  if (data?.length === size(type.shape) && data.constructor === kind) return data;
  const got = data === undefined ? 'nothing' : `a ${data.constructor.name} of ${data.length}`;
  throw new DataError(`run: input "${name}" is ${formatType(type)}, got ${got}`);
}

/** Runs loaded stages in order; each finds what it is not given among the values before it. */
export async function runStages<K extends string>(
  stages: readonly { readonly program: Loaded; readonly inputs: Arrays }[],
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
  const border = ({ inputs, outputs, code }: Program) => JSON.stringify([inputs, outputs, code]);
  return (
    a.model.length === b.model.length &&
    border(a) === border(b) &&
    a.model.every((byte, i) => byte === b.model[i])
  );
}
