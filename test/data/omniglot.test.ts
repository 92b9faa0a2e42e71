import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encode } from 'fast-png';
import { zipSync } from 'fflate';
import {
  fetchOmniglot,
  loadOmniglot,
  type OmniglotArchive,
  omniglotInfo,
  omniglotSplit,
} from '../../src/data/omniglot.ts';
import type { ImageClasses } from '../../src/data/task.ts';
import { DataError } from '../../src/errors.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url)); // of the repository, from dist/test/data
const official = join(root, '../shared/data/omniglot');
const reference = JSON.parse(readFileSync(join(root, 'test/reference/omniglot_resize.json'), 'utf8')) as {
  patterns: string[];
  omniglot: { images: number; sha256: string };
};

const folder = mkdtempSync(join(tmpdir(), 'anole-omniglot-'));
after(() => rmSync(folder, { recursive: true }));

/** The made-up image `k` of omniglot_resize.py, as 1-bit PNG. */
function pattern(k: number): Uint8Array {
  const data = new Uint8Array(105 * 14);
  for (let y = 0; y < 105; y++) {
    for (let x = 0; x < 105; x++) {
      const bit = ((x * x * (k + 3) + 7 * x * y + 5 * y * y + 11 * y + k) >> 3) & 1;
      data[y * 14 + (x >> 3)]! |= bit << (7 - (x & 7));
    }
  }
  return encode({ width: 105, height: 105, depth: 1, channels: 1, data });
}
const patterns = [pattern(0), pattern(1), pattern(2)];

type Files = Record<string, Uint8Array>;

/** A small Omniglot: characters of 20 drawings, the i-th character's all being pattern i modulo 3. */
function drawingsOf(part: string, characters: readonly string[]): Files {
  const files: Files = { [`${part}/.DS_Store`]: new Uint8Array(3) };
  for (const [i, character] of characters.entries()) {
    for (let drawing = 20; drawing >= 1; drawing--) {
      files[`${part}/${character}/0${100 + i}_${String(drawing).padStart(2, '0')}.png`] = patterns[i % 3]!;
    }
  }
  return files;
}
const background = drawingsOf('images_background', [
  'Latin/character02',
  'Greek/character01',
  'Latin/character01',
]);
const evaluation = drawingsOf('images_evaluation', ['Angelic/character01', 'Angelic/character02']);

/** The two parts of a small Omniglot as zips in a new folder, `change` laid over the first part. */
function smallOmniglot(change: Record<string, Uint8Array | undefined> = {}) {
  const data = mkdtempSync(join(folder, 'data-'));
  const first = { ...background, ...change };
  const kept = Object.entries(first).filter((entry): entry is [string, Uint8Array] => entry[1] !== undefined);
  const zips = [zipSync(Object.fromEntries(kept), { level: 0 }), zipSync(evaluation)];
  const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
  const archives: OmniglotArchive[] = [
    { name: 'images_background', classes: 3, md5: md5(zips[0]!) },
    { name: 'images_evaluation', classes: 2, md5: md5(zips[1]!) },
  ];
  for (const [i, { name }] of archives.entries()) writeFileSync(join(data, `${name}.zip`), zips[i]!);
  return { data, cache: join(data, 'cache'), archives };
}

function namesOf(images: ImageClasses): string[] {
  return Array.from({ length: images.classCount }, (_, i) => images.className(i));
}

function bitsOf(images: ImageClasses, classIndex: number, image: number): string {
  const out = new Float32Array(784);
  images.read(classIndex, image, out, 0);
  return out.join('');
}

function rejection(expected: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof DataError, String(error));
    assert.match(error.message, expected);
    return true;
  };
}

test('classes are sorted by part, alphabet and character, and resized as Pillow does', async () => {
  const images = await loadOmniglot(smallOmniglot());
  assert.deepEqual(images.imageShape, [28, 28, 1]);
  assert.deepEqual(namesOf(images), [
    'Greek/character01',
    'Latin/character01',
    'Latin/character02',
    'Angelic/character01',
    'Angelic/character02',
  ]);
  const expected = [1, 2, 0, 0, 1].map((k) =>
    [...reference.patterns[k]!]
      .map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, '0'))
      .join(''),
  );
  for (const [classIndex, bits] of expected.entries()) {
    assert.equal(images.imageCount(classIndex), 20);
    for (const image of [0, 19]) assert.equal(bitsOf(images, classIndex, image), bits);
  }
});

