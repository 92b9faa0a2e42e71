/** What an app's surroundings differ in: Node reads files and runs native kernels, browsers fetch. */

import type { Shape } from '../graph/type.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { RawImage } from './pixels.ts';

export interface Environment {
  /** Starts a runtime. */
  startRuntime(): Promise<Runtime>;
  /** The bytes at a path or an address. @throws {DataError} when there are none */
  readBytes(source: string | URL): Promise<Uint8Array>;
  /**
   * Decodes the image at a path or an address: of any size, or stretched to `shape` [height, width, channels].
   * @throws {DataError} when it is none
   */
  readImage(source: string | URL, shape: Shape): Promise<RawImage>;
}
