/** Downloads that end whole or not at all. Node only. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DataError } from '../errors.ts';

/** How far a download is. */
export interface DownloadProgress {
  readonly url: string;
  /** Bytes so far. */
  readonly received: number;
  /** Bytes in all, where the server says so. */
  readonly total: number | undefined;
}

export interface DownloadOptions {
  readonly url: string;
  /** The file to write, in place of any there is. */
  readonly to: string;
  /** Expected MD5 of the bytes, in hexadecimal. */
  readonly md5: string;
  /** What to do without a network, the end of every message. */
  readonly otherwise: string;
  /** Largest size accepted, in bytes. @default 2^27 */
  readonly maxBytes?: number;
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Stops the download; nothing is left behind. */
  readonly signal?: AbortSignal;
}

/**
 * Downloads a file and checks it before it takes its place. A file already there with the right MD5 is
 * left as it is.
 *
 * @throws {DataError} when the server can't be reached, refuses, or sends something else.
 * @throws the signal's reason when stopped by `signal`.
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { url, to, md5, otherwise, signal } = options;
  if ((await md5Of(to)) === md5) return;
  await mkdir(dirname(to), { recursive: true });
  const temporary = `${to}.${randomUUID()}.part`;
  try {
    const received = await receive(options, temporary);
    if (received !== md5) throw new Error(`expected a file of MD5 ${md5}, got ${received}`);
    await rename(temporary, to);
  } catch (cause) {
    signal?.throwIfAborted();
    throw new DataError(`could not download ${url}: ${reasonOf(cause)}; ${otherwise}`, { cause });
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Writes what the address sends into `path` and returns its MD5. */
async function receive(options: DownloadOptions, path: string): Promise<string> {
  const { url, signal, onProgress, maxBytes = 2 ** 27 } = options;
  const response = await fetch(url, { signal });
  if (!response.ok || !response.body) throw new Error(`the server answers ${response.status}`);
  const total = Number(response.headers.get('content-length')) || undefined;
  const hash = createHash('md5');
  const file = await open(path, 'wx');
  try {
    let received = 0;
    for await (const chunk of response.body) {
      received += chunk.length;
      if (received > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
      hash.update(chunk);
      await file.writeFile(chunk);
      onProgress?.({ url, received, total });
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

async function md5Of(path: string): Promise<string | undefined> {
  const hash = createHash('md5');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return hash.digest('hex');
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
