/** Images sorted into classes, and classes into splits, by the folders they lie in. */
import { DataError } from '../errors.ts';
import type { ClassFiles } from './decode-images.ts';
import type { ZipContents, ZipEntry } from './zip.ts';

export const splitNames = ['train', 'val', 'test'] as const;
export type SplitName = (typeof splitNames)[number];

/** Image files by class, classes and files sorted by name: of every split there is a folder of, or `all`. */
export type ClassFolders = Readonly<Partial<Record<SplitName | 'all', readonly ClassFiles[]>>>;

const isImage = /\.(jpe?g|png|webp)$/i;
const isOtherImage = /\.(gif|bmp|tiff?|avif|hei[cf]|jp2|jxl|svg|ico|ppm|pgm|pbm|psd)$/i;
const isClutter = /(^|\/)(\.[^/]*|__MACOSX|Thumbs\.db|desktop\.ini)(\/|$)/i;

/**
 * Sorts an archive's files. A class is a folder that has images, named by its path, such as `cat` or
 * `Greek/character07`. Folders `train`, `val` and `test` that hold class folders are splits. Folders around
 * everything are left out of the names, and files that are no images are passed over.
 *
 * @param label how messages call the archive
 * @throws {DataError} when there are no images, some outside class folders or splits, a class folder is
 *   empty, an image is of a kind that is not read, or a class is in two splits.
 */
export function classFolders({ files, folders }: ZipContents, label: string): ClassFolders {
  const images: { readonly parts: readonly string[]; readonly file: ZipEntry }[] = [];
  for (const file of files) {
    if (isClutter.test(file.name)) continue;
    if (isOtherImage.test(file.name)) {
      throw new DataError(
        `${label}: "${file.name}" is of a kind that is not read, expected JPEG, PNG or WebP: convert it`,
      );
    }
    if (isImage.test(file.name)) images.push({ parts: file.name.split('/'), file });
  }
  if (images.length === 0) {
    throw new DataError(
      `${label}: no images there, expected folders of JPEG, PNG or WebP files, one for each class`,
    );
  }
  refuseEmpty(
    folders,
    files.filter(({ name }) => !isClutter.test(name)),
    label,
  );

  const common = commonFolders(images.map(({ parts }) => parts));
  const named = images.map(({ parts, file }) => ({ parts: parts.slice(common), file }));
  const hasSplits = named.some(({ parts }) => parts.length > 2 && isSplit(parts[0]!));
  const found: Partial<Record<SplitName | 'all', Map<string, ZipEntry[]>>> = {};
  for (const { parts, file } of named) {
    if (hasSplits && !isSplit(parts[0]!)) {
      throw new DataError(
        `${label}: "${file.name}" is in none of the folders train, val and test beside it: move or delete it`,
      );
    }
    const split = hasSplits ? (parts[0] as SplitName) : 'all';
    const name = parts.slice(hasSplits ? 1 : 0, -1).join('/');
    if (name === '') {
      throw new DataError(
        `${label}: "${file.name}" lies in no class folder: move it to the folder of its class`,
      );
    }
    found[split] ??= new Map();
    const classes = found[split];
    const known = classes.get(name);
    if (known) known.push(file);
    else classes.set(name, [file]);
  }
  const splits = Object.fromEntries(
    Object.entries(found).map(([split, classes]) => {
      refuseNested(classes, label);
      return [split, [...classes].map(([name, files]) => ({ name, files: files.sort(byName) })).sort(byName)];
    }),
  ) as ClassFolders;
  refuseShared(splits, label);
  return splits;
}

/** @throws {DataError} when a class is in two splits: it would be tested on what it was trained on */
export function refuseShared(splits: ClassFolders, label: string): void {
  const seen = new Map<string, string>();
  for (const split of splitNames) {
    for (const { name } of splits[split] ?? []) {
      const other = seen.get(name);
      if (other !== undefined) {
        throw new DataError(
          `${label}: class "${name}" is in ${other} and in ${split}, but few-shot tasks are tested on ` +
            'classes never trained on: move its images to one of them, or put all classes in one folder',
        );
      }
      seen.set(name, split);
    }
  }
}

function isSplit(name: string): name is SplitName {
  return splitNames.includes(name as SplitName);
}

/** How many folders all images lie in that name neither a class nor a split. */
function commonFolders(paths: readonly (readonly string[])[]): number {
  const [first] = paths as [readonly string[]];
  const shortest = Math.min(...paths.map(({ length }) => length));
  let common = 0;
  // The file's name and the folder it lies in are kept.
  while (common < shortest - 2 && !isSplit(first[common]!)) {
    if (paths.some((parts) => parts[common] !== first[common])) break;
    common += 1;
  }
  return common;
}

/** A folder with images and class folders: are its own images a class, or were they not sorted in? */
function refuseNested(classes: ReadonlyMap<string, readonly ZipEntry[]>, label: string): void {
  for (const name of classes.keys()) {
    for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const [stray] = classes.get(name.slice(0, end)) ?? [];
      if (stray === undefined) continue;
      throw new DataError(
        `${label}: "${stray.name}" lies beside class folders such as "${name}": move it to one of them`,
      );
    }
  }
}

/** Where nothing at all is in a folder, a class was forgotten. */
function refuseEmpty(folders: readonly string[], files: readonly ZipEntry[], label: string): void {
  const used = new Set<string>();
  for (const { name } of files) {
    for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const folder = name.slice(0, end);
      if (used.has(folder)) break;
      used.add(folder);
    }
  }
  for (const folder of [...folders].sort().reverse()) {
    if (used.has(folder) || isClutter.test(folder)) continue;
    throw new DataError(`${label}: class folder "${folder}" is empty: add its images or delete it`);
  }
}

export function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
