/** The runtime for browsers, over onnxruntime-web (which runs in Node too). */
import * as ort from 'onnxruntime-web';
import { LocalRuntime } from './local.ts';
import type { Runtime, RuntimeOptions } from './runtime.ts';

/** A runtime over onnxruntime-web: WebAssembly for `cpu`. */
export async function webRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  const { provider = 'cpu', threads = 1 } = options;
  ort.env.wasm.numThreads = threads;
  const executionProvider = provider === 'cpu' ? 'wasm' : provider;
  return new LocalRuntime(ort, { provider, executionProvider, threads, writesInPlace: false });
}
