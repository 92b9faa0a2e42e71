/** Anole for browsers: WebAssembly and WebGPU. */
export * from './index.ts';
export { webRuntime } from './runtime/web.ts';
