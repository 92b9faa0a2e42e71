import { defineConfig, nodeRuntime, type Runtime } from 'anole';
import { webRuntime } from 'anole/web';

export const config = defineConfig({ task: 'glyphs', workers: 2 });
export const runtimes: Promise<Runtime>[] = [nodeRuntime({ workers: 2 }), webRuntime()];
