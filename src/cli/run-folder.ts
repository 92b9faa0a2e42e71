/** The folder of a run: its weights, metrics and pictures, each written whole or not at all. */
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { lockFile, lockOf, type Release } from '../data/lock.ts';
import { OptionError } from '../errors.ts';
import { fileFault, writeAtomically } from '../files.ts';

export const weightsFile = 'weights.safetensors';
export const metricsFile = 'metrics.jsonl';

/** A run's folder, which no other process can write a run to until `unlock` or the end of this one. */
export class RunFolder {
  readonly path: string;
  /** The outermost folder that was made for it, if any was. */
  readonly #made: string | undefined;
  readonly #written = new Set<string>();

  /** Whether it was empty before this run, so that nothing in it is worth keeping when the run fails. */
  readonly isNew: boolean;

  #release: Release | undefined;

  private constructor(path: string, isNew: boolean, made?: string) {
    this.path = path;
    this.isNew = isNew;
    this.#made = made;
  }

  /**
   * Makes the folder and sees that it can be written to.
   * @throws {OptionError} when it can not be made, or is not empty
   * @throws {DataError} when it can not be written to, or another process writes there
   */
  static async create(path: string): Promise<RunFolder> {
    const made = await mkdir(path, { recursive: true }).catch((cause) => {
      const fault = `can not write to ${path} (${fileFault(cause)})`;
      throw new OptionError(`out: ${fault}: give a folder that can be made`, { cause });
    });
    const folder = new RunFolder(path, true, made);
    try {
      await folder.#lock();
      const others = (await readdir(path)).filter((name) => name !== lockOf(weightsFile));
      if (others.length === 0) return folder;
      throw new OptionError(
        `out: ${path} already has files in it: give another folder, or go on with a run by --resume ${path}`,
      );
    } catch (error) {
      await folder.discard();
      throw error;
    }
  }

  /**
   * The folder of a run to go on with.
   * @throws {DataError} when it can not be written to, or another process writes there
   */
  static async of(path: string): Promise<RunFolder> {
    const folder = new RunFolder(path, false);
    await folder.#lock();
    return folder;
  }

  async #lock(): Promise<void> {
    this.#release = await lockFile(this.file(weightsFile));
  }

  /** Lets other processes write to it. */
  unlock(): void {
    this.#release?.();
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

  /** The path of a file that somebody else writes. */
  claim(name: string): string {
    this.#written.add(name);
    return this.file(name);
  }

  /** @throws {DataError} when the file can not be written, as on a full disk */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    await writeAtomically(this.file(name), bytes);
    this.#written.add(name);
  }

  /** Unlocks it, takes away what was written and every folder made for it that is empty then; not of an older run. */
  async discard(): Promise<void> {
    this.unlock();
    if (!this.isNew) return;
    for (const name of this.#written) await rm(this.file(name), { force: true });
    if (this.#made === undefined) return;
    const outermost = resolve(this.#made);
    for (let folder = resolve(this.path); folder.length >= outermost.length; folder = dirname(folder)) {
      await rmdir(folder).catch(() => {});
    }
  }
}
