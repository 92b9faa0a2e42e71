/**
 * Omniglot (Lake, Salakhutdinov and Tenenbaum, Science 2015): 1623 handwritten characters, 20 drawings
 * each, prepared as in the paper's experiments (§6.1). Node only.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { decode } from 'fast-png';
import { DataError } from '../errors.ts';
import { dataFolder } from '../files.ts';
import { type Archive, findArchive } from './archive.ts';
import { byName } from './class-folders.ts';
import { type DownloadProgress, download } from './download.ts';
import { splitClasses, withRotations } from './few-shot.ts';
import { cacheFileFor, writeImageCache } from './image-cache.ts';
import { type PackedClass, PackedImages } from './packed-images.ts';
import type { ImageClasses } from './task.ts';
import type { ZipEntry } from './zip.ts';

/** One of the two parts Omniglot comes in. */
export interface OmniglotArchive {
  readonly name: string;
  /** How many characters it holds. */
  readonly classes: number;
  /** Of the official zip file. */
  readonly md5: string;
}

/** The official archives. The paper's split is over both parts together, shuffled. */
export const omniglotArchives: readonly OmniglotArchive[] = [
  { name: 'images_background', classes: 964, md5: '68d2efa1b9178cc56df9314c21c6e718' },
  { name: 'images_evaluation', classes: 659, md5: '6b91aef0f799c5bb55b94e3f2daec811' },
];

const officialAddress = 'https://github.com/brendenlake/omniglot/raw/master/python';
const drawings = 20;
const sourceSide = 105;
const side = 28;
const remedy = 'fetch it again with `anole data fetch omniglot`';

export interface OmniglotOptions {
  /**
   * Folder with `images_background.zip` and `images_evaluation.zip`, or with the folders they unpack to,
   * or with a folder `omniglot` that has them. @default the copy `fetchOmniglot` made, in `dataFolder()`
   */
  readonly data?: string;
  /** Folder for the decoded images. @default `cacheFolder()` */
  readonly cache?: string;
  /** @default `omniglotArchives`; another value is for tests */
  readonly archives?: readonly OmniglotArchive[];
}

/**
 * Reads Omniglot: 1623 classes such as `Greek/character07`, sorted by part, alphabet and character, of
 * 20 images [28, 28, 1] each, ink 0 on paper 1. The first time takes seconds; the decoded images are then
 * kept in one file, which is made again whenever the source's size or time changes.
 *
 * @throws {DataError} when the data is missing, damaged, or anything but the complete Omniglot.
 */
export async function loadOmniglot(options: OmniglotOptions = {}): Promise<PackedImages> {
  const archives = options.archives ?? omniglotArchives;
  const found = findOmniglot(archives, options.data);
  const cacheFile = cacheFileOf(found, options.cache);
  const cached = readCache(cacheFile);
  if (cached) return cached;

  const classes: PackedClass[] = [];
  const imageSize = side * side;
  const pixels = new Uint8Array(archives.reduce((sum, part) => sum + part.classes, 0) * drawings * imageSize);
  for (const [part, archive] of found.entries()) {
    await archive.open(({ files }) => {
      for (const { name, entries } of charactersOf(archive.path, files, archives[part]!.classes)) {
        const start = classes.length * drawings;
        for (const [i, entry] of entries.entries()) {
          drawingOf(entry, pixels.subarray((start + i) * imageSize, (start + i + 1) * imageSize));
        }
        classes.push({ name, count: drawings });
      }
    });
  }
  const packed = new PackedImages({ imageShape: [side, side, 1], classes, pixels, white: 1 });
  await writeImageCache(cacheFile, packed);
  return packed;
}

/**
 * The paper's split (§6.1; the shuffle is the authors' code's): the characters of both parts shuffled by
 * `seed`, 1200 for training with each rotation a class of its own (4800), the other 423 upright for testing.
 */
export function omniglotSplit(
  images: ImageClasses,
  seed: number,
): { train: ImageClasses; test: ImageClasses } {
  const { train, test } = splitClasses(images, { train: 1200, seed });
  return { train: withRotations(train), test };
}

export interface FetchOmniglotOptions {
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Stops the download; nothing half-written is left. */
  readonly signal?: AbortSignal;
  /** Folder to write the two zips to. @default the folder `omniglot` in `dataFolder()` */
  readonly to?: string;
  /** Address of the folder to download from. @default Omniglot's own on GitHub */
  readonly from?: string;
  /** @default `omniglotArchives`; another value is for tests */
  readonly archives?: readonly OmniglotArchive[];
}

/**
 * Downloads Omniglot (16 MB, MIT licence) from its official address, where `loadOmniglot` finds it. What
 * is already there and whole stays.
 *
 * @returns the folder.
 * @throws {DataError} when the address can't be reached or sends anything but the official files.
 */
export async function fetchOmniglot(options: FetchOmniglotOptions = {}): Promise<string> {
  const { archives = omniglotArchives, from = officialAddress, onProgress, signal } = options;
  const to = options.to ?? join(dataFolder(), 'omniglot');
  for (const { name, md5 } of archives) {
    await download({
      url: `${from}/${name}.zip`,
      to: join(to, `${name}.zip`),
      md5,
      otherwise: `without a network, copy ${name}.zip from elsewhere and pass its folder as --data DIR`,
      onProgress,
      signal,
    });
  }
  return to;
}

