/** Programs as ONNX models. Written over the interface that onnxruntime-node and onnxruntime-web share. */
import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-common';
import { OptionError } from '../errors.ts';
import { type Graph, type Loop, mapRecord } from '../graph/trace.ts';
import { size, type TypedArray } from '../graph/type.ts';
import type { Binding } from '../onnx/border.ts';
import type { LoweringTarget } from '../onnx/context.ts';
import { lower } from '../onnx/lower.ts';
import {
  type ArrayStore,
  borderOf,
  checked,
  type Engine,
  type Loaded,
  type OnnxCode,
  type Program,
  prepare,
} from './program.ts';
import type { Arrays } from './runtime.ts';

/** The part of the ONNX Runtime packages that is used. */
export interface OnnxRuntime {
  readonly InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly Tensor: TensorConstructor;
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

/** Simplifies a program and writes its model. */
export function lowerProgram(program: Graph | Loop, target: LoweringTarget): Program {
  const { model, inputs: feeds, outputs: fetches } = lower(prepare(program), target);
  return { ...borderOf(program), model, code: { kind: 'onnx', feeds, fetches } };
}

/** ONNX Runtime as an engine. */
export class OnnxEngine implements Engine {
  readonly #ort: OnnxRuntime;
  readonly #options: LoadOptions;

  constructor(ort: OnnxRuntime, options: LoadOptions) {
    this.#ort = ort;
    this.#options = options;
  }

  get provider() {
    return this.#options.provider;
  }

  async prepare(program: Graph | Loop): Promise<Program> {
    return lowerProgram(program, this.#options);
  }

  load(program: Program): Promise<Loaded> {
    return LoadedModel.load(this.#ort, program, this.#options);
  }
}

/** A program loaded into one ONNX Runtime session. */
export class LoadedModel implements Loaded {
  readonly #ort: OnnxRuntime;
  readonly #program: Program;
  readonly #code: OnnxCode;
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
    if (program.code.kind !== 'onnx') throw new Error('internal: not an ONNX model');
    this.#code = program.code;
    this.#session = session;
    this.#writesInPlace = writesInPlace;
  }

  static async load(ort: OnnxRuntime, program: Program, options: LoadOptions): Promise<LoadedModel> {
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
    return new LoadedModel(ort, program, session, options);
  }

  get inputs(): readonly string[] {
    return Object.keys(this.#program.inputs);
  }

  get outputs(): readonly string[] {
    return Object.keys(this.#program.outputs);
  }

  /** Runs with the inputs found in `arrays`, which may hold more, and returns its outputs, or those `wanted`. */
  async run(
    arrays: Arrays,
    store: ArrayStore,
    wanted: ReadonlySet<string> = new Set(Object.keys(this.#program.outputs)),
  ): Promise<Arrays> {
    const given = mapRecord(this.#program.inputs, (type, name) => checked(name, type, arrays[name]));
    const fetches = this.#code.fetches.filter(({ name }) => wanted.has(name));
    if (fetches.length === 0) return {}; // nobody needs it
    const feeds: Record<string, OrtTensor> = {};
    const copied = new Map<TypedArray, TypedArray>();
    for (const feed of this.#code.feeds) {
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
