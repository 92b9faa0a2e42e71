/** The runtime for browsers, over onnxruntime-web (which runs in Node too). */
import * as ort from 'onnxruntime-web/wasm';
import { checkChoice, checkCount } from '../errors.ts';
import { LocalRuntime } from './local.ts';
import { OnnxEngine, type OnnxRuntime } from './onnx.ts';
import type { Provider, Runtime, RuntimeOptions } from './runtime.ts';

/** Where programs run in a browser. */
export type WebProvider = Exclude<Provider, 'native'>;

export interface WebRuntimeOptions extends RuntimeOptions {
  /** @default 'cpu' */
  provider?: WebProvider;
  /**
   * Address of a folder with the `.wasm` file of onnxruntime-web's `dist`, for bundlers that do not follow
   * `new URL('….wasm', import.meta.url)`, or to serve it from elsewhere: `ort-wasm-simd-threaded.wasm`, for
   * `webgpu` the one that has `asyncify` in its name. The first runtime of a page decides for all.
   * @default where the bundler put it
   */
  wasmFolder?: string;
}

const wasmFiles: Readonly<Record<WebProvider, string>> = {
  cpu: 'ort-wasm-simd-threaded.wasm',
  webgpu: 'ort-wasm-simd-threaded.asyncify.wasm',
};

/**
 * A runtime over onnxruntime-web: WebAssembly for `cpu`. What WebGPU needs is loaded only when it is asked for.
 * More than one thread needs a page that is cross-origin isolated; ONNX Runtime takes one elsewhere. The first
 * runtime that runs decides on their number for all.
 * @throws {OptionError} when the number of threads is out of range
 */
export async function webRuntime(options: WebRuntimeOptions = {}): Promise<Runtime> {
  const { provider = 'cpu', threads = 1, wasmFolder } = options;
  checkChoice('provider', provider, Object.keys(wasmFiles));
  checkCount('threads', threads);
  const { env, ...rest }: OnnxRuntime & Pick<typeof ort, 'env'> =
    provider === 'webgpu' ? await import('onnxruntime-web/webgpu') : ort;
  env.wasm.numThreads = threads;
  if (wasmFolder !== undefined) {
    env.wasm.wasmPaths = { wasm: `${wasmFolder.replace(/\/$/, '')}/${wasmFiles[provider]}` };
  }
  const executionProvider = provider === 'cpu' ? 'wasm' : provider;
  return new LocalRuntime(
    new OnnxEngine(rest, { provider, executionProvider, threads, writesInPlace: false }),
  );
}
