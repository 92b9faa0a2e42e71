/** A reader of event files for tests, from the formats' descriptions and not from what writes them. */
import assert from 'node:assert/strict';

export interface ReadEvent {
  time?: number;
  step?: number;
  version?: string;
  session?: number;
  values?: Record<string, number>;
}

/** All records of a file, with their checksums checked. */
export function readBoard(file: Buffer): ReadEvent[] {
  const events: ReadEvent[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    assert.equal(unmask(file.readUInt32LE(at + 8)), crcByDivision(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    assert.equal(data.length, length, 'the last record is cut short');
    assert.equal(unmask(file.readUInt32LE(at + 12 + length)), crcByDivision(data));
    events.push(readEvent(data));
    at += length + 16;
  }
  return events;
}

function unmask(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

/** CRC-32C bit by bit. */
function crcByDivision(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function readEvent(data: Buffer): ReadEvent {
  const event: ReadEvent = {};
  for (const { field, bytes, number } of fieldsOf(data)) {
    if (field === 1) event.time = bytes.readDoubleLE();
    else if (field === 2) event.step = number;
    else if (field === 3) event.version = bytes.toString();
    else if (field === 7) event.session = fieldsOf(bytes)[0]!.number;
    else if (field === 5) {
      event.values = Object.fromEntries(
        fieldsOf(bytes).map((value) => {
          const [tag, simple] = fieldsOf(value.bytes);
          return [tag!.bytes.toString(), simple!.bytes.readFloatLE()];
        }),
      );
    } else assert.fail(`field ${field} of an event`);
  }
  return event;
}

/** The fields of a protobuf message: numbers, or bytes of fixed or given length. */
function fieldsOf(data: Buffer) {
  const fields: { field: number; bytes: Buffer; number: number }[] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = data[at++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < data.length) {
    const tag = varint();
    const type = tag & 7;
    const number = type === 0 ? varint() : 0;
    const length = type === 1 ? 8 : type === 5 ? 4 : type === 2 ? varint() : 0;
    fields.push({ field: tag >>> 3, bytes: data.subarray(at, at + length), number });
    at += length;
  }
  return fields;
}
