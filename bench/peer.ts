/** The peer: PyTorch in processes of its own, told what to do by lines of JSON (bench/peer/main.py). */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { env } from 'node:process';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { size } from '../src/graph/type.ts';
import type { Model } from '../src/nn/model.ts';
import type { Leaf } from '../src/nn/parameters.ts';
import type { Variant } from './harness.ts';
import { cpuHas, root } from './machine.ts';

/** A work as bench/peer/works.py takes it. */
export interface PeerWork {
  readonly kind: 'inner-loop' | 'maml-gradient' | 'meta-iteration' | 'evaluation';
  readonly [option: string]: unknown;
}

/** How the peer does a work, chosen on the machine. */
export interface PeerChoice {
  readonly threads: number;
  /** Instruction set of PyTorch's own kernels. */
  readonly capability: Capability;
  readonly settings: unknown;
  readonly msPerTrial: number;
}

type Capability = 'default' | 'avx512';

export interface PeerDescription {
  readonly torch: string;
  readonly python: string;
  /** Files of the BLAS that are loaded, links resolved. */
  readonly blas: readonly string[];
  /** Of its matrix product, one thread, in GFLOP/s. */
  readonly productSpeed: number;
  readonly oneDnn: boolean;
}

/** A vector of a model's parameters with its leaves as the peer's networks have them: layer by layer. */
export function inPeersOrder({ layout }: Model, vector: Float32Array): Float32Array {
  const order = ['filter', 'scale', 'shift', 'weights', 'bias'];
  const keyOf = ({ name }: Leaf) => {
    const [layer, kind] = name.split('/') as [string, string];
    return `${layer} ${order.indexOf(kind)}`;
  };
  const leaves = layout.leaves.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const result = new Float32Array(layout.size);
  let offset = 0;
  for (const leaf of leaves) {
    const values = vector.subarray(leaf.offset, leaf.offset + size(leaf.shape));
    result.set(values, offset);
    offset += values.length;
  }
  return result;
}

/** Numbers as text that Python reads as the same bytes. */
export function encode(values: Float32Array | Int32Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
}

