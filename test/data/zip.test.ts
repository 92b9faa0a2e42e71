import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zipSync } from 'fflate';
import { zipEntries } from '../../src/data/zip.ts';
import { DataError } from '../../src/errors.ts';

const text = new TextEncoder().encode('anole '.repeat(100));
const options = { label: 'some.zip', remedy: 'fetch it again' };

function sampleZip(): Uint8Array {
  return zipSync({
    folder: { 'deflated.txt': text, 'stored.txt': [text, { level: 0 }] },
    'ä.txt': text.slice(0, 7),
  });
}

test('stored and deflated entries are read, folders left out', () => {
  const entries = zipEntries(sampleZip(), options);
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
  assert.equal(zipEntries(commented, options).length, 3);
});

test('damage to an entry is noticed when it is read', () => {
  const zip = sampleZip();
  const stored = zip.findIndex((_, at) => text.every((value, i) => i > 40 || zip[at + i] === value));
  zip[stored + 30]! ^= 1;
  const [deflated, damaged] = zipEntries(zip, options);
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
    assert.throws(() => zipEntries(zip.subarray(0, length), options), /some.zip is not a whole zip archive/);
  }
  assert.throws(() => zipEntries(zip.subarray(50), options), DataError, 'its beginning is missing');
});

test('an entry larger than allowed is refused before it is unpacked', () => {
  const [entry] = zipEntries(sampleZip(), { ...options, maxEntryBytes: 599 });
  assert.throws(() => entry!.read(), /600 bytes, expected at most 599/);
});
