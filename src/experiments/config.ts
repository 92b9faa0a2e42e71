/** What a configuration file says: settings, and how the machine is used. */

import type { Provider } from '../runtime/runtime.ts';
import type { PresetName } from './presets.ts';
import type { Settings } from './settings.ts';

/**
 * The content of `anole.config.ts`, `.js` or `.json`: what `anole train` does where neither flags nor
 * environment variables (`ANOLE_INNER_LR` for `--inner-lr`) say otherwise.
 */
export interface Config extends Partial<Settings> {
  /** The paper's settings by name; single settings stand above it. */
  readonly preset?: PresetName;
  /** Threads that run tasks; any number gives the same bits. @default cores, at most the meta-batch; sine 1 */
  readonly workers?: number;
  /** @default 'cpu' */
  readonly device?: Provider;
  /** Folder with the data set; from the configuration file if relative. @default what `anole data fetch` got */
  readonly data?: string;
  /** Seconds between two checkpoints. @default 30 */
  readonly checkpointEvery?: number;
  /** Write an event file of TensorBoard, too. @default false */
  readonly tensorboard?: boolean;
}

/**
 * A configuration with its types checked by the editor:
 *
 *     import { defineConfig } from 'anole/node';
 *     export default defineConfig({ task: 'glyphs', shots: 1, workers: 2 });
 */
export function defineConfig(config: Config): Config {
  return config;
}
