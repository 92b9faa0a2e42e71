import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { archiveAt } from '../../src/data/archive.ts';
import { classFolders } from '../../src/data/class-folders.ts';
import { decodeClasses } from '../../src/data/decode-images.ts';
import { fewShotTasks } from '../../src/data/few-shot.ts';
import { loadMiniImagenet, miniImagenetInfo } from '../../src/data/mini-imagenet.ts';
import { Random } from '../../src/data/random.ts';
import type { ImageClasses } from '../../src/data/task.ts';
import { DataError } from '../../src/errors.ts';
import { classesOf, type Files, picture, writeFolder, writeZip } from './pictures.ts';

const official = fileURLToPath(
  new URL('../../../../shared/data/mini-imagenet/mini-imagenet.zip', import.meta.url), // from dist/test/data
);
const folder = mkdtempSync(join(tmpdir(), 'anole-mini-imagenet-'));
after(() => rmSync(folder, { recursive: true }));

const size = { train: 2, val: 1, test: 1, images: 3 };
const jpeg = { width: 84, height: 84, format: 'jpeg' } as const;
const layout = await classesOf(
  { 'train/n02': 3, 'train/n01': 3, 'val/n03': 3, 'test/n04': 3 },
  { ...jpeg, width: 100 },
);

let made = 0;
function fresh(name = ''): string {
  made += 1;
  return join(folder, String(made), name);
}

function options(data: string) {
  return { data, cache: fresh(), size };
}

/** The small Mini-ImageNet with files added, replaced or, where undefined, left out. */
function changed(change: Readonly<Record<string, Uint8Array | string | undefined>>): Files {
  const files = { ...layout, ...change };
  return Object.fromEntries(
    Object.entries(files).filter((entry): entry is [string, Uint8Array | string] => entry[1] !== undefined),
  );
}

function valuesOf(images: ImageClasses, classIndex: number, image: number): Float32Array {
  const out = new Float32Array(84 * 84 * 3);
  images.read(classIndex, image, out, 0);
  return out;
}

async function rejects(data: string, message: RegExp): Promise<void> {
  const given = options(data);
  await assert.rejects(loadMiniImagenet('train', given), (error: Error) => {
    assert.ok(error instanceof DataError, String(error));
    assert.match(error.message, message);
    return true;
  });
  assert.ok(!existsSync(given.cache), 'nothing is left of it');
}

test('a folder, a zip of it and a zip in a folder give the same images', async () => {
  const inside = Object.fromEntries(Object.entries(layout).map(([name, bytes]) => [`mini/${name}`, bytes]));
  const sources = [
    writeFolder(fresh(), { ...layout, 'README.txt': 'about', '.DS_Store': 'clutter' }),
    writeZip(fresh('any.zip'), layout),
    writeZip(fresh('any.zip'), inside),
    join(writeZip(fresh('mini-imagenet.zip'), layout), '..'),
    join(writeZip(fresh('mini-imagenet/mini-imagenet.zip'), layout), '../..'),
    join(writeFolder(fresh('mini-imagenet'), layout), '..'),
  ];
  for (const data of sources) {
    const train = await loadMiniImagenet('train', options(data));
    assert.deepEqual(train.imageShape, [84, 84, 3]);
    assert.deepEqual([train.className(0), train.className(1), train.classCount], ['n01', 'n02', 2]);
    assert.equal(train.imageCount(1), 3);
    // n01 was made second, so its first picture is number 3; stretched from 100x84 by Lanczos
    const expected = await sharp(layout['train/n01/0.jpeg']!)
      .resize(84, 84, { fit: 'fill', kernel: 'lanczos3' })
      .raw()
      .toBuffer();
    assert.deepEqual(
      valuesOf(train, 0, 0),
      Float32Array.from(expected, (value) => value / 255),
    );
  }
});

test('lists of file names beside a folder of images give the same, whatever their order', async () => {
  const files: Record<string, Uint8Array | string> = {};
  const lists = { train: ['\uFEFFlabel,filename'], val: ['filename,label'], test: ['filename, label\r'] };
  for (const [name, bytes] of Object.entries(layout).reverse()) {
    const [split, className, file] = name.split('/') as ['train' | 'val' | 'test', string, string];
    files[`images/${className}${file}`] = bytes;
    const row = split === 'train' ? [className, className + file] : [className + file, className];
    lists[split].push(row.join(','));
  }
  for (const [split, rows] of Object.entries(lists)) files[`${split}.csv`] = `${rows.join('\n')}\n`;
  const expected = await loadMiniImagenet('train', options(writeFolder(fresh(), layout)));
  const given = [writeFolder(fresh(), files), writeZip(fresh('lists.zip'), files)];
  for (const data of given) {
    const train = await loadMiniImagenet('train', options(data));
    assert.deepEqual([train.className(0), train.className(1)], ['n01', 'n02']);
    for (const image of [0, 1, 2]) assert.deepEqual(valuesOf(train, 1, image), valuesOf(expected, 1, image));
  }

  const broken = (change: Files) => writeFolder(fresh(), { ...files, ...change });
  const train = files['train.csv'] as string;
  await rejects(
    broken({ 'train.csv': 'name,class\n' }),
    /train\.csv begins with "name,class", expected "filename,label"/,
  );
  await rejects(broken({ 'train.csv': `${train}n01\n` }), /train\.csv line 8 is "n01", expected 2 values/);
  await rejects(
    broken({ 'train.csv': `${train}n01,n01lost.jpeg` }),
    /"images\/n01lost\.jpeg" is missing, an image of class "n01" in train\.csv/,
  );
  await rejects(
    broken({ 'val.csv': `${lists.val.join('\n')}\nn010.jpeg,n03` }),
    /"n010\.jpeg" is listed twice/,
  );
  await rejects(
    broken({ 'train.csv': train.replace(/\nn01,.*/, '') }),
    /class "n01" of train has 2 images, expected 3/,
  );
});

