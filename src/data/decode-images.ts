/** JPEG, PNG and WebP files to images of one size, many at a time. Node only. */
import { DataError } from '../errors.ts';
import { PackedImages } from './packed-images.ts';
import type { ZipEntry } from './zip.ts';

/** The image files of a class. */
export interface ClassFiles {
  readonly name: string;
  readonly files: readonly ZipEntry[];
}

/** How far reading images is. */
export interface ImageProgress {
  /** Images decoded. */
  readonly done: number;
  readonly total: number;
}

export interface DecodeOptions {
  /** [height, width, 3] in colour or [height, width, 1] in gray. */
  readonly imageShape: readonly [number, number, number];
  /** How messages call the source. */
  readonly label: string;
  /** What to do about files that can't be read, the end of messages. */
  readonly remedy: string;
  readonly onProgress?: (progress: ImageProgress) => void;
}

/** Largest picture decoded, in pixels: 8192 x 8192. */
export const maxImagePixels = 2 ** 26;
/** Largest file of an encoded image, in bytes. */
export const maxImageFileBytes = 2 ** 26;

/** Largest set of decoded images, in bytes: what a cache file can be read back from. */
const maxPackedBytes = 2 ** 31 - 2 ** 20;

const concurrent = 4; // the threads that Node keeps for such work
const mostFaults = 5; // named before giving up

/**
 * Decodes every image of every class, stretched to `imageShape` without regard to its proportions by Lanczos
 * resampling, turned upright by its EXIF orientation, transparency on white.
 *
 * @throws {DataError} naming the files that are no whole JPEG, PNG or WebP, or too large.
 */
export async function decodeClasses(
  classes: readonly ClassFiles[],
  { imageShape, label, remedy, onProgress }: DecodeOptions,
): Promise<PackedImages> {
  const [height, width, channels] = imageShape;
  const imageSize = height * width * channels;
  const files = classes.flatMap((one) => one.files);
  const total = files.length;
  if (total * imageSize > maxPackedBytes) {
    throw new DataError(
      `${label}: ${total} images of ${imageShape.join('x')} take ${(total * imageSize) / 1e9} GB, ` +
        'expected at most 2: make the images smaller, gray or fewer',
    );
  }
  const decode = await imageDecoder(imageShape);
  const pixels = new Uint8Array(total * imageSize); // [images, height, width, channels]
  const faults: string[] = [];
  let next = 0;
  let done = 0;
  const work = async () => {
    while (next < total && faults.length < mostFaults) {
      const i = next++;
      const file = files[i]!;
      try {
        pixels.set(await decode(file.read()), i * imageSize);
      } catch (cause) {
        faults.push(`"${file.name}" (${reasonOf(cause)})`);
      }
      done += 1;
      onProgress?.({ done, total });
    }
  };
  await Promise.all(Array.from({ length: concurrent }, work));
  if (faults.length > 0) {
    const more = faults.length < mostFaults ? '' : ' and perhaps more';
    throw new DataError(`${label}: can not use ${faults.sort().join(', ')}${more}; ${remedy}`);
  }
  return new PackedImages({
    imageShape,
    classes: classes.map(({ name, files: { length } }) => ({ name, count: length })),
    pixels,
    white: 255,
  });
}

/**
 * A function from a file's bytes to its pixels, uint8 [height, width, channels], as `decodeClasses` makes them.
 * It throws when they are no whole image.
 */
export async function imageDecoder([height, width, channels]: readonly [number, number, number]) {
  const { default: sharp } = await import('sharp').catch((cause) => {
    const remedy = 'install it for this machine with `npm install --include=optional sharp`';
    throw new DataError(`images are decoded by the package sharp, which can not be loaded; ${remedy}`, {
      cause,
    });
  });
  return async (bytes: Uint8Array): Promise<Uint8Array> => {
    const format = formatOf(bytes);
    if (format === undefined) throw new Error('its content is not JPEG, PNG or WebP');
    // Damage inside a JPEG is only a warning; a PNG's warnings are about odd but harmless colour profiles.
    const failOn = format === 'jpeg' ? 'warning' : 'error';
    const image = sharp(bytes, { failOn, limitInputPixels: maxImagePixels })
      .autoOrient()
      .resize(width, height, { fit: 'fill', kernel: 'lanczos3' })
      .flatten({ background: '#ffffff' });
    const { data, info } = await (channels === 1 ? image.grayscale() : image.toColourspace('srgb'))
      .raw()
      .toBuffer({ resolveWithObject: true })
      .catch((cause: Error) => {
        // What else libvips says may be about another image: its messages are shared by all threads.
        const isTooLarge = /pixel limit/i.test(cause.message);
        const limit = maxImagePixels.toLocaleString('en-US');
        const fault = isTooLarge ? `it has more than ${limit} pixels` : 'it is damaged or cut short';
        throw new Error(fault, { cause });
      });
    if (info.width !== width || info.height !== height || info.channels !== channels) {
      throw new Error(`internal: decoded to ${info.width}x${info.height}x${info.channels}`);
    }
    return data;
  };
}

function formatOf(bytes: Uint8Array): 'jpeg' | 'png' | 'webp' | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, 12));
  if (text.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  return /^RIFF....WEBP$/s.test(text) ? 'webp' : undefined;
}

function reasonOf(cause: unknown): string {
  const inner = cause instanceof DataError ? (cause.cause ?? cause) : cause; // names the file already
  return inner instanceof Error ? inner.message : String(inner);
}
