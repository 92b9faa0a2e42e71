import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { zipSync } from 'fflate';
import sharp from 'sharp';
import { crc32 } from '../../src/data/crc32.ts';
import { fewShotTasks } from '../../src/data/few-shot.ts';
import { type ImageFolderOptions, imageFolder } from '../../src/data/image-folder.ts';
import { Random } from '../../src/data/random.ts';
import type { ImageClasses } from '../../src/data/task.ts';
import { DataError, OptionError } from '../../src/errors.ts';
import { classesOf, type Files, picture, writeFolder, writeZip } from './pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'anole-images-'));
after(() => rmSync(folder, { recursive: true }));

let made = 0;
function fresh(name = ''): string {
  made += 1;
  return join(folder, String(made), name);
}

type Given = Partial<ImageFolderOptions>;

function read(path: string, given: Given = {}) {
  return imageFolder({ path, size: 12, ways: 2, cache: fresh(), ...given });
}

function namesOf(images: ImageClasses): string[] {
  return Array.from({ length: images.classCount }, (_, index) => images.className(index));
}

async function rejects(files: Files | string, message: RegExp, given: Given = {}): Promise<void> {
  const path = typeof files === 'string' ? files : writeFolder(fresh('pets'), files);
  await assert.rejects(read(path, given), (error: Error) => {
    assert.ok(error instanceof DataError, String(error));
    assert.match(error.message, message);
    return true;
  });
}

const pets = await classesOf({ cat: 3, dog: 2, emu: 4, fox: 2, gnu: 2 });

test('classes are split by seed, and tasks are drawn from either side', async () => {
  const path = writeFolder(fresh('pets'), { ...pets, 'LICENSE.txt': 'free' });
  const images = await read(path);
  const { train, test: kept, splitBy, leftOut } = images;
  assert.equal(splitBy, 'seed');
  assert.deepEqual(leftOut, []);
  assert.deepEqual([train.classCount, kept.classCount], [3, 2]);
  assert.deepEqual([...namesOf(train), ...namesOf(kept)].sort(), ['cat', 'dog', 'emu', 'fox', 'gnu']);
  const task = fewShotTasks(kept, { ways: 2 }).sample(Random.stream(0, 'task'), { support: 1, query: 1 });
  assert.equal(task.support.inputs.length, 2 * 12 * 12 * 3);

  assert.deepEqual(namesOf((await read(path)).test), namesOf(kept), 'the same seed');
  const splits = [1, 2, 3, 4, 5, 6].map((seed) => read(path, { seed }));
  const others = new Set((await Promise.all(splits)).map((one) => namesOf(one.test).join()));
  assert.ok(others.size > 2, 'other seeds');
});

test('a class more moves at most one of the others to the other side', async () => {
  const names = Array.from({ length: 20 }, (_, i) => `class${i}`);
  const counts = Object.fromEntries(names.map((name) => [name, 1]));
  const before = await read(writeFolder(fresh(), await classesOf(counts)));
  const grown = await read(writeFolder(fresh(), await classesOf({ ...counts, more: 1 })));
  assert.equal(before.test.classCount, 4);
  const moved = namesOf(before.test).filter((name) => !namesOf(grown.test).includes(name));
  assert.ok(moved.length <= 1, moved.join());
});

test('folders train, val and test say what is what', async () => {
  const files = await classesOf({ 'train/a': 1, 'train/b/c': 1, 'val/d': 1, 'test/e': 2, 'test/f': 1 });
  const wrapped = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`data/x/${name}`, bytes]));
  for (const path of [writeFolder(fresh(), files), writeZip(fresh('any.zip'), wrapped)]) {
    const { train, val, test: kept, splitBy } = await read(path);
    assert.equal(splitBy, 'folders');
    assert.deepEqual([namesOf(train), namesOf(val!), namesOf(kept)], [['a', 'b/c'], ['d'], ['e', 'f']]);
    assert.equal(kept.imageCount(0), 2);
  }
  await rejects(
    await classesOf({ 'train/a': 1, 'train/b': 1 }),
    /no classes in the folder test: move some there/,
  );
  await rejects(await classesOf({ 'train/a': 1, 'test/a': 1 }), /class "a" is in train and in test/);
  await rejects(
    { ...files, 'train/0.png': await picture(7) },
    /"train\/0\.png" lies in no class folder: move it/,
  );
});

