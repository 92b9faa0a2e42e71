/** A data set's files, in a zip or already unpacked, read the same way. Node only. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type ZipEntry, zipEntries } from './zip.ts';

export interface Archive {
  readonly path: string;
  /** Changes whenever the content may have changed: the sizes and times of all files. */
  readonly stamp: string;
  /** Every file; names start with the archive's own name, such as `images_background/Greek/…`. */
  entries(): ZipEntry[];
}

/**
 * The archive `name` in `folder`: `name.zip`, else an unpacked folder `name`; undefined without either.
 * @param remedy ends the messages about a damaged zip
 */
export function findArchive(folder: string, name: string, remedy: string): Archive | undefined {
  const zip = join(folder, `${name}.zip`);
  if (statSync(zip, { throwIfNoEntry: false })?.isFile()) return zipArchive(zip, remedy);
  const unpacked = join(folder, name);
  if (statSync(unpacked, { throwIfNoEntry: false })?.isDirectory()) return folderArchive(unpacked);
  return undefined;
}

function zipArchive(path: string, remedy: string): Archive {
  const { size, mtimeMs } = statSync(path);
  return {
    path,
    stamp: `${size} ${mtimeMs}`,
    entries: () => zipEntries(readFileSync(path), { label: path, remedy }),
  };
}

function folderArchive(path: string): Archive {
  const files = [...filesBelow(path, basename(path))];
  return {
    path,
    stamp: files.map(({ name, size, mtimeMs }) => `${name} ${size} ${mtimeMs}`).join('\n'),
    entries: () => files.map((file) => ({ name: file.name, read: () => readFileSync(file.path) })),
  };
}

interface FoundFile {
  readonly path: string;
  readonly name: string;
  readonly size: number;
  readonly mtimeMs: number;
}

function* filesBelow(folder: string, name: string): Generator<FoundFile> {
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, item.name);
    const itemName = `${name}/${item.name}`;
    if (item.isDirectory()) {
      yield* filesBelow(path, itemName);
    } else {
      const { size, mtimeMs } = statSync(path);
      yield { path, name: itemName, size, mtimeMs };
    }
  }
}
