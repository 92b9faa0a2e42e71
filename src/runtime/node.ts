/** Runtimes for Node: in this thread, or a pool of worker threads. */
import * as ort from 'onnxruntime-node';
import { checkCount, OptionError } from '../errors.ts';
import { probe } from '../onnx/direct-convolution.ts';
import { ModelBuilder, outputName } from '../onnx/model.ts';
import { LocalRuntime } from './local.ts';
import { nativeEngine, nativeFault } from './native.ts';
import { OnnxEngine } from './onnx.ts';
import { PoolRuntime } from './pool.ts';
import type { Provider, Runtime, RuntimeOptions } from './runtime.ts';

export interface NodeRuntimeOptions extends RuntimeOptions {
  /** @default 'native' where programs can be compiled, else 'cpu' */
  provider?: Provider;
  /**
   * Threads that run tasks side by side, the calling one among them. The results are the same bits for any
   * number. @default 1
   */
  workers?: number;
  /** The calling thread runs no tasks, so that several runtimes can run side by side. @default false */
  apart?: boolean;
}

/**
 * A runtime over onnxruntime-node.
 * @throws {OptionError} when the provider is not in this build of ONNX Runtime, or a count is out of range
 */
export async function nodeRuntime(options: NodeRuntimeOptions = {}): Promise<Runtime> {
  const { provider = await defaultProvider(), threads = 1, workers = 1, apart = false } = options;
  if (provider !== 'native') requireProvider(provider);
  checkCount('workers', workers);
  checkCount('threads', threads);
  if ((workers > 1 || apart) && provider === 'webgpu') {
    throw new OptionError(`workers: the device "${provider}" is one for all, got ${workers} workers: use 1`);
  }
  if (provider === 'native') {
    if (threads !== 1)
      throw new OptionError(`threads: programs of the device "native" have one, got ${threads}: use workers`);
    const here = new LocalRuntime(await nativeEngine());
    return workers === 1 && !apart ? here : PoolRuntime.start(here, { workers, apart, options: 'native' });
  }
  const block = provider === 'cpu' ? await directBlock() : undefined;
  const load = { provider, block, executionProvider: provider, threads, writesInPlace: true };
  const here = new LocalRuntime(new OnnxEngine(ort, load));
  return workers === 1 && !apart ? here : PoolRuntime.start(here, { workers, apart, options: load });
}

/** The fastest way to run programs on this machine's processor. */
export async function defaultProvider(): Promise<'native' | 'cpu'> {
  return (await nativeFault()) === undefined ? 'native' : 'cpu';
}

/** Providers of this build that need nothing installed beside it. */
export function availableProviders(): Provider[] {
  const known: readonly Provider[] = ['cpu', 'webgpu'];
  const bundled = ort.listSupportedBackends().filter((backend) => backend.bundled);
  return known.filter((provider) => bundled.some(({ name }) => name === provider));
}

function requireProvider(provider: Provider): void {
  const available = availableProviders();
  if (!available.includes(provider)) {
    throw new OptionError(
      `device: "${provider}" is not in this build of ONNX Runtime, which has ${available.join(', ')}`,
    );
  }
}

let knownBlock: Promise<number | undefined> | undefined;

/** How many channels the direct convolutions block here; undefined where this processor has none. */
function directBlock(): Promise<number | undefined> {
  knownBlock ??= probeBlock().catch(() => undefined); // without them ONNX Runtime refuses the operator
  return knownBlock;
}

async function probeBlock(): Promise<number | undefined> {
  const session = await ort.InferenceSession.create(probe(new ModelBuilder()), { intraOpNumThreads: 1 });
  const values = Float32Array.from({ length: 64 }, (_, i) => i);
  const outputs = await session.run({ x: new ort.Tensor('float32', values, [1, 32, 1, 2]) });
  await session.release();
  const order = outputs[outputName('y')]!.data as Float32Array;
  const block = order.indexOf(1);
  const isBlocked = order.every((value, i) => {
    const [pixel, rest] = [Math.floor(i / block) % 2, Math.floor(i / (2 * block)) * block + (i % block)];
    return value === 2 * rest + pixel;
  });
  return block > 1 && isBlocked ? block : undefined;
}