test('a class may be called train', async () => {
  const { train, test: kept } = await read(
    writeFolder(fresh(), await classesOf({ bus: 1, car: 1, train: 1, tram: 1 })),
  );
  assert.deepEqual([...namesOf(train), ...namesOf(kept)].sort(), ['bus', 'car', 'train', 'tram']);
});

test('JPEG, PNG and WebP of any size, in colour and gray, with and without transparency', async () => {
  const raw = { raw: { width: 2, height: 1, channels: 4 as const } };
  const clear = await sharp(Uint8Array.of(0, 0, 0, 0, 255, 0, 0, 255), raw)
    .png()
    .toBuffer();
  const deep = await sharp(await picture(50))
    .toColourspace('rgb16')
    .png()
    .toBuffer();
  const cmyk = await sharp(await picture(51, { width: 9 }))
    .toColourspace('cmyk')
    .jpeg()
    .toBuffer();
  const turned = await sharp({ create: { width: 8, height: 16, channels: 3, background: '#fff' } })
    .composite([
      { input: { create: { width: 8, height: 8, channels: 3, background: '#000' } }, gravity: 'north' },
    ])
    .withMetadata({ orientation: 6 }) // to be turned by 90 degrees clockwise: what is on top goes right
    .png()
    .toBuffer();
  const files = {
    'a/0.JPEG': await picture(1, { format: 'jpeg', width: 30, height: 50 }),
    'a/1.webp': await picture(2, { format: 'webp', width: 3, height: 40 }),
    'b/0.png': clear,
    'b/1.png': deep,
    'c/0.jpg': cmyk,
    'd/0.png': turned,
  };
  const values = async (given: Given) => {
    const { train, test: kept } = await read(writeFolder(fresh(), files), given);
    const all = new Map<string, number[]>();
    for (const part of [train, kept]) {
      const length = part.imageShape.reduce((a, b) => a * b);
      for (const [index, name] of namesOf(part).entries()) {
        const out = new Float32Array(length);
        part.read(index, 0, out, 0);
        all.set(name, [...out]);
      }
    }
    return { all, shape: train.imageShape };
  };
  const colour = await values({ size: 8 });
  assert.deepEqual(colour.shape, [8, 8, 3]);
  assert.ok(
    colour.all
      .get('b')!
      .slice(0, 6)
      .every((value) => value > 0.95),
    'transparency on white',
  );
  const right = colour.all.get('b')!.slice(21, 24).map(Math.round);
  assert.deepEqual(right, [1, 0, 0], 'red, green, blue');
  const gray = await values({ size: 8, gray: true });
  assert.deepEqual(gray.shape, [8, 8, 1]);
  const row = gray.all.get('d')!.slice(0, 8).map(Math.round);
  assert.deepEqual(row, [1, 1, 1, 1, 0, 0, 0, 0], 'upright by EXIF');
  assert.deepEqual((await values({ size: undefined })).shape, [84, 84, 3]);
  assert.deepEqual((await values({ size: undefined, gray: true })).shape, [28, 28, 1]);
  await assert.rejects(values({ size: 7 }), OptionError);
});

test('classes with few images are kept unless asked, and then named', async () => {
  const path = writeFolder(fresh(), pets);
  const { train, test: kept, leftOut } = await read(path, { minImages: 3, ways: 1 });
  assert.deepEqual(
    leftOut.map(({ name, images }) => `${name} ${images}`),
    ['dog 2', 'fox 2', 'gnu 2'],
  );
  assert.equal(train.classCount + kept.classCount, 2);
  await rejects(path, /2 classes with at least 3 images are too few: 2-way tasks .* take 4/, {
    minImages: 3,
  });
  await assert.rejects(read(path, { minImages: 50 }), {
    name: 'OptionError',
    message: /^minImages: none of the 5 classes in \S+ has 50 images, the largest has \d+: lower it$/,
  });
  await rejects(path, /5 classes are too few: 3-way tasks .* take 6: lower the ways or add classes/, {
    ways: 3,
  });
});

