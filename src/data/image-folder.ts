/** One's own images: a folder or zip of class folders. Node only. */
import { createHash } from 'node:crypto';
import { checkCount, DataError, OptionError } from '../errors.ts';
import { type Archive, archiveAt } from './archive.ts';
import { classFolders, type SplitName, splitNames } from './class-folders.ts';
import { type ClassFiles, decodeClasses, type ImageProgress, maxImageFileBytes } from './decode-images.ts';
import { selectClasses } from './few-shot.ts';
import { cacheFileFor, openImageCache, writeImageCache } from './image-cache.ts';
import { Random } from './random.ts';
import type { ImageClasses } from './task.ts';
import type { ZipEntry } from './zip.ts';

export interface ImageFolderOptions {
  /**
   * A folder or zip file of class folders with JPEG, PNG or WebP files. Class folders inside folders `train`,
   * `test` and `val` are split so; else the classes are split by `seed`.
   */
  readonly path: string;
  /** Height and width the images are stretched to, in pixels, from 8 to 256. @default 84, or 28 with `gray` */
  readonly size?: number;
  /** One channel instead of three. @default false */
  readonly gray?: boolean;
  /** Which classes are kept for testing; another seed is another split. @default 0 */
  readonly seed?: number;
  /** Classes in the tasks to be drawn: each part of a split by seed gets at least so many. @default 5 */
  readonly ways?: number;
  /** Leaves out classes with fewer images. @default 0, all are kept */
  readonly minImages?: number;
  /** Folder for the decoded images. @default `cacheFolder()` */
  readonly cache?: string;
  readonly onProgress?: (progress: ImageProgress) => void;
}

/** A class and how many images it has. */
export interface CountedClass {
  readonly name: string;
  readonly images: number;
}

/** Classes to draw tasks from, [size, size, 3] or [size, size, 1] each image, and what is to be known of them. */
export interface ImageFolder {
  readonly train: ImageClasses;
  /** Only where there is a folder `val`. */
  readonly val?: ImageClasses;
  readonly test: ImageClasses;
  /** Whether folders `train` and `test` say what is trained on, or the seed. */
  readonly splitBy: 'folders' | 'seed';
  readonly path: string;
  /** Classes left out for having fewer than `minImages`. */
  readonly leftOut: readonly CountedClass[];
}

/**
 * Reads a folder of one's own images. They are decoded once and kept in a file, which is made again whenever
 * a file's size or time changes. The same file twice in a class counts once.
 *
 * ```js
 * const { train, test } = await imageFolder({ path: 'pets' });
 * const tasks = fewShotTasks(train, { ways: 5 });
 * ```
 *
 * @throws {OptionError} when an option is out of range, or `minImages` leaves no class
 * @throws {DataError} naming the files that are no whole images, images that are in two classes, stray files,
 *   empty classes, or how many classes are missing
 */
export async function imageFolder(options: ImageFolderOptions): Promise<ImageFolder> {
  const { path, gray = false, seed = 0, ways = 5, minImages = 0, onProgress } = options;
  const size = options.size ?? (gray ? 28 : 84);
  checkCount('imageFolder: size', size, { from: 8, to: 256 });
  const archive = archiveAt(path, { remedy: 'give a whole one', maxFileBytes: maxImageFileBytes });
  const imageShape = [size, size, gray ? 1 : 3] as const;
  const cacheFile = cacheFileFor(`images-${imageShape.join('x')}`, [archive], options.cache);
  const images =
    openImageCache(cacheFile) ?? (await decodeFolder(archive, { imageShape, cacheFile, onProgress }));

  const leftOut: CountedClass[] = [];
  const parts: Record<SplitName | 'all', number[]> = { all: [], train: [], val: [], test: [] };
  for (let index = 0; index < images.classCount; index++) {
    const [split, name] = parseName(images.className(index));
    const count = images.imageCount(index);
    if (count < minImages) leftOut.push({ name, images: count });
    else parts[split].push(index);
  }
  if (leftOut.length === images.classCount) {
    const most = Math.max(...leftOut.map((one) => one.images));
    throw new OptionError(
      `minImages: none of the ${leftOut.length} classes in ${path} has ${minImages} images, the largest has ${most}: lower it`,
    );
  }
  const named = withoutSplitNames(images);
  const known = { path, leftOut };
  const isSplit = parseName(images.className(0))[0] !== 'all';
  if (isSplit) {
    for (const split of ['train', 'test'] as const) {
      if (parts[split].length > 0) continue;
      const reason = leftOut.length > 0 ? ` with at least ${minImages} images` : '';
      throw new DataError(
        `${path}: no classes${reason} in the folder ${split}: move some there, or put all in one folder`,
      );
    }
    const part = (split: SplitName) => selectClasses(named, parts[split]);
    const val = parts.val.length > 0 ? { val: part('val') } : {};
    return { ...known, splitBy: 'folders', train: part('train'), ...val, test: part('test') };
  }
  const all = selectClasses(named, parts.all);
  const { classCount } = all;
  if (classCount < 2 * ways) {
    const reason = leftOut.length > 0 ? ` with at least ${minImages} images` : '';
    throw new DataError(
      `${path}: ${classCount} classes${reason} are too few: ${ways}-way tasks to train and to test on ` +
        `different classes take ${2 * ways}: lower the ways or add classes`,
    );
  }
  return { ...known, splitBy: 'seed', ...splitBySeed(all, { seed, ways }) };
}

