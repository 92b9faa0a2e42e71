/** Loading weights in a browser: everything is fetched, images are decoded by the browser itself. */
import { DataError } from '../errors.ts';
import { webRuntime } from '../runtime/web.ts';
import type { Environment } from './environment.ts';
import { adaptedLoaderFor, type Load, type LoadAdapted, loaderFor } from './load.ts';

async function fetched(source: string | URL): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(source);
  } catch (cause) {
    throw new DataError(`${source}: could not be fetched (${(cause as Error).message}): see the address`, {
      cause,
    });
  }
  if (response.ok) return response;
  throw new DataError(`${source}: could not be fetched (status ${response.status}): see the address`);
}

const environment: Environment = {
  startRuntime: () => webRuntime(),
  readBytes: async (source) => new Uint8Array(await (await fetched(source)).arrayBuffer()),
  async readImage(source) {
    const bitmap = await createImageBitmap(await (await fetched(source)).blob()).catch((cause) => {
      throw new DataError(`${source}: is no image this browser reads: convert it to PNG`, { cause });
    });
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height).getContext('2d')!;
    canvas.drawImage(bitmap, 0, 0);
    bitmap.close();
    return canvas.getImageData(0, 0, width, height);
  },
};

/**
 * Loads meta-trained weights, ready to be fitted to a few examples:
 *
 *     const learner = await load('omniglot-5way');
 *     const task = await learner.fit({ cat: [image1, image2], dog: [image3] });
 *     const { label, probability } = await task.predict(image4);
 *
 * @throws {DataError} when there are none, or they are damaged
 * @throws {OptionError} when they are of the other kind than `targets` says
 */
export const load: Load = loaderFor(environment);

/** Loads what `save` of a fitted task gave. Throws as `load` does. */
export const loadAdapted: LoadAdapted = adaptedLoaderFor(environment);
