// @ts-expect-error: the entry for browsers starts no threads of Node
import { float32, nodeRuntime, type Runtime, trace, webRuntime } from 'anole';

export const graph = trace({ x: float32(2) }, ({ x }) => ({ y: x }));
export const runtime: Promise<Runtime> = webRuntime({ wasmFolder: '/wasm/' });
export const none = nodeRuntime;
