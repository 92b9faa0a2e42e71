/**
 * Reading zip archives entry by entry, from memory or from a file that is never read whole. The bytes are
 * inflated by fflate, which checks no checksums, so the table of contents is read here, with its checksums
 * and sizes. An archive may be hostile: names that lead outside it and entries that unpack to more than
 * they may are refused.
 */
import { Inflate } from 'fflate';
import { DataError } from '../errors.ts';
import { crc32 } from './crc32.ts';

export interface ZipEntry {
  /** Path inside the archive, with `/` between folders. */
  readonly name: string;
  /** Unpacks the entry. @throws {DataError} when it is damaged or larger than allowed. */
  read(): Uint8Array;
}

/** An archive's bytes, wherever they are. */
export interface ZipBytes {
  readonly size: number;
  /** The bytes from `start` to before `end`, fewer where the archive ends earlier. */
  read(start: number, end: number): Uint8Array;
}

export interface ZipOptions {
  /** How messages call the archive. */
  readonly label: string;
  /** What to do about a damaged archive, the end of messages. */
  readonly remedy: string;
  /** Largest unpacked size of an entry, in bytes, against archives made to fill the memory. @default 2^24 */
  readonly maxEntryBytes?: number;
}

/** What a zip archive holds, in the order of its table of contents. */
export interface ZipContents {
  readonly files: ZipEntry[];
  /** Folders that are listed as such, without `/` at the end. */
  readonly folders: string[];
}

/** Entries above 1 MiB that unpack to more times their size are bombs; deflate can reach 1032. */
const maxRatio = 200;

/**
 * The contents of a zip archive. Stored and deflated entries; no encryption and no zip64 (4 GiB or 65,535
 * entries).
 *
 * @throws {DataError} when the table of contents is missing, damaged or not to be trusted.
 */
export function readZip(archive: Uint8Array | ZipBytes, options: ZipOptions): ZipContents {
  const { label, remedy, maxEntryBytes = 2 ** 24 } = options;
  const source = archive instanceof Uint8Array ? inMemory(archive) : archive;
  const files: ZipEntry[] = [];
  const folders: string[] = [];
  try {
    let packed = 0;
    for (const { name, ...entry } of tableOfContents(source)) {
      checkName(name);
      if (name.endsWith('/')) {
        folders.push(name.slice(0, -1));
        continue;
      }
      packed += entry.packedSize;
      files.push({
        name,
        read: () => {
          try {
            return unpack(source, entry, maxEntryBytes);
          } catch (cause) {
            throw new DataError(`${label}: "${name}" is damaged (${messageOf(cause)}); ${remedy}`, {
              cause,
            });
          }
        },
      });
    }
    if (packed > source.size) throw new Error('its entries overlap');
  } catch (cause) {
    throw new DataError(`${label} is not a whole zip archive (${messageOf(cause)}); ${remedy}`, { cause });
  }
  return { files, folders };
}

interface Packed {
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packedSize: number;
  readonly size: number;
  readonly offset: number;
}

function* tableOfContents(source: ZipBytes): Generator<Packed & { readonly name: string }> {
  const tail = source.read(Math.max(0, source.size - 22 - 0xffff), source.size);
  const end = endRecord(viewOf(tail));
  const count = end.getUint16(10, true);
  const length = end.getUint32(12, true);
  const start = end.getUint32(16, true);
  if (count === 0xffff || length === 0xffffffff || start === 0xffffffff) {
    throw new Error('it is a zip64 archive of more than 65,534 files or 4 GiB, which must be unpacked first');
  }
  const bytes = source.read(start, start + length);
  const view = viewOf(bytes);
  for (let i = 0, at = 0; i < count; i++) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new Error(`entry ${i} is not where it should be`);
    const nameLength = view.getUint16(at + 28, true);
    yield {
      name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength)),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      packedSize: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      offset: view.getUint32(at + 42, true),
    };
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
}

/** Nothing is ever written by these names, but an archive that tries to lead outside is not to be trusted. */
function checkName(name: string): void {
  const leadsOutside = name.startsWith('/') || /^[a-z]:/i.test(name) || name.split('/').includes('..');
  if (leadsOutside) throw new Error(`the name "${name}" leads outside the archive`);
  if (name.includes('\\') || name.includes('\0')) throw new Error(`the name "${name}" is not a path with /`);
}

function unpack(source: ZipBytes, entry: Packed, maxEntryBytes: number): Uint8Array {
  const { flags, method, packedSize, size, offset } = entry;
  if (flags & 1) throw new Error('it is encrypted');
  if (method !== 0 && method !== 8) throw new Error(`unknown compression ${method}`);
  if (size > maxEntryBytes) throw new Error(`${size} bytes, expected at most ${maxEntryBytes}`);
  if (size > 2 ** 20 && size > maxRatio * packedSize) {
    throw new Error(`it claims to unpack to more than ${maxRatio} times its ${packedSize} bytes`);
  }
  if (packedSize > size + size / 100 + 64) throw new Error('it is longer than what it unpacks to');
  const local = viewOf(source.read(offset, offset + 30));
  const start = offset + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  const packed = source.read(start, start + packedSize);
  const unpacked = method === 0 ? packed : inflate(packed, size);
  if (unpacked.length !== size || crc32(unpacked) !== entry.crc) throw new Error('its checksum differs');
  return unpacked;
}

/** Inflates in small steps and stops at the first byte too many, however much there would be. */
function inflate(packed: Uint8Array, size: number): Uint8Array {
  const step = 2 ** 14;
  const unpacked = new Uint8Array(size);
  let length = 0;
  const stream = new Inflate((chunk) => {
    if (length + chunk.length > size) throw new Error(`it unpacks to more than the ${size} bytes it claims`);
    unpacked.set(chunk, length);
    length += chunk.length;
  });
  for (let at = 0; at < packed.length; at += step) {
    stream.push(packed.subarray(at, at + step), at + step >= packed.length);
  }
  return unpacked.subarray(0, length);
}

/** The end record: it is last in the file, before a comment of up to 65,535 bytes. */
function endRecord(tail: DataView): DataView {
  for (let at = tail.byteLength - 22; at >= 0; at--) {
    if (tail.getUint32(at, true) === 0x06054b50) return new DataView(tail.buffer, tail.byteOffset + at, 22);
  }
  throw new Error('its table of contents is missing');
}

function inMemory(bytes: Uint8Array): ZipBytes {
  return { size: bytes.length, read: (start, end) => bytes.subarray(start, end) };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
