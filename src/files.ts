/** Where Anole keeps files between runs, and how it writes them. Node only. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { env, platform } from 'node:process';
import envPaths from 'env-paths';
import { DataError } from './errors.ts';

/** Fetched data sets: `ANOLE_DATA` if set, else the system's folder such as `~/.local/share/anole`. */
export function dataFolder(): string {
  return env.ANOLE_DATA || envPaths('anole', { suffix: '' }).data;
}

/** Files that can be made anew: `ANOLE_CACHE` if set, else the system's such as `~/.cache/anole`. */
export function cacheFolder(): string {
  return env.ANOLE_CACHE || envPaths('anole', { suffix: '' }).cache;
}

/**
 * Writes a file whole or not at all, so that no reader ever sees half of it, not even after a power cut:
 * a temporary file beside it is written, flushed to the disk and renamed. Makes its folder.
 * @throws {DataError} when it can not be written, as on a full disk; what was there before stays whole
 */
export async function writeAtomically(
  path: string,
  bytes: Uint8Array | readonly Uint8Array[],
): Promise<void> {
  const folder = dirname(path);
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await mkdir(folder, { recursive: true });
    await writeFlushed(temporary, bytes);
    await rename(temporary, path);
    await flushFolder(folder);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {}); // the first error is the one to tell
    throw new DataError(
      `could not write ${path} (${fileFault(cause)}): make room or make it writable, or give another place`,
      { cause },
    );
  }
}

async function writeFlushed(path: string, bytes: Uint8Array | readonly Uint8Array[]): Promise<void> {
  const file = await open(path, 'wx');
  try {
    for (const part of bytes instanceof Uint8Array ? [bytes] : bytes) await file.writeFile(part); // goes on where it is
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a rename in `folder` last; Windows has no such call and needs none. */
async function flushFolder(folder: string): Promise<void> {
  if (platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Takes away temporary files that `writeAtomically(path)` left where its process was killed. */
export async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  const names = await readdir(folder).catch((): string[] => []);
  for (const name of names) {
    if (!name.startsWith(start) || !/^[0-9a-f-]{36}\.tmp$/.test(name.slice(start.length))) continue;
    await rm(join(folder, name), { force: true });
  }
}

/** Why the file system refused, in words. */
export function fileFault(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    EFBIG: 'files may not be that large here',
    ENOENT: 'there is nothing of that name',
    ENOTDIR: 'a part of the path is a file',
    EISDIR: 'it is a folder',
    EEXIST: 'it is a file',
    ENAMETOOLONG: 'the name is too long',
  };
  return (code !== undefined && known[code]) || message;
}
