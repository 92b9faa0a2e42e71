/** A program in C: a function for each loop or call, and one that calls them in order. */

import type { Tensor } from '../graph/tensor.ts';
import { type Graph, type Loop, mapRecord } from '../graph/trace.ts';
import { type DType, size, type TensorType, type TypedArray } from '../graph/type.ts';
import { arrange, type Tenant } from './arena.ts';
import { Blocks, type Machine } from './blocks.ts';
import { carryOn, leavingOf } from './carry.ts';
import { alignment, entry } from './entry.ts';
import { typeNames } from './expressions.ts';
import { type Kernel, Kernels } from './kernels.ts';
import { loopCode } from './loops.ts';
import { type Call, type Elementwise, Operations, readsOf, writesOf } from './operations.ts';
import { prelude } from './prelude.ts';
import { bytesOf, extentOf, homeOf, isWhole, lengthOf, Memory, type Region, wholeOf } from './regions.ts';
import { translate } from './translate.ts';

/** A program as the compiler takes it. */
export interface NativeProgram {
  readonly source: string;
  /** Bytes of memory a run needs; all 0 before the first. */
  readonly arenaBytes: number;
  /** The program's long constants. */
  readonly constants: Uint8Array;
  /** Outputs that need no array where nobody wants them. */
  readonly optional: readonly string[];
}

/** What comes before the arrays among the pointers that a program is given. */
const firstArray = 2;

/** Bytes at the arena's start: whether an index was out of range. Bytes at the end that may be read, but are nobody's. */
const statusBytes = 64;
const slackBytes = 64;

/**
 * Writes a program. Its function `run` takes pointers to the arena, the constants, and the arrays `inputs` and `outputs`
 * in their order.
 */
export function writeProgram(
  program: Graph | Loop,
  machine: Machine,
  inputs: Readonly<Record<string, TensorType>>,
  outputs: Readonly<Record<string, TensorType>>,
): NativeProgram {
  return new Writer(machine, inputs, outputs).write(program);
}

/** A part of the program whose kernels run in one order: a graph, or the body or the end of a loop. */
interface Section {
  readonly order: readonly Kernel[];
  readonly kernels: Kernels;
  readonly operations: Operations;
}

class Writer {
  readonly #blocks: Blocks;
  readonly #constants = new Map<Memory, TypedArray>();
  readonly #inputs: Readonly<Record<string, Memory>>;
  readonly #outputs: Readonly<Record<string, Memory>>;
  /** Expressions for the address of a memory's first byte. */
  readonly #addresses = new Map<Memory, string>();
  /** Functions by their text after the name. */
  readonly #functions = new Map<string, string>();
  #arenaEnd = statusBytes;
  readonly #optional: string[] = [];
  readonly #pool: { data: TypedArray; offset: number }[] = [];
  #poolEnd = 0;

  constructor(
    machine: Machine,
    inputs: Readonly<Record<string, TensorType>>,
    outputs: Readonly<Record<string, TensorType>>,
  ) {
    this.#blocks = new Blocks(machine);
    const memoryOf = ({ dtype, shape }: TensorType) => new Memory(dtype, size(shape));
    this.#inputs = mapRecord(inputs, memoryOf);
    this.#outputs = mapRecord(outputs, memoryOf);
    [...Object.values(this.#inputs), ...Object.values(this.#outputs)].forEach((memory, i) => {
      this.#addresses.set(memory, `arrays[${firstArray + i}]`);
    });
  }

  write(program: Graph | Loop): NativeProgram {
    const main = 'body' in program ? this.#loop(program) : this.#graph(program);
    const functions = [...this.#functions].map(([text, name]) => text.replace('NAME', name));
    const source = [
      prelude,
      this.#blocks.code,
      ...functions,
      entry(main, firstArray + Object.keys(this.#inputs).length + Object.keys(this.#outputs).length),
    ].join('\n');
    const arenaBytes = this.#arenaEnd + slackBytes + alignment;
    return { source, arenaBytes, constants: this.#poolBytes(), optional: this.#optional };
  }

  #graph(graph: Graph): string {
    const inputs = mapRecord(graph.inputs, (_, name) => this.#inputs[name]!);
    const section = this.#section(graph, inputs, (operations, regions) => {
      this.#deliver(graph, operations, regions);
    });
    return this.#statements([section])[0]!;
  }

  #loop({ body, end }: Loop): string {
    const round = new Memory('int32', 1);
    const carried = mapRecord(body.outputs, ({ dtype, size }) => new Memory(dtype, size));
    const atEnd = mapRecord(end.inputs, (_, name) => carried[name] ?? this.#inputs[name]!);
    const last = this.#section(end, atEnd, (operations, regions) => {
      this.#deliver(end, operations, regions);
    });
    const inBody = mapRecord(body.inputs, (_, name) =>
      name === 'round' ? round : (carried[name] ?? this.#inputs[name]!),
    );
    let leaving = new Map<string, Memory>();
    const each = this.#section(
      body,
      inBody,
      (operations, regions) => {
        leaving = leavingOf(body, carried, operations, regions);
      },
      (operations, kernels) => carryOn(leaving, carried, operations, kernels),
    );
    for (const memory of [round, ...Object.values(carried)]) this.#settle(memory, largestPart(each, memory));
    const start = Object.entries(carried).flatMap(([name, memory]) => {
      const given = this.#inputs[name];
      return given === undefined
        ? []
        : [
            `  __builtin_memcpy(${this.#address(memory)}, ${this.#address(given)}, ${memory.size * bytesOf[memory.dtype]});\n`,
          ];
    });
    const scalar = (name: string) => `*(const int *)${this.#address(this.#inputs[name]!)}`;
    const [inRound, atLast] = this.#statements([each, last]);
    const counter = `*(int *)${this.#address(round)}`;
    return `${start.join('')}  for (int rounds = ${scalar('rounds')}, done = 0; done < rounds; done++) {
  ${counter} = ${scalar('firstRound')} + done;
${inRound}  }
${atLast}`;
  }