test('the cache is used while the source stays the same, and made again when damaged', async () => {
  const options = smallOmniglot();
  const zip = join(options.data, 'images_background.zip');
  utimesSync(zip, 1e9, 1e9); // seconds
  assert.equal(omniglotInfo(options).cached, false);
  await loadOmniglot(options);
  const { cached, cacheFile, classes, images, sources } = omniglotInfo(options);
  assert.deepEqual([cached, classes, images], [true, 5, 100]);
  assert.deepEqual(
    sources,
    ['images_background.zip', 'images_evaluation.zip'].map((name) => join(options.data, name)),
  );
  assert.equal(readdirSync(options.cache).length, 1, 'nothing temporary is left');

  const bytes = readFileSync(cacheFile!);
  const named = Buffer.from(bytes).toString('latin1').replace('Greek', 'Xreek');
  writeFileSync(cacheFile!, Buffer.from(named, 'latin1')); // its checksum is wrong now
  assert.equal((await loadOmniglot(options)).className(0), 'Greek/character01');
  assert.deepEqual(readFileSync(cacheFile!), bytes);

  writeFileSync(zip, new Uint8Array(statSync(zip).size)); // no zip any more: only the cache can answer
  utimesSync(zip, 1e9, 1e9);
  assert.equal((await loadOmniglot(options)).classCount, 5);
  utimesSync(zip, 1e9, 1e9 + 1);
  await assert.rejects(loadOmniglot(options), DataError, 'a source of another time is read anew');
});

test('a cache that can not be written costs nothing but time', async () => {
  const options = smallOmniglot();
  writeFileSync(options.cache, 'a file where the folder should be');
  assert.equal((await loadOmniglot(options)).classCount, 5);
});

