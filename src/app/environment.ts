/** What an app's surroundings differ in: Node reads files and runs native kernels, browsers fetch. */
import type { Runtime } from '../runtime/runtime.ts';
import type { PixelImage } from './pixels.ts';

export interface Environment {
  /** Starts a runtime. */
  startRuntime(): Promise<Runtime>;
  /** The bytes at a path or an address. @throws {DataError} when there are none */
  readBytes(source: string | URL): Promise<Uint8Array>;
  /** Decodes the image at a path or an address. @throws {DataError} when it is none */
  readImage(source: string | URL): Promise<PixelImage>;
}
