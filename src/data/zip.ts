/**
 * Reading zip archives entry by entry. The bytes are inflated by fflate, which checks no checksums, so
 * the table of contents is read here, with its checksums and sizes.
 */
import { inflateSync } from 'fflate';
import { DataError } from '../errors.ts';
import { crc32 } from './crc32.ts';

export interface ZipEntry {
  /** Path inside the archive, with `/` between folders. */
  readonly name: string;
  /** Unpacks the entry. @throws {DataError} when it is damaged or larger than allowed. */
  read(): Uint8Array;
}

export interface ZipOptions {
  /** How messages call the archive. */
  readonly label: string;
  /** What to do about a damaged archive, the end of messages. */
  readonly remedy: string;
  /** Largest unpacked size of an entry, in bytes, against archives made to fill the memory. @default 2^24 */
  readonly maxEntryBytes?: number;
}

/**
 * The files of a zip archive held in memory, in the order of its table of contents, folders left out.
 * Stored and deflated entries; no encryption and no zip64 (4 GiB or 65,535 entries).
 *
 * @throws {DataError} when the table of contents is missing or damaged.
 */
export function zipEntries(
  bytes: Uint8Array,
  { label, remedy, maxEntryBytes = 2 ** 24 }: ZipOptions,
): ZipEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: ZipEntry[] = [];
  try {
    const end = endRecord(view);
    const count = view.getUint16(end + 10, true);
    let at = view.getUint32(end + 16, true);
    for (let i = 0; i < count; i++) {
      if (view.getUint32(at, true) !== 0x02014b50) throw new Error(`entry ${i} is not where it should be`);
      const nameLength = view.getUint16(at + 28, true);
      const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
      const entry = {
        method: view.getUint16(at + 10, true),
        crc: view.getUint32(at + 16, true),
        packedSize: view.getUint32(at + 20, true),
        size: view.getUint32(at + 24, true),
        offset: view.getUint32(at + 42, true),
      };
      at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
      if (name.endsWith('/')) continue;
      entries.push({
        name,
        read: () => {
          try {
            return unpack(bytes, view, entry, maxEntryBytes);
          } catch (cause) {
            throw new DataError(`${label}: "${name}" is damaged (${messageOf(cause)}); ${remedy}`, {
              cause,
            });
          }
        },
      });
    }
  } catch (cause) {
    throw new DataError(`${label} is not a whole zip archive (${messageOf(cause)}); ${remedy}`, { cause });
  }
  return entries;
}

interface Packed {
  readonly method: number;
  readonly crc: number;
  readonly packedSize: number;
  readonly size: number;
  readonly offset: number;
}

function unpack(bytes: Uint8Array, view: DataView, entry: Packed, maxEntryBytes: number): Uint8Array {
  if (entry.size > maxEntryBytes) throw new Error(`${entry.size} bytes, expected at most ${maxEntryBytes}`);
  const { offset } = entry;
  const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  const packed = bytes.subarray(start, start + entry.packedSize);
  if (entry.method !== 0 && entry.method !== 8) throw new Error(`unknown compression ${entry.method}`);
  const unpacked = entry.method === 0 ? packed : inflateSync(packed, { out: new Uint8Array(entry.size) });
  if (unpacked.length !== entry.size || crc32(unpacked) !== entry.crc)
    throw new Error('its checksum differs');
  return unpacked;
}

/** Where the end record starts: it is last in the file, before a comment of up to 65,535 bytes. */
function endRecord(view: DataView): number {
  const lowest = Math.max(0, view.byteLength - 22 - 0xffff);
  for (let at = view.byteLength - 22; at >= lowest; at--) {
    if (view.getUint32(at, true) === 0x06054b50) return at;
  }
  throw new Error('its table of contents is missing');
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