test('files that are no whole images are named, as many as there are up to five', async () => {
  const jpeg = await picture(60, { format: 'jpeg', width: 60, height: 60 });
  const damaged = {
    ...pets,
    'cat/0.png': pets['cat/0.png']!.subarray(0, 100),
    'dog/1.png': 'not an image',
    'emu/9.jpg': jpeg.subarray(0, jpeg.length - 40),
  };
  await rejects(
    damaged,
    /pets: can not use "cat\/0\.png" \(it is damaged or cut short\), "dog\/1\.png" \(its content is not JPEG, PNG or WebP\), "emu\/9\.jpg" \(it is damaged or cut short\); replace or delete/,
  );
  const many = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`cat/bad${i}.png`, `bad ${i}`]));
  await rejects(
    { ...pets, ...many },
    /"cat\/bad4\.png" \(.*\) and perhaps more; replace or delete these files/,
  );
  await rejects(
    { ...pets, 'cat/a.gif': 'GIF89a' },
    /"cat\/a\.gif" is of a kind that is not read, expected JPEG/,
  );
});

test('an image with absurd dimensions is refused before any of it is decoded', async () => {
  const chunk = (type: string, data: Uint8Array) => {
    const bytes = new Uint8Array(12 + data.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, data.length);
    bytes.set(new TextEncoder().encode(type), 4);
    bytes.set(data, 8);
    view.setUint32(8 + data.length, crc32(bytes.subarray(4, -4)));
    return bytes;
  };
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, 100_000);
  new DataView(header.buffer).setUint32(4, 100_000);
  header.set([8, 2], 8);
  const parts = [
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(new Uint8Array(99))),
    chunk('IEND', new Uint8Array(0)),
  ];
  const png = Buffer.concat([Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), ...parts]);
  await rejects({ ...pets, 'cat/huge.png': png }, /"cat\/huge\.png" \(it has more than 67,108,864 pixels\)/);
});

test('the same image in two classes is an error that names both, in one class it counts once', async () => {
  const twin = pets['dog/1.png']!;
  const both =
    /pets: the same image is in two classes, "dog\/1\.png" and "gnu\/copy\.png": delete one of each/;
  await rejects({ ...pets, 'gnu/copy.png': twin }, both);
  const many = Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`gnu/copy${i}.png`, twin]));
  await rejects({ ...pets, ...many }, /"gnu\/copy4\.png" and 2 more pairs: delete/);
  const files = await classesOf({ 'train/a': 1, 'test/b': 1 });
  const across = /"train\/a\/0\.png" and "test\/c\/0\.png"/;
  await rejects({ ...files, 'test/c/0.png': files['train/a/0.png']! }, across);

  const { train, test: kept } = await read(writeFolder(fresh(), { ...pets, 'dog/copy.png': twin }));
  for (const part of [train, kept]) {
    const dog = namesOf(part).indexOf('dog');
    if (dog >= 0) assert.equal(part.imageCount(dog), 2);
  }
});

test('empty classes, stray images and links to nowhere are named', async () => {
  await rejects({ ...pets, 'yak/': '' }, /class folder "yak" is empty: add its images or delete it/);
  await rejects({ ...pets, '1.png': await picture(70) }, /"1\.png" lies in no class folder/);
  await rejects(
    { ...pets, 'cat/black/1.png': await picture(71) },
    /"cat\/0\.png" lies beside class folders such as "cat\/black"/,
  );
  await rejects({ 'notes.txt': 'nothing' }, /no images there, expected folders of JPEG, PNG or WebP files/);
  await rejects(fresh('nowhere'), /nowhere: expected a folder or a zip file, but there is nothing/);
  const path = writeFolder(fresh(), pets);
  symlinkSync('/nowhere', join(path, 'cat', 'link.png'));
  await rejects(path, /link\.png: a link to nothing/);
  const circle = writeFolder(fresh(), pets);
  symlinkSync(circle, join(circle, 'cat', 'again'));
  await rejects(circle, /folders lie more than 16 deep, or a link leads back into them/);
});