/** What `anole data info` prints. */
export interface OmniglotInfo {
  /** The zips or folders read from; empty when there are none. */
  readonly sources: readonly string[];
  /** Why there are none, and what to do. */
  readonly problem?: string;
  readonly cacheFile?: string;
  /** Whether the decoded images are in `cacheFile`. */
  readonly cached: boolean;
  readonly classes: number;
  readonly images: number;
}

/** Where Omniglot is read from and cached, without reading it. Throws nothing when it is missing. */
export function omniglotInfo(options: OmniglotOptions = {}): OmniglotInfo {
  const archives = options.archives ?? omniglotArchives;
  const classes = archives.reduce((sum, archive) => sum + archive.classes, 0);
  const size = { classes, images: classes * drawings };
  try {
    const found = findOmniglot(archives, options.data);
    const cacheFile = cacheFileOf(found, options.cache);
    return { ...size, sources: found.map(({ path }) => path), cacheFile, cached: existsSync(cacheFile) };
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return { ...size, sources: [], problem: error.message, cached: false };
  }
}

function findOmniglot(archives: readonly OmniglotArchive[], data = dataFolder()): Archive[] {
  const hint =
    'run `anole data fetch omniglot`, or pass --data DIR, a folder with ' +
    archives.map(({ name }) => `${name}.zip`).join(' and ');
  if (statSync(data, { throwIfNoEntry: false })?.isFile()) {
    throw new DataError(`${data} is a file, not the folder Omniglot is in; ${hint}`);
  }
  const places = [data, join(data, 'omniglot')];
  for (const place of places) {
    const found = archives.map(({ name }) => findArchive(place, name, { remedy }));
    const missing = archives.find((_, part) => !found[part]);
    if (!missing) return found as Archive[];
    if (found.some((archive) => archive)) {
      throw new DataError(`${place} lacks ${missing.name}.zip, a part of Omniglot; ${hint}`);
    }
  }
  throw new DataError(`Omniglot is neither in ${places.join(' nor in ')}; ${hint}`);
}

function cacheFileOf(found: readonly Archive[], folder?: string): string {
  return cacheFileFor(`omniglot-${side}`, found, folder);
}

/** A cache that is missing, unreadable or damaged is no cache: it is made again from the source. */
function readCache(path: string): PackedImages | undefined {
  try {
    return PackedImages.decode(readFileSync(path));
  } catch {
    return undefined;
  }
}

interface Character {
  readonly name: string;
  readonly entries: ZipEntry[];
}

const allNumbers = Array.from({ length: drawings }, (_, i) => `${i + 1}`.padStart(2, '0')).join(' ');

/** The characters of one archive in order, each with its 20 drawings in order. */
function charactersOf(path: string, files: readonly ZipEntry[], expected: number): Character[] {
  const characters = new Map<string, ZipEntry[]>();
  for (const entry of files) {
    if (!entry.name.endsWith('.png') || /(^|\/)(\.|__MACOSX\/)/.test(entry.name)) continue;
    const name = /^[^/]+\/([^/]+\/character\d\d)\/\d{4}_\d\d\.png$/.exec(entry.name)?.[1];
    if (!name) {
      throw new DataError(
        `${path}: "${entry.name}" is not a drawing of Omniglot, expected <Alphabet>/characterNN/NNNN_MM.png; ${remedy}`,
      );
    }
    const known = characters.get(name);
    if (known) known.push(entry);
    else characters.set(name, [entry]);
  }
  if (characters.size !== expected) {
    throw new DataError(`${path}: expected ${expected} characters, found ${characters.size}; ${remedy}`);
  }
  const sorted = [...characters].map(([name, found]) => ({ name, entries: found.sort(byName) })).sort(byName);
  for (const { name, entries: found } of sorted) {
    const numbers = found.map((drawing) => drawing.name.slice(-6, -4)).join(' ');
    if (numbers !== allNumbers) {
      throw new DataError(
        `${path}: "${name}" should have drawings 01 to ${drawings}, but has ${numbers}; ${remedy}`,
      );
    }
  }
  return sorted;
}

// The pixel that Pillow's Image.resize((28, 28), Image.NEAREST) takes for each row and column.
const nearest = Array.from({ length: side }, (_, i) => Math.floor(((i + 0.5) * sourceSide) / side));

/** Decodes a 1-bit PNG of 105x105, white 1, into `out` uint8 [28, 28], paper 1 and ink 0. */
function drawingOf(entry: ZipEntry, out: Uint8Array): void {
  const png = entry.read();
  try {
    const { width, height, depth, channels, data } = decode(png, { checkCrc: true });
    if (width !== sourceSide || height !== sourceSide || depth !== 1 || channels !== 1) {
      throw new Error(`expected 105x105 pixels of 1 bit, got ${width}x${height} of ${depth * channels}`);
    }
    const rowBytes = Math.ceil(width / 8);
    for (const [row, y] of nearest.entries()) {
      for (const [column, x] of nearest.entries()) {
        out[row * side + column] = (data[y * rowBytes + (x >> 3)]! >> (7 - (x & 7))) & 1;
      }
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DataError(`"${entry.name}" is not a whole drawing of Omniglot (${reason}); ${remedy}`, {
      cause,
    });
  }
}
