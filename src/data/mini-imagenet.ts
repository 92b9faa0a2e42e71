/**
 * Mini-ImageNet (Vinyals et al. 2016) in the split of Ravi and Larochelle: 64 classes to train, 16 to
 * validate and 20 to test on, 600 images each, in colour and 84x84 (§6.1). Node only.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../errors.ts';
import { dataFolder } from '../files.ts';
import { type Archive, archiveAt, isFile, isFolder } from './archive.ts';
import { byName, classFolders, refuseShared, type SplitName, splitNames } from './class-folders.ts';
import { type ClassFiles, decodeClasses, type ImageProgress, maxImageFileBytes } from './decode-images.ts';
import { cacheFileFor, openImageCache, writeImageCache } from './image-cache.ts';
import type { ImageClasses } from './task.ts';
import type { ZipContents, ZipEntry } from './zip.ts';

/** How many classes each split has, and how many images each class. */
export type MiniImagenetSize = Readonly<Record<SplitName | 'images', number>>;

export const miniImagenetSize: MiniImagenetSize = { train: 64, val: 16, test: 20, images: 600 };

const side = 84;
const remedy = 'put the missing or damaged files back, or unpack the data anew';

export interface MiniImagenetOptions {
  /**
   * Where the images are: a zip file or folder with `train|val|test/<class>/<name>.jpg`, or with
   * `train.csv`, `val.csv` and `test.csv` (columns `filename` and `label`) beside a folder `images`; or a folder
   * with `mini-imagenet.zip` or `mini-imagenet` in it. @default `dataFolder()`
   */
  readonly data?: string;
  /** Folder for the decoded images: 21 kB each, 813 MB for `train`. @default `cacheFolder()` */
  readonly cache?: string;
  /** @default `miniImagenetSize`; another value is for tests */
  readonly size?: MiniImagenetSize;
  readonly onProgress?: (progress: ImageProgress) => void;
}

/**
 * Reads a split of Mini-ImageNet: classes such as `n01532829`, sorted, of 600 images [84, 84, 3] in [0, 1].
 * Images of another size are stretched to 84x84 by Lanczos resampling. They are decoded once, which takes
 * half a minute, and kept as bytes in a file that is read with the first image.
 *
 * @throws {DataError} when the data is missing, incomplete or damaged, naming the class or file.
 */
export async function loadMiniImagenet(
  split: SplitName,
  options: MiniImagenetOptions = {},
): Promise<ImageClasses> {
  const { size = miniImagenetSize, onProgress } = options;
  const archive = findMiniImagenet(options.data);
  const cacheFile = cacheFileOf(archive, split, options.cache);
  const cached = openImageCache(cacheFile);
  if (cached) return cached;
  const images = await archive.open((contents) => {
    const classes = splitsOf(contents, archive.path, size)[split];
    const imageShape = [side, side, 3] as const;
    return decodeClasses(classes, { imageShape, label: archive.path, remedy, onProgress });
  });
  await writeImageCache(cacheFile, images);
  return images;
}

/** What `anole data info` prints of a split. */
export interface MiniImagenetSplitInfo {
  readonly split: SplitName;
  readonly classes: number;
  readonly images: number;
  readonly cacheFile?: string;
  /** Whether the decoded images are in `cacheFile`. */
  readonly cached: boolean;
}

export interface MiniImagenetInfo {
  /** The zip or folder read from, if there is one. */
  readonly source?: string;
  /** Why there is none, and what to do. */
  readonly problem?: string;
  readonly splits: readonly MiniImagenetSplitInfo[];
}

/** Where Mini-ImageNet is read from and cached, without reading it. Throws nothing when it is missing. */
export function miniImagenetInfo(options: MiniImagenetOptions = {}): MiniImagenetInfo {
  const { size = miniImagenetSize } = options;
  const splits = splitNames.map((split) => ({
    split,
    classes: size[split],
    images: size[split] * size.images,
    cached: false,
  }));
  try {
    const archive = findMiniImagenet(options.data);
    return {
      source: archive.path,
      splits: splits.map((one) => {
        const cacheFile = cacheFileOf(archive, one.split, options.cache);
        return { ...one, cacheFile, cached: existsSync(cacheFile) };
      }),
    };
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    return { problem: error.message, splits };
  }
}

function cacheFileOf(archive: Archive, split: SplitName, folder?: string): string {
  return cacheFileFor(`mini-imagenet-${side}-${split}`, [archive], folder);
}

