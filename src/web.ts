/** Anole for browsers: WebAssembly and WebGPU. */
export * from './index.ts';
export { type WebRuntimeOptions, webRuntime } from './runtime/web.ts';
