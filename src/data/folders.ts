/** Where Anole keeps files between runs. Node only. */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { env } from 'node:process';
import envPaths from 'env-paths';

/** Fetched data sets: `ANOLE_DATA` if set, else the system's folder such as `~/.local/share/anole`. */
export function dataFolder(): string {
  return env.ANOLE_DATA || envPaths('anole', { suffix: '' }).data;
}

/** Files that can be made anew: `ANOLE_CACHE` if set, else the system's such as `~/.cache/anole`. */
export function cacheFolder(): string {
  return env.ANOLE_CACHE || envPaths('anole', { suffix: '' }).cache;
}

/** Writes a file whole or not at all, so that no reader ever sees half of it; makes its folder. */
export async function writeAtomically(path: string, bytes: Uint8Array | Uint8Array[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, bytes);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
