/** The folder of a run: its weights, metrics and pictures, each written whole or not at all. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeAtomically } from '../data/folders.ts';
import { DataError, OptionError } from '../errors.ts';

export const weightsFile = 'weights.safetensors';

export class RunFolder {
  readonly path: string;
  /** The outermost folder that was made for it, if any was. */
  readonly #made: string | undefined;
  readonly #written = new Set<string>();

  private constructor(path: string, made: string | undefined) {
    this.path = path;
    this.#made = made;
  }

  /**
   * Makes the folder and sees that it can be written to.
   * @throws {OptionError} when it can not, or is not empty
   */
  static async create(path: string): Promise<RunFolder> {
    const existing = await readdir(path).catch(() => []);
    if (existing.length > 0) {
      throw new OptionError(`out: ${path} already has files in it: give another folder`);
    }
    let made: string | undefined;
    try {
      made = await mkdir(path, { recursive: true });
      const probe = join(path, `.${randomUUID()}`);
      await writeFile(probe, '');
      await rm(probe);
    } catch (cause) {
      const folder = new RunFolder(path, made);
      await folder.discard();
      throw new OptionError(
        `out: can not write to ${path} (${reasonOf(cause)}): give a folder that can be made`,
        { cause },
      );
    }
    return new RunFolder(path, made);
  }

  /** `runs/<task>-<time>`, with a number behind it when that is taken. */
  static async createNamed(task: string): Promise<RunFolder> {
    const now = new Date();
    const two = (value: number) => String(value).padStart(2, '0');
    const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
    const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
    const base = join('runs', `${task}-${day}-${time}`);
    for (let i = 2, path = base; ; i++) {
      const taken = await readdir(path).then(
        () => true,
        () => false,
      );
      if (!taken) return RunFolder.create(path);
      path = `${base}-${i}`;
    }
  }

  /** Names of the files written. */
  get files(): string[] {
    return [...this.#written];
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** @throws {DataError} when the file can not be written, as on a full disk */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const path = this.file(name);
    try {
      await writeAtomically(path, typeof content === 'string' ? new TextEncoder().encode(content) : content);
    } catch (cause) {
      throw new DataError(`could not write ${path} (${reasonOf(cause)}): make room or give another --out`, {
        cause,
      });
    }
    this.#written.add(name);
  }

  /** Takes away what was written and every folder made for it that is empty then. */
  async discard(): Promise<void> {
    for (const name of this.#written) await rm(this.file(name), { force: true });
    if (this.#made === undefined) return;
    const outermost = resolve(this.#made);
    for (let folder = resolve(this.path); folder.length >= outermost.length; folder = dirname(folder)) {
      await rmdir(folder).catch(() => {});
    }
  }
}

function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    ENOTDIR: 'a part of the path is a file',
    EEXIST: 'it is a file',
    ENAMETOOLONG: 'the name is too long',
  };
  return (code !== undefined && known[code]) || message;
}
