/** Runtimes for Node: in this thread, or a pool of worker threads. */
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
 * A runtime for Node: programs compiled to machine code, or run by onnxruntime-node.
 * @throws {OptionError} when the provider can not be used here, or a count is out of range
 */
export async function nodeRuntime(options: NodeRuntimeOptions = {}): Promise<Runtime> {
  const { provider = await defaultProvider(), threads = 1, workers = 1, apart = false } = options;
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
  const ort = await loadOnnxRuntime();
  await requireProvider(provider);
  const block = provider === 'cpu' ? await directBlock() : undefined;
  const load = { provider, block, executionProvider: provider, threads, writesInPlace: true };
  const here = new LocalRuntime(new OnnxEngine(ort, load));
  return workers === 1 && !apart ? here : PoolRuntime.start(here, { workers, apart, options: load });
}

/** The fastest way to run programs on this machine's processor. */
export async function defaultProvider(): Promise<'native' | 'cpu'> {
  return (await nativeFault()) === undefined ? 'native' : 'cpu';
}

/** Only when it is wanted: loading it takes longer than most programs. */
const loadOnnxRuntime = () => import('onnxruntime-node');

/** Providers that can be used here: those of this build of ONNX Runtime, and native where there is a C compiler. */
export async function availableProviders(): Promise<Provider[]> {
  const native: Provider[] = (await nativeFault()) === undefined ? ['native'] : [];
  return [...(await bundledProviders()), ...native];
}

async function bundledProviders(): Promise<Provider[]> {
  const known: readonly Provider[] = ['cpu', 'webgpu'];
  const ort = await loadOnnxRuntime();
  const bundled = ort.listSupportedBackends().filter((backend) => backend.bundled);
  return known.filter((provider) => bundled.some(({ name }) => name === provider));
}

async function requireProvider(provider: Provider): Promise<void> {
  const available = await bundledProviders();
  if (available.includes(provider)) return;
  throw new OptionError(
    `device: "${provider}" is not in this build of ONNX Runtime, which has ${available.join(', ')}`,
  );
}

let knownBlock: Promise<number | undefined> | undefined;

/** How many channels the direct convolutions block here; undefined where this processor has none. */
function directBlock(): Promise<number | undefined> {
  knownBlock ??= probeBlock().catch(() => undefined); // without them ONNX Runtime refuses the operator
  return knownBlock;
}

async function probeBlock(): Promise<number | undefined> {
  const ort = await loadOnnxRuntime();
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
