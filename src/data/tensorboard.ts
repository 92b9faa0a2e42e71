/**
 * Event files of TensorBoard: records of TensorFlow that hold Event messages (event.proto, summary.proto).
 * A record is
 *
 *     8 bytes   length of the data, little-endian
 *     4 bytes   masked CRC-32C of these
 *     …         the data
 *     4 bytes   masked CRC-32C of it
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { crc32c } from './crc32.ts';

/** What one record says; times are seconds since 1970. */
export type BoardEvent =
  | { readonly kind: 'version'; readonly time: number }
  /** A run begins at `step`: TensorBoard drops what it had seen of steps from there on. */
  | { readonly kind: 'start'; readonly time: number; readonly step: number }
  | {
      readonly kind: 'scalars';
      readonly time: number;
      readonly step: number;
      /** By tag, such as `training/loss`: what stands before the slash groups the charts. */
      readonly values: Readonly<Record<string, number>>;
    };

/** The bytes of a record; a file begins with that of a `version`. */
export function boardRecord(event: BoardEvent): Uint8Array {
  const data = encodeEvent(event);
  const record = new Uint8Array(data.length + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return record;
}

/** Masked because a record may itself hold checksums (TensorFlow's crc32c.h). */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** Field numbers of event.proto and summary.proto. */
const fields = {
  event: { time: 1, step: 2, version: 3, summary: 5, session: 7 },
  session: { status: 1 },
  summary: { value: 1 },
  value: { tag: 1, number: 2 },
} as const;
const sessionStart = 1;

function encodeEvent(event: BoardEvent): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(fields.event.time, WireType.Bit64).double(event.time);
  if (event.kind === 'version') {
    return writer.tag(fields.event.version, WireType.LengthDelimited).string('brain.Event:2').finish();
  }
  writer.tag(fields.event.step, WireType.Varint).int64(event.step);
  if (event.kind === 'start') {
    writer.tag(fields.event.session, WireType.LengthDelimited).fork();
    writer.tag(fields.session.status, WireType.Varint).int32(sessionStart);
    return writer.join().finish();
  }
  writer.tag(fields.event.summary, WireType.LengthDelimited).fork();
  for (const [tag, number] of Object.entries(event.values)) {
    writer.tag(fields.summary.value, WireType.LengthDelimited).fork();
    writer.tag(fields.value.tag, WireType.LengthDelimited).string(tag);
    writer.tag(fields.value.number, WireType.Bit32).float(number).join();
  }
  return writer.join().finish();
}