/** A Python that has PyTorch, or undefined. */
export function findPython(): string | undefined {
  return ['/usr/bin/python3', 'python3'].find((python) => {
    try {
      execFileSync(python, ['-c', 'import torch'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

interface Tried {
  readonly settings: unknown;
  readonly ms: number;
}

class PeerProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #failure: Promise<never>;

  constructor(python: string, threads: number, capability: Capability, plain: boolean) {
    const given = [String(threads), ...(plain ? ['plain'] : [])];
    this.#child = spawn(python, [`${root}/bench/peer/main.py`, ...given], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: environment(threads, capability, plain),
    });
    this.#lines = createInterface(this.#child.stdout);
    this.#failure = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`the peer ended with exit code ${code}; what it said stands above`);
    });
    this.#failure.catch(() => {}); // an end that was asked for
  }

  async ask<T>(request: Readonly<Record<string, unknown>>): Promise<T> {
    const answer = once(this.#lines, 'line') as Promise<[string]>;
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const [line] = await Promise.race([answer, this.#failure]);
    return JSON.parse(line) as T;
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    await this.#failure.catch(() => {});
  }
}

/**
 * What PyTorch runs fastest with: one pool of threads of the right size; memory that the C library keeps
 * instead of giving it back to the system after every operator, which costs it a third of its speed.
 */
function environment(threads: number, capability: Capability, plain: boolean): NodeJS.ProcessEnv {
  const { OPENBLAS_CORETYPE: _, ATEN_CPU_CAPABILITY: __, ...others } = env;
  const keptMemory = {
    MALLOC_MMAP_MAX_: '0',
    MALLOC_TRIM_THRESHOLD_: '100000000000',
    MALLOC_TOP_PAD_: '100000000',
  };
  return {
    ...others,
    ...(plain ? {} : keptMemory),
    OMP_NUM_THREADS: String(threads),
    OPENBLAS_NUM_THREADS: String(threads),
    MKL_NUM_THREADS: String(threads),
    ...(capability === 'default' ? {} : { ATEN_CPU_CAPABILITY: capability }),
  };
}

/** All processes of the peer, started when they are first needed. */
export class Peer {
  readonly #python: string;
  readonly #processes = new Map<string, PeerProcess>();
  readonly #plain: boolean;
  /** PyTorch takes AVX2 by itself; where there is more, both are tried. */
  readonly #capabilities: readonly Capability[];

  /** @param plain PyTorch as it comes: its own optimizers, no settings of the environment */
  constructor(python: string, plain: boolean) {
    this.#python = python;
    this.#plain = plain;
    this.#capabilities = cpuHas('avx512f') && !plain ? ['default', 'avx512'] : ['default'];
  }

  #process(threads: number, capability: Capability, number = 0): PeerProcess {
    const key = `${threads} ${capability} ${number}`;
    const known = this.#processes.get(key);
    if (known !== undefined) return known;
    const started = new PeerProcess(this.#python, threads, capability, this.#plain);
    this.#processes.set(key, started);
    return started;
  }

  describe(): Promise<PeerDescription> {
    return this.#process(1, 'default').ask({ do: 'describe' });
  }

  /** Prepares a work with one thread, with two, and in two processes, each in the fastest settings. */
  async prepare(work: PeerWork, seconds: number): Promise<PreparedPeer> {
    const one = await this.#choose(work, 1);
    const two = await this.#choose(work, 2);
    const first = this.#process(1, one.capability);
    const second = this.#process(1, one.capability, 1);
    await second.ask({ do: 'prepare', work, settings: one.settings });
    const parallel = this.#process(2, two.capability);

    const forget = (process: PeerProcess) => async () => {
      await process.ask({ do: 'forget' });
    };
    const variants: readonly Variant[] = [
      { name: 'peer-1', sample: () => timePerUnit([first], seconds), close: forget(first) },
      { name: 'peer-2', sample: () => timePerUnit([parallel], seconds), close: forget(parallel) },
      { name: 'peer-2x1', sample: () => timePerUnit([first, second], seconds), close: forget(second) },
    ];
    for (const { sample } of variants) await sample(); // to warm up
    const check = () =>
      Promise.all([first, parallel].map((process) => process.ask<Checked>({ do: 'check' })));
    return { variants, choices: [one, two], check };
  }

  /** Tries everything there is to try and leaves the fastest prepared. */
  async #choose(work: PeerWork, threads: number): Promise<PeerChoice> {
    const choices: PeerChoice[] = [];
    for (const capability of this.#capabilities) {
      const { tried } = await this.#process(threads, capability).ask<{ tried: readonly Tried[] }>({
        do: 'prepare',
        work,
      });
      const { settings, ms } = tried[0]!; // they are sorted
      choices.push({ threads, capability, settings, msPerTrial: ms });
    }
    const [fastest, ...others] = choices.sort((a, b) => a.msPerTrial - b.msPerTrial);
    for (const { capability } of others) await this.#process(threads, capability).ask({ do: 'forget' });
    return fastest!;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#processes.values()].map((process) => process.close()));
  }
}

export interface PreparedPeer {
  readonly variants: readonly Variant[];
  readonly choices: readonly PeerChoice[];
  /** What one thread and two come to. */
  check(): Promise<Checked[]>;
}

type Checked = Readonly<Record<string, number | readonly number[]>>;

/** ms a unit, by the added-up throughput of processes that start at the same moment. */
async function timePerUnit(processes: readonly PeerProcess[], seconds: number): Promise<number> {
  const at = Date.now() / 1000 + 0.02;
  const samples = await Promise.all(
    processes.map((process) =>
      process.ask<{ units: number; seconds: number }>({ do: 'sample', seconds, at }),
    ),
  );
  const perSecond = samples.reduce((total, sample) => total + sample.units / sample.seconds, 0);
  return 1000 / perSecond;
}