test('unpacked folders give the same images as the zips', async () => {
  const data = mkdtempSync(join(folder, 'unpacked-'));
  for (const [name, bytes] of Object.entries({ ...background, ...evaluation })) {
    const path = join(data, 'omniglot', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
  const zipped = smallOmniglot();
  const unpacked = await loadOmniglot({ ...zipped, data, cache: join(data, 'cache') });
  assert.deepEqual(unpacked.encode(), (await loadOmniglot(zipped)).encode());
});

const drawing = 'images_background/Greek/character01/0101_07.png';
const small = encode({ width: 8, height: 8, depth: 1, channels: 1, data: new Uint8Array(8) });
const faults: [string, Record<string, Uint8Array | undefined>, RegExp][] = [
  [
    'a missing drawing',
    { [drawing]: undefined },
    /"Greek\/character01" should have drawings 01 to 20, but has 01 .* 06 08 .* 20; fetch/,
  ],
  ['an extra drawing', { [drawing.replace('_07', '_21')]: patterns[0] }, /but has 01 02 .* 20 21; fetch/],
  [
    'an extra character',
    { 'images_background/Runes/character01/0001_01.png': patterns[0] },
    /expected 3 characters, found 4/,
  ],
  [
    'a stray image',
    { 'images_background/cat.png': patterns[0] },
    /"images_background\/cat.png" is not a drawing/,
  ],
  [
    'a PNG cut short',
    { [drawing]: patterns[1]!.subarray(0, 60) },
    /"images_background.*0101_07.png" is not a whole drawing/,
  ],
  ['an empty PNG', { [drawing]: new Uint8Array(0) }, /is not a whole drawing/],
  [
    'a damaged PNG',
    { [drawing]: patterns[1]!.map((byte, at) => (at === 80 ? byte ^ 1 : byte)) },
    /is not a whole drawing/,
  ],
  ['an image of another size', { [drawing]: small }, /expected 105x105 pixels of 1 bit, got 8x8 of 1/],
];
for (const [fault, change, message] of faults) {
  test(`${fault} is named`, async () => {
    await assert.rejects(loadOmniglot(smallOmniglot(change)), rejection(message));
  });
}

test('damaged zips are named', async () => {
  const options = smallOmniglot();
  const zip = join(options.data, 'images_background.zip');
  const bytes = readFileSync(zip);
  const damaged = Buffer.from(bytes);
  damaged[5000]! ^= 1; // inside a stored PNG
  writeFileSync(zip, damaged);
  await assert.rejects(
    loadOmniglot(options),
    rejection(/images_background.zip: "images_background\/.*" is damaged .*; fetch/),
  );
  writeFileSync(zip, bytes.subarray(0, 9000));
  await assert.rejects(
    loadOmniglot(options),
    rejection(/images_background.zip is not a whole zip archive .*; fetch/),
  );
  assert.equal(existsSync(options.cache), false, 'nothing is cached');
});

test('missing data is named, with the remedy', async () => {
  const options = smallOmniglot();
  const nowhere = { ...options, data: join(folder, 'nowhere') };
  await assert.rejects(
    loadOmniglot(nowhere),
    rejection(/nowhere.*run `anole data fetch omniglot`, or pass --data DIR/),
  );
  assert.match(omniglotInfo(nowhere).problem!, /anole data fetch omniglot/);
  const aFile = { ...options, data: join(options.data, 'images_background.zip') };
  await assert.rejects(loadOmniglot(aFile), rejection(/is a file, not the folder/));
  rmSync(join(options.data, 'images_evaluation.zip'));
  await assert.rejects(loadOmniglot(options), rejection(/lacks images_evaluation.zip/));
});

test('without options, ANOLE_DATA and ANOLE_CACHE say where', async (t) => {
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  const { data, cache, archives } = smallOmniglot();
  Object.assign(process.env, { ANOLE_DATA: data, ANOLE_CACHE: cache });
  assert.equal((await loadOmniglot({ archives })).classCount, 5);
  assert.equal(dirname(omniglotInfo({ archives }).cacheFile!), cache);
});

test('fetching checks what comes and leaves nothing half-written', async (t) => {
  const { data, archives } = smallOmniglot();
  let requests = 0;
  const server = createServer((request, response) => {
    requests++;
    const path = join(data, request.url!);
    if (existsSync(path)) response.end(readFileSync(path));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const from = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const to = join(folder, 'fetched');

  const wrong = archives.map((archive) => ({ ...archive, md5: '0'.repeat(32) }));
  await assert.rejects(
    fetchOmniglot({ to, from, archives: wrong }),
    rejection(/could not download .*images_background.zip: expected a file of MD5 0+, got .*--data DIR/),
  );
  await assert.rejects(
    fetchOmniglot({ to, from: `${from}/no`, archives }),
    rejection(/the server answers 404; .*--data/),
  );
  await assert.rejects(
    fetchOmniglot({ to, from, archives, signal: AbortSignal.abort() }),
    (error: Error) => error.name === 'AbortError',
  );
  await assert.rejects(
    fetchOmniglot({ to, from: 'http://127.0.0.1:1', archives }),
    rejection(/without a network, copy images_background.zip .* --data DIR/),
  );
  assert.deepEqual(readdirSync(to), []);

  let received = 0;
  await fetchOmniglot({ to, from, archives, onProgress: (progress) => (received = progress.received) });
  assert.equal(received, readFileSync(join(to, 'images_evaluation.zip')).length);
  assert.equal((await loadOmniglot({ data: to, cache: join(to, 'cache'), archives })).classCount, 5);
  const before = requests;
  await fetchOmniglot({ to, from, archives });
  assert.equal(requests, before, 'what is there is not fetched again');
});

const withOfficial = { skip: existsSync(official) ? false : `the complete Omniglot is not at ${official}` };
test('all of the real Omniglot equals Pillow, from the zips and from the cache', withOfficial, async () => {
  const options = { data: official, cache: join(folder, 'cache') };
  for (const source of ['zips', 'cache']) {
    const images = await loadOmniglot(options);
    const hash = createHash('sha256');
    const out = new Float32Array(784);
    for (let classIndex = 0; classIndex < images.classCount; classIndex++) {
      for (let image = 0; image < images.imageCount(classIndex); image++) {
        images.read(classIndex, image, out, 0);
        hash.update(Uint8Array.from(out));
      }
    }
    assert.equal(hash.digest('hex'), reference.omniglot.sha256, source);
  }
  const images = await loadOmniglot(options);
  assert.equal(new Set(namesOf(images)).size, 1623);
  const { train, test: held } = omniglotSplit(images, 0);
  assert.deepEqual([train.classCount, held.classCount], [4800, 423]);
  const trained = new Set(namesOf(train));
  assert.ok(namesOf(held).every((name) => !trained.has(name)));
});