/**
 * A fifth of the classes for testing, at least `ways`. Each class draws a number by its name, so that
 * another class in the folder moves no more than a class or two to the other side.
 */
function splitBySeed(all: ImageClasses, { seed, ways }: { readonly seed: number; readonly ways: number }) {
  const drawn = Array.from({ length: all.classCount }, (_, index) => ({
    index,
    number: Random.stream(seed, `class split: ${all.className(index)}`).uniform(),
  }));
  drawn.sort((a, b) => a.number - b.number || a.index - b.index);
  const testCount = Math.max(ways, Math.round(all.classCount / 5));
  const sorted = (part: typeof drawn) => part.map(({ index }) => index).sort((a, b) => a - b);
  return {
    train: selectClasses(all, sorted(drawn.slice(testCount))),
    test: selectClasses(all, sorted(drawn.slice(0, testCount))),
  };
}

/** A cached class is named by its split and its own name. */
function parseName(stored: string): [SplitName | 'all', string] {
  const end = stored.indexOf('/');
  return [stored.slice(0, end) as SplitName | 'all', stored.slice(end + 1)];
}

function withoutSplitNames(images: ImageClasses): ImageClasses {
  return {
    imageShape: images.imageShape,
    classCount: images.classCount,
    className: (classIndex) => parseName(images.className(classIndex))[1],
    imageCount: (classIndex) => images.imageCount(classIndex),
    read: (classIndex, imageIndex, out, offset) => images.read(classIndex, imageIndex, out, offset),
  };
}

interface FolderDecoding {
  readonly imageShape: readonly [number, number, number];
  readonly cacheFile: string;
  readonly onProgress?: (progress: ImageProgress) => void;
}

async function decodeFolder(archive: Archive, { imageShape, cacheFile, onProgress }: FolderDecoding) {
  const images = await archive.open((contents) => {
    const splits = classFolders(contents, archive.path);
    const classes: ClassFiles[] = ([...splitNames, 'all'] as const).flatMap((split) =>
      (splits[split] ?? []).map(({ name, files }) => ({ name: `${split}/${name}`, files })),
    );
    return decodeClasses(withoutTwins(classes, archive.path), {
      imageShape,
      label: archive.path,
      remedy: 'replace or delete these files',
      onProgress,
    });
  });
  await writeImageCache(cacheFile, images);
  return images;
}

/**
 * The classes without files that are in their class twice, which would let a query show its support image.
 * @throws {DataError} when a file is in two classes: it would have two labels
 */
export function withoutTwins(classes: readonly ClassFiles[], label: string): ClassFiles[] {
  const seen = new Map<string, { readonly className: string; readonly file: ZipEntry }>();
  const shared: string[] = [];
  const kept = classes.map(({ name: className, files }) => ({
    name: className,
    files: files.filter((file) => {
      const digest = digestOf(file);
      const twin = digest && seen.get(digest);
      if (!twin) {
        if (digest) seen.set(digest, { className, file });
        return true;
      }
      if (twin.className !== className) shared.push(`"${twin.file.name}" and "${file.name}"`);
      return false;
    }),
  }));
  if (shared.length > 0) {
    const more = shared.length > 5 ? ` and ${shared.length - 5} more pairs` : '';
    throw new DataError(
      `${label}: the same image is in two classes, ${shared.slice(0, 5).join(', ')}${more}: delete one of each`,
    );
  }
  return kept;
}

/** Nothing where the file can't be read, which decoding will say. */
function digestOf(file: ZipEntry): string | undefined {
  try {
    return createHash('sha256').update(file.read()).digest('base64');
  } catch {
    return undefined;
  }
}
