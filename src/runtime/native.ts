/** Programs as machine code, made by the C compiler of the machine. */
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import { DataError, OptionError } from '../errors.ts';
import { mul } from '../graph/elementwise.ts';
import { type Graph, type Loop, mapRecord, trace } from '../graph/trace.ts';
import { float32, type TypedArray } from '../graph/type.ts';
import { writeProgram } from '../native/program.ts';
import { buildLibrary, type Compiler, compilerCommand, findCompiler } from './compiler.ts';
import { ArrayStore, borderOf, checked, type Engine, type Loaded, type Program, prepare } from './program.ts';
import type { Arrays } from './runtime.ts';

/** What a library exports: 0 when it ran, 1 when an index was out of range. */
type Run = (arena: Uint8Array, constants: Uint8Array, ...arrays: (TypedArray | undefined)[]) => number;

const nextTurn = promisify(setImmediate);

const require = createRequire(import.meta.url);

/** Why programs can not be compiled here; undefined where they can. Tried once, with a small one. */
export function nativeFault(): Promise<string | undefined> {
  known ??= tryOut();
  return known;
}

let known: Promise<string | undefined> | undefined;

async function tryOut(): Promise<string | undefined> {
  const compiler = await findCompiler();
  if (compiler === undefined)
    return `there is no C compiler, ${compilerCommand()} can not be run: install one (apt-get install gcc)`;
  try {
    const engine = new NativeEngine(compiler);
    const double = await engine.load(
      await engine.prepare(trace({ x: float32(1) }, ({ x }) => ({ y: mul(x, 2) }))),
    );
    const { y } = await double.run({ x: Float32Array.of(3) }, new ArrayStore());
    return y![0] === 6 ? undefined : `what ${compilerCommand()} compiles computes wrongly`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** @throws {OptionError} where programs can not be compiled */
export async function nativeEngine(): Promise<Engine> {
  const fault = await nativeFault();
  if (fault === undefined) return new NativeEngine((await findCompiler())!);
  throw new OptionError(`device: "native" can not be used here, use cpu: ${fault}`);
}

class NativeEngine implements Engine {
  readonly provider = 'native';
  readonly #compiler: Compiler;

  constructor(compiler: Compiler) {
    this.#compiler = compiler;
  }

  async prepare(program: Graph | Loop): Promise<Program> {
    const { inputs, outputs } = borderOf(program);
    const written = writeProgram(prepare(program), this.#compiler.machine, inputs, outputs);
    const library = await buildLibrary(this.#compiler, written.source);
    const { arenaBytes, constants, optional } = written;
    return { inputs, outputs, model: constants, code: { kind: 'native', library, arenaBytes, optional } };
  }

  async load(program: Program): Promise<Loaded> {
    return loadNative(program);
  }
}

/** Loads a program that was made elsewhere. */
export function loadNative({ inputs, outputs, model, code }: Program): Loaded {
  if (code.kind !== 'native') throw new Error('internal: not a native program');
  const run = require(code.library) as Run;
  const arena = new Uint8Array(code.arenaBytes);
  return {
    inputs: Object.keys(inputs),
    outputs: Object.keys(outputs),
    async run(arrays: Arrays, store: ArrayStore, wanted = new Set(Object.keys(outputs))): Promise<Arrays> {
      const given = mapRecord(inputs, (type, name) => checked(name, type, arrays[name]));
      if (!Object.keys(outputs).some((name) => wanted.has(name))) return {}; // nobody needs it
      await nextTurn(); // a run holds its thread: what others sent meanwhile comes first
      const results = mapRecord(outputs, (type, name) =>
        wanted.has(name) || !code.optional.includes(name) ? store.take(type) : undefined,
      );
      const status = run(arena, model, ...Object.values(given), ...Object.values(results));
      if (status === 1)
        throw new DataError(
          'run: an index is out of range: indices count from 0 up to the length of their axis',
        );
      if (status !== 0) throw new Error('internal: a program was not given its arrays');
      const returned: Record<string, TypedArray> = {};
      for (const [name, array] of Object.entries(results)) {
        if (array === undefined) continue;
        if (wanted.has(name)) returned[name] = array;
        else store.give(array);
      }
      return returned;
    },
    async release() {},
  };
}
