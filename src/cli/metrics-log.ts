/** `metrics.jsonl`: a line an event, appended as it happens, and cut back to where a checkpoint stands. */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { DataError } from '../errors.ts';
import { fileFault } from '../files.ts';

export class MetricsLog {
  readonly #path: string;
  readonly #file: number;
  #size: number;

  /**
   * Opens the file, or makes it.
   * @param size bytes of it to keep
   * @throws {DataError} when it can not be opened
   */
  constructor(path: string, size = 0) {
    this.#path = path;
    try {
      this.#file = openSync(path, size > 0 ? 'a+' : 'w');
      this.#size = wholeLines(this.#file, size);
      if (fstatSync(this.#file).size > this.#size) ftruncateSync(this.#file, this.#size);
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  /** Bytes of all lines. */
  get size(): number {
    return this.#size;
  }

  /** @throws {DataError} when it can not be written, as on a full disk; half a line does not stay */
  append(event: object): void {
    const line = Buffer.from(`${JSON.stringify(event)}\n`);
    try {
      for (let written = 0; written < line.length; ) written += writeSync(this.#file, line, written);
      this.#size += line.length;
    } catch (cause) {
      try {
        ftruncateSync(this.#file, this.#size);
      } catch {
        // The first error is the one to tell.
      }
      throw this.#failure(cause);
    }
  }

  /** Waits until all of it is on the disk. */
  flush(): void {
    try {
      fsyncSync(this.#file);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EINVAL') throw this.#failure(cause); // EINVAL: not a disk
    }
  }

  close(): void {
    closeSync(this.#file);
  }

  #failure(cause: unknown): DataError {
    return new DataError(
      `could not write ${this.#path} (${fileFault(cause)}): make room or make it writable, and go on`,
      { cause },
    );
  }
}

/** The length of the lines that are whole within the first `size` bytes; less when somebody cut the file. */
function wholeLines(file: number, size: number): number {
  const bytes = Buffer.alloc(Math.min(size, fstatSync(file).size));
  readSync(file, bytes, 0, bytes.length, 0);
  return bytes.lastIndexOf(0x0a) + 1;
}
