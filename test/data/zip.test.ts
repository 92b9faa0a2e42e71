import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zipSync } from 'fflate';
import { Random } from '../../src/data/random.ts';
import { readZip } from '../../src/data/zip.ts';
import { DataError } from '../../src/errors.ts';

const text = new TextEncoder().encode('anole '.repeat(100));
const options = { label: 'some.zip', remedy: 'fetch it again' };

const filesOf = (...zip: Parameters<typeof readZip>) => readZip(...zip).files;

function sampleZip(): Uint8Array {
  return zipSync({
    folder: { 'deflated.txt': text, 'stored.txt': [text, { level: 0 }] },
    'ä.txt': text.slice(0, 7),
  });
}

test('stored and deflated entries are read, folders left out', () => {
  const entries = filesOf(sampleZip(), options);
  assert.deepEqual(
    entries.map(({ name }) => name),
    ['folder/deflated.txt', 'folder/stored.txt', 'ä.txt'],
  );
  for (const entry of entries.slice(0, 2)) assert.deepEqual(entry.read(), text);
});

test('a comment at the end does no harm', () => {
  const zip = sampleZip();
  const commented = new Uint8Array(zip.length + 300);
  commented.set(zip);
  assert.equal(filesOf(commented, options).length, 3);
});

test('damage to an entry is noticed when it is read', () => {
  const zip = sampleZip();
  const stored = zip.findIndex((_, at) => text.every((value, i) => i > 40 || zip[at + i] === value));
  zip[stored + 30]! ^= 1;
  const [deflated, damaged] = filesOf(zip, options);
  assert.deepEqual(deflated!.read(), text);
  assert.throws(
    () => damaged!.read(),
    (error: Error) =>
      error instanceof DataError &&
      error.message === 'some.zip: "folder/stored.txt" is damaged (its checksum differs); fetch it again',
  );
});

test('an archive cut short or of another kind is named', () => {
  const zip = sampleZip();
  for (const length of [0, 10, 100, zip.length - 1]) {
    assert.throws(() => filesOf(zip.subarray(0, length), options), /some.zip is not a whole zip archive/);
  }
  assert.throws(() => filesOf(zip.subarray(50), options), DataError, 'its beginning is missing');
});

test('an entry larger than allowed is refused before it is unpacked', () => {
  const [entry] = filesOf(sampleZip(), { ...options, maxEntryBytes: 599 });
  assert.throws(() => entry!.read(), /600 bytes, expected at most 599/);
});

/** The archive with the fields of an entry changed where the table of contents has them. */
function forged(zip: Uint8Array, entry: number, change: (record: DataView) => void): Uint8Array {
  const bytes = zip.slice();
  const view = new DataView(bytes.buffer);
  let at = view.getUint32(bytes.length - 22 + 16, true);
  for (let i = 0; i < entry; i++) {
    at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  change(new DataView(bytes.buffer, at, 46));
  return bytes;
}

test('names that lead outside the archive are refused', () => {
  for (const name of ['../up.txt', 'a/../../up.txt', '/etc/passwd', 'C:/up.txt', 'a\\..\\up.txt']) {
    assert.throws(
      () => filesOf(zipSync({ 'good.txt': text, [name]: text }), options),
      (error: Error) =>
        error instanceof DataError &&
        error.message.includes(`the name "${name}"`) &&
        /leads outside the archive|is not a path with \//.test(error.message),
      name,
    );
  }
  assert.equal(filesOf(zipSync({ 'a..b/..c': text }), options).length, 1);
});

test('a bomb is stopped at the size it claims, however much it unpacks to', () => {
  const zip = zipSync({ 'bomb.png': new Uint8Array(2 ** 25) }); // 32 MiB of zeros
  const read = (bytes: Uint8Array, maxEntryBytes?: number) =>
    filesOf(bytes, { ...options, maxEntryBytes })[0]!.read();
  assert.throws(() => read(zip), /33554432 bytes, expected at most 16777216/);
  assert.throws(() => read(zip, 2 ** 26), /claims to unpack to more than 200 times its \d+ bytes/);
  const modest = forged(zip, 0, (record) => record.setUint32(24, 100_000, true));
  assert.throws(() => read(modest), /it unpacks to more than the 100000 bytes it claims/);
  const tiny = forged(zip, 0, (record) => record.setUint32(24, 10, true));
  assert.throws(() => read(tiny), /it is longer than what it unpacks to/);
  const large = forged(zipSync({ 'a.txt': text }), 0, (record) => record.setUint32(24, 700, true));
  assert.throws(() => read(large), /its checksum differs/);
});

test('entries that overlap are refused', () => {
  const stored = zipSync({ 'a.txt': [text, { level: 0 }], 'b.txt': [text, { level: 0 }] });
  const overlapping = forged(stored, 1, (record) => record.setUint32(20, stored.length, true));
  assert.throws(() => filesOf(overlapping, options), /its entries overlap/);
});

test('what is not supported is said', () => {
  const encrypted = forged(zipSync({ 'a.txt': text }), 0, (record) => record.setUint16(8, 1, true));
  assert.throws(() => filesOf(encrypted, options)[0]!.read(), /it is encrypted/);
  const zip = sampleZip();
  new DataView(zip.buffer).setUint16(zip.length - 22 + 10, 0xffff, true);
  assert.throws(() => filesOf(zip, options), /zip64 archive .* must be unpacked first/);
});

test('folders are listed apart', () => {
  const zip = zipSync({ 'cat/': new Uint8Array(0), 'dog/1.txt': text });
  assert.deepEqual(readZip(zip, options).folders, ['cat']);
});

test('any damage to the table of contents is noticed, or does no harm', () => {
  const zip = sampleZip();
  const random = Random.stream(0, 'damaged zips');
  for (let i = 0; i < 3000; i++) {
    const damaged = zip.slice();
    for (let k = 0; k < 3; k++) damaged[damaged.length - 1 - random.integer(260)] = random.integer(256);
    try {
      for (const entry of filesOf(damaged, options)) entry.read();
    } catch (error) {
      assert.ok(error instanceof DataError, String(error));
    }
  }
});
