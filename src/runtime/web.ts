/** The runtime for browsers, over onnxruntime-web (which runs in Node too). */
import * as ort from 'onnxruntime-web/wasm';
import { LocalRuntime } from './local.ts';
import type { OnnxRuntime } from './program.ts';
import type { Runtime, RuntimeOptions } from './runtime.ts';

export interface WebRuntimeOptions extends RuntimeOptions {
  /**
   * Address of the folder that holds ONNX Runtime's `.wasm` file, where it is not to come from beside the
   * script. It counts for all runtimes of a page, from the first on. @default where the bundler put it
   */
  wasmFolder?: string;
}

/**
 * A runtime over onnxruntime-web: WebAssembly for `cpu`. What WebGPU needs is loaded only when it is asked for.
 * More than one thread needs a page that is cross-origin isolated; ONNX Runtime takes one elsewhere.
 */
export async function webRuntime(options: WebRuntimeOptions = {}): Promise<Runtime> {
  const { provider = 'cpu', threads = 1, wasmFolder } = options;
  const { env, ...rest }: OnnxRuntime & Pick<typeof ort, 'env'> =
    provider === 'webgpu' ? await import('onnxruntime-web/webgpu') : ort;
  env.wasm.numThreads = threads;
  if (wasmFolder !== undefined) env.wasm.wasmPaths = wasmFolder.replace(/\/?$/, '/');
  const executionProvider = provider === 'cpu' ? 'wasm' : provider;
  return new LocalRuntime(rest, { provider, executionProvider, threads, writesInPlace: false });
}
