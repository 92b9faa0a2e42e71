/** Files of decoded images, each made once from its source and again when that changes. Node only. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DataError } from '../errors.ts';
import { cacheFolder, writeAtomically } from '../files.ts';
import {
  decodePacked,
  decodePackedHeader,
  PackedImages,
  packedFileSize,
  packedHeaderSize,
  packedPrefix,
} from './packed-images.ts';

/** What a cache file is made from: where it is, and what changes with its content. */
export interface CacheSource {
  readonly path: string;
  readonly stamp: string;
}

/** The file for images made from `sources`: one name for each place they are at and each state of them. */
export function cacheFileFor(name: string, sources: readonly CacheSource[], folder = cacheFolder()): string {
  const places = sources.map(({ path }) => resolve(path));
  const states = sources.map(({ stamp }) => stamp);
  return join(folder, `${name}-${digest(places)}-${digest(states)}.images`);
}

function digest(texts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, 12);
}

/**
 * The images of a cache file, or undefined where there is none that is sound as far as its header and
 * size tell. The pixels are read and checked with the first image, so a set nobody draws from costs nothing.
 */
export function openImageCache(path: string): PackedImages | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const read = (length: number) => {
      const bytes = new Uint8Array(length);
      return bytes.subarray(0, readSync(file, bytes, 0, length, 0));
    };
    const { size } = statSync(path);
    const headerSize = packedHeaderSize(read(packedPrefix));
    if (headerSize > size) return undefined;
    const header = decodePackedHeader(read(headerSize));
    if (packedFileSize(header, headerSize) !== size) return undefined;
    return new PackedImages({ ...header, pixels: () => readPixels(path) });
  } catch {
    return undefined;
  } finally {
    closeSync(file);
  }
}

function readPixels(path: string): Uint8Array {
  try {
    return decodePacked(readFileSync(path)).pixels;
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new DataError(
      `${path}: the decoded images can not be read (${reason}): delete the file, and it is made again`,
      { cause },
    );
  }
}

/**
 * Writes a cache file and deletes those of earlier states of the same source. A cache that can't be written,
 * say on a full disk, only costs the next start its time.
 */
export async function writeImageCache(path: string, images: PackedImages): Promise<void> {
  try {
    await writeAtomically(path, images.encodeParts());
    const place = basename(path).replace(/[^-]+$/, ''); // up to the digest of the state
    for (const name of await readdir(dirname(path))) {
      const isEarlier = name.startsWith(place) && name.endsWith('.images') && name !== basename(path);
      if (isEarlier) await rm(join(dirname(path), name), { force: true });
    }
  } catch {
    // the images are in memory all the same
  }
}