  /** Translates a graph, lets its outputs be delivered, and puts what it does in order. */
  #section(
    graph: Graph,
    inputs: Readonly<Record<string, Memory>>,
    before: (operations: Operations, regions: ReadonlyMap<Tensor, Region>) => void,
    after?: (operations: Operations, kernels: Kernels) => void,
  ): Section {
    const operations = new Operations();
    const given = new Map(
      Object.entries(graph.inputs).map(([name, node]) => [node as Tensor, wholeOf(inputs[name]!)]),
    );
    const foreign = new Set([
      ...Object.values(this.#inputs),
      ...Object.values(this.#outputs),
      ...Object.values(inputs),
    ]);
    const isForeign = (memory: Memory) => foreign.has(memory);
    const regions = translate(graph, given, {
      operations,
      blocks: this.#blocks,
      constants: this.#constants,
      isForeign,
    });
    before(operations, regions);
    const kernels = new Kernels(operations.list);
    after?.(operations, kernels);
    return { order: kernels.inOrder(), kernels, operations };
  }

  /** Brings outputs into their arrays: they are made there, or copied. */
  #deliver({ outputs }: Graph, operations: Operations, regions: ReadonlyMap<Tensor, Region>): void {
    for (const [name, node] of Object.entries(outputs)) {
      const memory = this.#outputs[name]!;
      const region = regions.get(node)!;
      if (!operations.place(region, { memory, offset: 0 })) {
        operations.copy(region, wholeOf(memory), memory.size);
      }
    }
  }

  /** Gives a memory a place that is its own for good, so that `part`, an element of it, lies at the start of a cache line. */
  #settle(memory: Memory, part: number): void {
    const bytes = bytesOf[memory.dtype];
    const shift = (alignment - ((part * bytes) % alignment)) % alignment;
    this.#addresses.set(memory, `arrays[0] + ${this.#arenaEnd + shift}`);
    this.#arenaEnd += Math.ceil((shift + memory.size * bytes) / alignment) * alignment;
  }

  /** The functions of a section, written, and the calls of them in order. */
  #calls({ order, kernels }: Section): Called[] {
    const stored = this.#storedIn(order, kernels);
    const isStored = (memory: Memory) =>
      stored.has(memory) || memory.within !== undefined || this.#addresses.has(memory);
    return order
      .map((kernel) => {
        const loop = kernel.loop;
        return loop === undefined ? this.#call(kernel.call!) : this.#loopKernel(loop, isStored);
      })
      .filter(({ pointers }) => pointers.some(({ isWritten }) => isWritten)); // others had no elements
  }

  /** The statements of sections that run one after another, with places for what lives only between their calls. */
  #statements(sections: readonly Section[]): string[] {
    const calls = sections.map((section) => this.#calls(section));
    const zeroed = new Map(sections.flatMap(({ operations }) => [...operations.zeroed]));
    this.#arrange(calls.flat(), zeroed);
    const optional = this.#findOptional(calls.flat());
    return calls.map((list) => list.map((call) => this.#statement(call, optional)).join(''));
  }

  #statement({ name, pointers }: Called, optional: ReadonlyMap<Memory, string>): string {
    const values = pointers.map(({ region, isWritten }) => this.#pointer(region, isWritten));
    const written = pointers.find(({ isWritten }) => isWritten)!;
    const only = optional.get(homeOf(written.region.memory).memory);
    const condition = only === undefined ? '' : `if (${only}) `;
    return `  ${condition}${name}(${[...values, '(int *)arrays[0]'].join(', ')});\n`;
  }

  /** Outputs that nothing else comes of, with the pointers that are null where nobody wants them. */
  #findOptional(calls: readonly Called[]): Map<Memory, string> {
    const optional = new Map<Memory, string>();
    for (const [name, memory] of Object.entries(this.#outputs)) {
      const touching = calls.filter(({ pointers }) =>
        pointers.some(({ region }) => homeOf(region.memory).memory === memory),
      );
      const isAlone = touching.every(({ pointers }) =>
        pointers.every(({ region, isWritten }) => isWritten === (homeOf(region.memory).memory === memory)),
      );
      if (touching.length === 0 || !isAlone) continue;
      optional.set(memory, this.#addresses.get(memory)!);
      this.#optional.push(name);
    }
    return optional;
  }

  /** What is read from memory: by another kernel, or otherwise than it is made. */
  #storedIn(order: readonly Kernel[], kernels: Kernels): Set<Memory> {
    const stored = new Set<Memory>();
    for (const kernel of order) {
      for (const region of kernel.operations.flatMap(readsOf)) {
        const isLocal = isWhole(region) && kernels.elementwiseMaker(region.memory) === kernel;
        if (!isLocal) stored.add(region.memory);
      }
      for (const operation of kernel.operations) {
        if (operation.kind === 'call' || operation.reduction !== undefined || !isWhole(operation.target)) {
          for (const { memory } of writesOf(operation)) stored.add(memory);
        }
      }
    }
    return stored;
  }

  #arrange(calls: readonly Called[], zeroed: ReadonlyMap<Memory, string>): void {
    const lives = new Map<Memory, { from: number; to: number }>();
    calls.forEach(({ pointers }, moment) => {
      for (const { region } of pointers) {
        const { memory } = homeOf(region.memory);
        if (this.#constants.has(memory)) this.#addresses.set(memory, this.#constantAddress(memory));
        if (this.#addresses.has(memory)) continue;
        const life = lives.get(memory);
        if (life === undefined) lives.set(memory, { from: moment, to: moment });
        else life.to = moment;
      }
    });
    const tenants = [...lives].map(([memory, life]): Tenant & { memory: Memory } => ({
      ...life,
      memory,
      bytes: memory.size * bytesOf[memory.dtype],
      kind: zeroed.get(memory) ?? '',
    }));
    const { places, end } = arrange(tenants, this.#arenaEnd);
    for (const [{ memory }, place] of places) this.#addresses.set(memory, `arrays[0] + ${place}`);
    this.#arenaEnd = end;
  }

  #loopKernel(loop: readonly Elementwise[], isStored: (memory: Memory) => boolean): Called {
    const { body, pointers } = loopCode(loop, { isStored, constants: this.#constants });
    const names = pointers.map((_, i) => `p${i}`);
    return { name: this.#function(body, pointers, names), pointers };
  }

  #call({ reads, writes, code }: Call): Called {
    const pointers = [
      ...reads.map((region) => ({ region, isWritten: false })),
      ...writes.map((region) => ({ region, isWritten: true })),
    ];
    const names = pointers.map((_, i) => `p${i}`);
    const body = code({ reads: names.slice(0, reads.length), writes: names.slice(reads.length) });
    return { name: this.#function(body, pointers, names), pointers };
  }

  /** The name of a function; equal ones are written once. */
  #function(body: string, pointers: Called['pointers'], names: readonly string[]): string {
    const parameters = pointers.map(({ region, isWritten }, i) => {
      return `${pointerType(region.memory.dtype, isWritten)}${names[i]}`;
    });
    const text = `static __attribute__((noinline)) void NAME(${[...parameters, 'int *status'].join(', ')}) {\n${body}}\n`;
    const known = this.#functions.get(text);
    if (known !== undefined) return known;
    const name = `f${this.#functions.size}`;
    this.#functions.set(text, name);
    return name;
  }

  #pointer({ memory, offset }: Region, isWritten: boolean): string {
    const home = homeOf(memory);
    const type = pointerType(memory.dtype, isWritten);
    const start = home.offset + offset;
    return `(${type.trim()})(${this.#addresses.get(home.memory)!})${start === 0 ? '' : ` + ${start}`}`;
  }

  #address(memory: Memory): string {
    const home = homeOf(memory);
    return `(${this.#addresses.get(home.memory)!} + ${home.offset * bytesOf[memory.dtype]})`;
  }

  /** Where a constant lies among all; equal data once. */
  #constantAddress(memory: Memory): string {
    const data = this.#constants.get(memory)!;
    let known = this.#pool.find((other) => other.data === data);
    if (known === undefined) {
      known = { data, offset: this.#poolEnd };
      this.#pool.push(known);
      this.#poolEnd += Math.ceil(data.byteLength / 64) * 64;
    }
    return `arrays[1] + ${known.offset}`;
  }

  #poolBytes(): Uint8Array {
    const bytes = new Uint8Array(this.#poolEnd + slackBytes);
    for (const { data, offset } of this.#pool) {
      bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    }
    return bytes;
  }
}

/** Where the largest part of a memory that a section reads begins. */
function largestPart({ operations }: Section, memory: Memory): number {
  const parts = operations.list.flatMap(readsOf).filter((region) => region.memory === memory);
  const largest = parts.reduce<Region | undefined>(
    (best, part) => (best === undefined || lengthOf(part.axes) > lengthOf(best.axes) ? part : best),
    undefined,
  );
  return largest === undefined ? 0 : extentOf(largest).first;
}

/** A call of a function. */
interface Called {
  readonly name: string;
  readonly pointers: readonly { readonly region: Region; readonly isWritten: boolean }[];
}

function pointerType(dtype: DType, isWritten: boolean): string {
  return `${isWritten ? '' : 'const '}${typeNames[dtype]} *`;
}
