/** A data set's files, in a zip or already unpacked, read the same way, one at a time. Node only. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../errors.ts';
import { readZip, type ZipBytes, type ZipContents } from './zip.ts';

export interface Archive {
  readonly path: string;
  /** Changes whenever the content may have changed: the sizes and times of all files. */
  readonly stamp: string;
  /**
   * Lists what there is (hidden files of a folder left out), reads files while `use` runs, and closes the archive.
   * @throws {DataError} when a zip's table of contents is damaged
   */
  open<T>(use: (contents: ZipContents) => T | Promise<T>): Promise<T>;
}

export interface ArchiveOptions {
  /** What to do about a damaged archive, the end of messages. */
  readonly remedy: string;
  /** Largest file accepted, in bytes. @default 2^24 */
  readonly maxFileBytes?: number;
}

/**
 * The archive `name` in `folder`: `name.zip`, else an unpacked folder `name`; undefined without either.
 * Names of its files start with `name` either way, such as `images_background/Greek/…`.
 */
export function findArchive(folder: string, name: string, options: ArchiveOptions): Archive | undefined {
  const zip = join(folder, `${name}.zip`);
  if (isFile(zip)) return zipArchive(zip, options);
  const unpacked = join(folder, name);
  return isFolder(unpacked) ? folderArchive(unpacked, options, name) : undefined;
}

/**
 * The zip file or folder at `path`. Names of a folder's files start inside it.
 * @throws {DataError} when there is neither
 */
export function archiveAt(path: string, options: ArchiveOptions): Archive {
  if (isFolder(path)) return folderArchive(path, options);
  if (isFile(path)) return zipArchive(path, options);
  throw new DataError(`${path}: expected a folder or a zip file, but there is nothing; ${options.remedy}`);
}

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

export function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function zipArchive(path: string, { remedy, maxFileBytes: maxEntryBytes }: ArchiveOptions): Archive {
  const { size, mtimeMs } = statSync(path);
  return {
    path,
    stamp: `${size} ${mtimeMs}`,
    async open(use) {
      const file = openSync(path, 'r');
      try {
        return await use(readZip(bytesOf(file, size), { label: path, remedy, maxEntryBytes }));
      } finally {
        closeSync(file);
      }
    },
  };
}

function bytesOf(file: number, size: number): ZipBytes {
  return {
    size,
    read(start, end) {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start));
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(file, bytes, filled, bytes.length - filled, start + filled);
        if (count === 0) break; // the file has become shorter
        filled += count;
      }
      return bytes.subarray(0, filled);
    },
  };
}

function folderArchive(path: string, options: ArchiveOptions, prefix?: string): Archive {
  const { remedy, maxFileBytes = 2 ** 24 } = options;
  const files: FoundFile[] = [];
  const folders: string[] = [];
  list(path, prefix, 0);
  return {
    path,
    stamp: files.map(({ name, size, mtimeMs }) => `${name} ${size} ${mtimeMs}`).join('\n'),
    open: async (use) =>
      use({
        files: files.map((file) => ({ name: file.name, read: () => readWhole(file) })),
        folders: [...folders],
      }),
  };

  function list(folder: string, name: string | undefined, depth: number): void {
    if (depth > maxDepth) {
      throw new DataError(
        `${folder}: folders lie more than ${maxDepth} deep, or a link leads back into them`,
      );
    }
    for (const item of readdirSync(folder).sort()) {
      if (item.startsWith('.')) continue;
      const itemPath = join(folder, item);
      const itemName = name === undefined ? item : `${name}/${item}`;
      const found = statSync(itemPath, { throwIfNoEntry: false }); // follows links
      if (found === undefined) throw new DataError(`${itemPath}: a link to nothing; ${remedy}`);
      if (found.isDirectory()) {
        folders.push(itemName);
        list(itemPath, itemName, depth + 1);
      } else {
        files.push({ path: itemPath, name: itemName, size: found.size, mtimeMs: found.mtimeMs });
      }
    }
  }

  function readWhole(file: FoundFile): Uint8Array {
    if (file.size > maxFileBytes) {
      throw new DataError(`${file.path} has ${file.size} bytes, expected at most ${maxFileBytes}; ${remedy}`);
    }
    try {
      return readFileSync(file.path);
    } catch (cause) {
      throw new DataError(`${file.path} can not be read (${(cause as Error).message}); ${remedy}`, { cause });
    }
  }
}

/** Deeper folders are most likely links that lead back to where they stand. */
const maxDepth = 16;

interface FoundFile {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  readonly mtimeMs: number;
}
