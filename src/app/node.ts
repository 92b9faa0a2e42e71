/** Loading weights in Node: files, addresses, native kernels. */
import { readFile } from 'node:fs/promises';
import { imageDecoder } from '../data/decode-images.ts';
import { DataError } from '../errors.ts';
import { fileFault } from '../files.ts';
import { nodeRuntime } from '../runtime/node.ts';
import type { Environment } from './environment.ts';
import { adaptedLoaderFor, type Load, type LoadAdapted, loaderFor } from './load.ts';

async function readBytes(source: string | URL): Promise<Uint8Array> {
  if (/^https?:/.test(String(source))) return fetched(source);
  const path = typeof source === 'string' && source.startsWith('file:') ? new URL(source) : source;
  try {
    return await readFile(path);
  } catch (cause) {
    throw new DataError(`${source}: can not be read (${fileFault(cause)}): see the path`, { cause });
  }
}

async function fetched(source: string | URL): Promise<Uint8Array> {
  try {
    const response = await fetch(source);
    if (!response.ok) throw new Error(`status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new DataError(`${source}: could not be fetched (${reason}): see the address`, { cause });
  }
}

const environment: Environment = {
  startRuntime: () => nodeRuntime({ provider: 'cpu' }), // to be there at once, and the same bits as in a browser
  readBytes,
  async readImage(source, shape) {
    const bytes = await readBytes(source);
    const decode = await imageDecoder(shape as readonly [number, number, number]);
    return decode(bytes).catch((cause) => {
      throw new DataError(`${source}: can not be used, ${(cause as Error).message}: replace the file`, {
        cause,
      });
    });
  },
};

/**
 * Loads meta-trained weights, ready to be fitted to a few examples:
 *
 *     const learner = await load('omniglot-5way');
 *     const task = await learner.fit({ cat: ['1.png', '2.png'], dog: ['3.png'] });
 *     const { label, probability } = await task.predict('4.png');
 *
 * @throws {DataError} when there are none, or they are damaged
 * @throws {OptionError} when they are of the other kind than `targets` says
 */
export const load: Load = loaderFor(environment);

/** Loads what `save` of a fitted task gave. Throws as `load` does. */
export const loadAdapted: LoadAdapted = adaptedLoaderFor(environment);