function findMiniImagenet(data = dataFolder()): Archive {
  const options = { remedy, maxFileBytes: maxImageFileBytes };
  if (isFile(data)) return archiveAt(data, options);
  const places = [data, join(data, 'mini-imagenet')];
  for (const place of places) {
    const zip = join(place, 'mini-imagenet.zip');
    if (isFile(zip)) return archiveAt(zip, options);
    if (isFolder(join(place, 'train')) || isFile(join(place, 'train.csv'))) return archiveAt(place, options);
  }
  throw new DataError(
    `Mini-ImageNet is neither in ${places.join(' nor in ')}; pass --data DIR, a folder with mini-imagenet.zip, ` +
      'with train, val and test, or with train.csv, val.csv, test.csv and images',
  );
}

type Splits = Readonly<Record<SplitName, readonly ClassFiles[]>>;

/** All splits, complete: a class that lacks images would only show as a low accuracy. */
function splitsOf(contents: ZipContents, label: string, size: MiniImagenetSize): Splits {
  const lists = contents.files.filter(({ name }) => /(^|\/)(train|val|test)\.csv$/.test(name));
  const splits = lists.length > 0 ? listedSplits(lists, contents, label) : classFolders(contents, label);
  for (const split of splitNames) {
    const classes = splits[split] ?? [];
    for (const { name, files } of classes) {
      if (files.length !== size.images) {
        throw new DataError(
          `${label}: class "${name}" of ${split} has ${files.length} images, expected ${size.images}; ${remedy}`,
        );
      }
    }
    if (classes.length !== size[split]) {
      throw new DataError(
        `${label}: ${split} has ${classes.length} classes, expected ${size[split]}; ${remedy}`,
      );
    }
  }
  return splits as Splits;
}

/** Ravi and Larochelle's way: a list of file names and classes for each split. */
function listedSplits(
  lists: readonly ZipEntry[],
  { files }: ZipContents,
  label: string,
): Partial<Record<SplitName, ClassFiles[]>> {
  const images = new Map<string, ZipEntry>();
  for (const file of files) {
    const name = /(?:^|\/)images\/([^/]+)$/.exec(file.name)?.[1];
    if (name !== undefined) images.set(name, file);
  }
  const splits: Partial<Record<SplitName, ClassFiles[]>> = {};
  const listed = new Map<string, string>();
  for (const list of lists) {
    const classes = new Map<string, ZipEntry[]>();
    for (const { filename, label: className } of rowsOf(list, label)) {
      const file = images.get(filename);
      if (file === undefined) {
        throw new DataError(
          `${label}: "images/${filename}" is missing, an image of class "${className}" in ${list.name}; ${remedy}`,
        );
      }
      const place = listed.get(filename);
      if (place !== undefined) {
        throw new DataError(
          `${label}: "${filename}" is listed twice, in ${place} and ${list.name}: leave one out`,
        );
      }
      listed.set(filename, list.name);
      const known = classes.get(className);
      if (known) known.push(file);
      else classes.set(className, [file]);
    }
    const split = /(train|val|test)\.csv$/.exec(list.name)![1] as SplitName;
    splits[split] = [...classes].map(([name, found]) => ({ name, files: found.sort(byName) })).sort(byName);
  }
  refuseShared(splits, label);
  return splits;
}

interface Row {
  readonly filename: string;
  readonly label: string;
}

/** The rows of a CSV file with columns `filename` and `label`, none quoted. */
function rowsOf(list: ZipEntry, label: string): Row[] {
  const text = new TextDecoder().decode(list.read()).replace(/^\uFEFF/, '');
  const [header = '', ...lines] = text.split(/\r?\n/);
  const columns = header.split(',').map((column) => column.trim());
  const at = { filename: columns.indexOf('filename'), label: columns.indexOf('label') };
  if (at.filename < 0 || at.label < 0) {
    throw new DataError(
      `${label}: ${list.name} begins with "${header.slice(0, 60)}", expected "filename,label"`,
    );
  }
  return lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    const values = line.split(',').map((value) => value.trim());
    const row = { filename: values[at.filename] ?? '', label: values[at.label] ?? '' };
    if (values.length !== columns.length || row.filename === '' || row.label === '') {
      throw new DataError(
        `${label}: ${list.name} line ${i + 2} is "${line.slice(0, 60)}", expected ${columns.length} values`,
      );
    }
    return [row];
  });
}