test('whatever is missing or damaged is named', async () => {
  const folderOf = (change: Parameters<typeof changed>[0]) => writeFolder(fresh(), changed(change));
  await rejects(
    folderOf({ 'test/n04/1.jpeg': undefined }),
    /class "n04" of test has 2 images, expected 3; put/,
  );
  await rejects(
    folderOf({ 'train/n05/0.jpeg': await picture(99, jpeg) }),
    /class "n05" of train has 1 images/,
  );
  const without = Object.fromEntries(
    Object.entries(layout).filter(([name]) => !name.startsWith('train/n02')),
  );
  await rejects(writeFolder(fresh(), without), /train has 1 classes, expected 2/);
  const whole = layout['train/n02/1.jpeg']!;
  await rejects(
    folderOf({ 'train/n02/1.jpeg': whole.subarray(0, whole.length / 2) }),
    /can not use "train\/n02\/1\.jpeg" \(it is damaged or cut short\); put the missing or damaged files back/,
  );
  await rejects(
    folderOf({ 'train/n02/1.jpeg': 'GIF89a' }),
    /"train\/n02\/1\.jpeg" \(its content is not JPEG, PNG/,
  );
  await rejects(folderOf({ 'train/n02/1.jpeg': '' }), /"train\/n02\/1\.jpeg" \(its content is not JPEG, PNG/);
  await rejects(
    folderOf({ 'stray.png': whole }),
    /"stray\.png" is in none of the folders train, val and test/,
  );
  await rejects(folderOf({ 'val/n01/0.jpeg': whole }), /class "n01" is in train and in val/);
  await rejects(fresh(), /Mini-ImageNet is neither in .* nor in .*; pass --data DIR/);
  const notZip = fresh('not.zip');
  writeFolder(join(notZip, '..'), { 'not.zip': 'PK not a zip' });
  await rejects(notZip, /not\.zip is not a whole zip archive/);
});

test('decoded images are cached by split, and made again when the source changes', async () => {
  const data = writeZip(fresh('any.zip'), layout);
  const given = options(data);
  assert.deepEqual(
    miniImagenetInfo(given).splits.map(({ split, images, cached }) => [split, images, cached]),
    [
      ['train', 6, false],
      ['val', 3, false],
      ['test', 3, false],
    ],
  );
  const steps: number[] = [];
  const onProgress = ({ done, total }: { done: number; total: number }) => steps.push(done / total);
  const first = await loadMiniImagenet('train', { ...given, onProgress });
  assert.deepEqual(
    steps,
    [1, 2, 3, 4, 5, 6].map((done) => done / 6),
  );
  const cached = await loadMiniImagenet('train', { ...given, onProgress });
  assert.equal(steps.length, 6);
  for (const image of [0, 1, 2]) assert.deepEqual(valuesOf(cached, 1, image), valuesOf(first, 1, image));
  const [file] = readdirSync(given.cache);
  assert.deepEqual(
    miniImagenetInfo(given).splits.map((split) => split.cached),
    [true, false, false],
  );
  assert.ok(statSync(join(given.cache, file!)).size < 6 * 84 * 84 * 3 + 300, 'a byte a value');

  utimesSync(data, new Date(0), new Date(0));
  await loadMiniImagenet('train', { ...given, onProgress });
  assert.equal(steps.length, 12);
  const after = readdirSync(given.cache);
  assert.equal(after.length, 1, 'the earlier file is deleted');
  assert.notEqual(after[0], file);

  writeFileSync(join(given.cache, after[0]!), 'cut short');
  await loadMiniImagenet('train', { ...given, onProgress });
  assert.equal(steps.length, 18, 'a damaged cache is made again');
});

test('without data it is said where to put it', () => {
  const { source, problem } = miniImagenetInfo({ data: fresh() });
  assert.equal(source, undefined);
  assert.match(problem!, /Mini-ImageNet is neither in/);
});

test('the real images: layout, and tasks of two classes', { skip: !existsSync(official) }, async () => {
  const archive = archiveAt(official, { remedy: '' });
  const images = await archive.open((contents) => {
    const { train, val, test: kept } = classFolders(contents, official);
    assert.deepEqual([train?.length, val?.length, kept?.length], [64, 16, 20]);
    for (const { files } of [...train!, ...val!, ...kept!]) assert.equal(files.length, 600);
    const few = kept!.slice(0, 2).map(({ name, files }) => ({ name, files: files.slice(0, 20) }));
    return decodeClasses(few, { imageShape: [84, 84, 3], label: official, remedy: '' });
  });
  assert.equal(images.className(0), 'n01930112');
  const tasks = fewShotTasks(images, { ways: 2 });
  const { support, query } = tasks.sample(Random.stream(0, 'a task'), { support: 15, query: 1 });
  assert.equal(support.inputs.length, 30 * 84 * 84 * 3);
  const mean = support.inputs.reduce((sum, value) => sum + value, 0) / support.inputs.length;
  assert.ok(mean > 0.2 && mean < 0.8, `${mean}`);
  assert.ok(query.inputs.every((value) => value >= 0 && value <= 1));
});
