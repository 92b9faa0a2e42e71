/** `--tensorboard`: the numbers of the metrics in an event file beside them, a file for every process. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type BoardEvent, boardRecord } from '../data/tensorboard.ts';
import { DataError } from '../errors.ts';
import { fileFault } from '../files.ts';
import type { RunFolder } from './run-folder.ts';

export class BoardLog {
  readonly #path: string;
  readonly #file: number;

  /**
   * Makes the file. TensorBoard reads the files of a folder in the order of their names.
   * @param step meta-iterations done: what an earlier file says of later ones is to be forgotten
   * @throws {DataError} when it can not be written
   */
  constructor(folder: RunFolder, step: number) {
    const time = Date.now() / 1000;
    [this.#path, this.#file] = openNew(folder, Math.floor(time));
    this.#write({ kind: 'version', time });
    this.#write({ kind: 'start', time, step });
  }

  /** @throws {DataError} when it can not be written, as on a full disk */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.#write({ kind: 'scalars', time: Date.now() / 1000, step, values });
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(event: BoardEvent): void {
    try {
      writeSync(this.#file, boardRecord(event)); // a record that is cut short is where TensorBoard waits
    } catch (cause) {
      throw new DataError(
        `could not write ${this.#path} (${fileFault(cause)}): make room, or go on without --tensorboard`,
        { cause },
      );
    }
  }
}

function openNew(folder: RunFolder, time: number): [path: string, file: number] {
  for (let second = time; ; second++) {
    const name = `events.out.tfevents.${second}.anole`;
    try {
      const file = openSync(folder.file(name), 'wx');
      return [folder.claim(name), file];
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EEXIST') continue; // of a process just before
      throw new DataError(
        `could not write ${folder.file(name)} (${fileFault(cause)}): make room, or go on without --tensorboard`,
        { cause },
      );
    }
  }
}