test('a hostile zip is refused by name', async () => {
  const zip = (files: Parameters<typeof zipSync>[0]) => {
    const path = fresh('any.zip');
    writeFolder(join(path, '..'), { 'any.zip': zipSync({ ...pets, ...files }) });
    return path;
  };
  await rejects(
    zip({ '../../evil.png': pets['cat/0.png']! }),
    /the name "\.\.\/\.\.\/evil\.png" leads outside/,
  );
  await rejects(
    zip({ 'cat/bomb.png': new Uint8Array(2 ** 25) }),
    /can not use "cat\/bomb\.png" \(it claims to unpack to more than 200 times its \d+ bytes\)/,
  );
  const whole = zipSync(pets);
  const path = fresh('cut.zip');
  writeFolder(join(path, '..'), { 'cut.zip': whole.subarray(0, whole.length - 30) });
  await rejects(path, /cut\.zip is not a whole zip archive/);
});

test('decoded images are cached for each size, and damage to the cache is said', async () => {
  const path = writeFolder(fresh(), pets);
  const cache = fresh();
  let decoded = 0;
  const onProgress = () => {
    decoded += 1;
  };
  const first = await read(path, { cache, onProgress });
  assert.equal(decoded, 13);
  await read(path, { cache, onProgress, seed: 5, minImages: 1 });
  assert.equal(decoded, 13);
  await read(path, { cache, onProgress, gray: true });
  assert.equal(decoded, 26);
  writeFileSync(join(path, 'cat', '7.png'), await picture(77));
  const more = await read(path, { cache, onProgress });
  assert.equal(decoded, 40);
  assert.equal(readdirSync(cache).length, 2);
  assert.equal(first.train.classCount, more.train.classCount);

  const [file] = readdirSync(cache).filter((name) => name.includes('12x12x3'));
  const bytes = await import('node:fs').then(({ readFileSync }) => readFileSync(join(cache, file!)));
  bytes[bytes.length - 100]! ^= 1;
  writeFileSync(join(cache, file!), bytes);
  const { train } = await read(path, { cache, onProgress });
  assert.equal(decoded, 40);
  assert.throws(
    () => train.read(0, 0, new Float32Array(432), 0),
    /images: the decoded images can not be read \(.*checksum differs.*\): delete the file, and it is made again/,
  );
});

test('images in a folder whose cache can not be written are read all the same', async () => {
  const cache = join(writeFolder(fresh(), { file: '' }), 'file', 'below');
  const { train } = await read(writeFolder(fresh(), pets), { cache });
  assert.equal(train.classCount, 3);
});

test('no damage to a file, and no odd name, crashes anything', async () => {
  const random = Random.stream(0, 'damaged images');
  const formats = ['png', 'jpeg', 'webp'] as const;
  const whole = await Promise.all(formats.map((format) => picture(80, { format, width: 20, height: 20 })));
  for (let i = 0; i < 150; i++) {
    const bytes = whole[i % 3]!.slice(0, i % 2 === 0 ? undefined : 1 + random.integer(199));
    for (let k = 0; k < 5; k++) bytes[random.integer(bytes.length)] = random.integer(256);
    const path = fresh('any.zip');
    const name = String.fromCharCode(...Array.from({ length: 4 }, () => 32 + random.integer(95)));
    writeFolder(join(path, '..'), { 'any.zip': zipSync({ 'a/1.png': bytes, [`b/${name}.png`]: whole[0]! }) });
    try {
      await read(path, { ways: 1 });
    } catch (error) {
      assert.ok(error instanceof DataError, String(error));
      assert.ok(!error.message.includes('internal:'), error.message);
    }
  }
});
