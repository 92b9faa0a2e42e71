/** Anole for browsers: WebAssembly and WebGPU. */
export { load, loadAdapted } from './app/web.ts';
export * from './index.ts';
export { type WebProvider, type WebRuntimeOptions, webRuntime } from './runtime/web.ts';
