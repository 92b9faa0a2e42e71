/** Event files: known checksums, and records read back by a reader of its own. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32, crc32c } from '../../src/data/crc32.ts';
import { boardRecord } from '../../src/data/tensorboard.ts';
import { readBoard } from './board-reader.ts';

describe('CRC-32C', () => {
  const cases: readonly (readonly [name: string, bytes: Uint8Array, crc: number])[] = [
    ['the check value of its catalogue', new TextEncoder().encode('123456789'), 0xe3069283],
    ['32 zeros (RFC 3720)', new Uint8Array(32), 0x8a9136aa],
    ['32 ones (RFC 3720)', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0 … 31 (RFC 3720)', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['31 … 0 (RFC 3720)', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
    ['nothing', new Uint8Array(), 0],
  ];
  for (const [name, bytes, crc] of cases) it(`of ${name}`, () => assert.equal(crc32c(bytes), crc));

  it('is another than that of zip', () => {
    assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
  });
});

describe('an event file', () => {
  const time = 1_700_000_000.5;

  it('holds version, start and scalars', () => {
    const values = { 'training/loss': 0.25, 'training/accuracy': 1, infinite: Number.POSITIVE_INFINITY };
    const file = Buffer.concat([
      boardRecord({ kind: 'version', time }),
      boardRecord({ kind: 'start', time, step: 7 }),
      boardRecord({ kind: 'scalars', time, step: 100_000, values }),
    ]);
    assert.deepEqual(readBoard(file), [
      { time, version: 'brain.Event:2' },
      { time, step: 7, session: 1 },
      { time, step: 100_000, values },
    ]);
  });

  it('begins with the bytes TensorFlow writes', () => {
    // tf.summary.create_file_writer begins a file with this record but for the time, bytes 13 to 20.
    const record = boardRecord({ kind: 'version', time: 0 });
    const data = Buffer.concat([Buffer.from([0x09]), Buffer.alloc(8), Buffer.from('\x1a\x0dbrain.Event:2')]);
    assert.equal(record.length, 8 + 4 + data.length + 4);
    assert.deepEqual(Buffer.from(record.subarray(12, -4)), data);
    assert.equal(Buffer.from(record.subarray(0, 8)).readBigUInt64LE(), BigInt(data.length));
  });
});
