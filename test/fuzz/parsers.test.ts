/**
 * Our parsers on 120,000 damaged and hostile files: each is read, or refused as `fuzz` demands.
 */

import './allocations.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { zipSync } from 'fflate';
import { checkConfig, readConfiguration } from '../../src/cli/configuration.ts';
import { configurable } from '../../src/cli/options.ts';
import { classFolders } from '../../src/data/class-folders.ts';
import { crc32 } from '../../src/data/crc32.ts';
import { PackedImages } from '../../src/data/packed-images.ts';
import { Random } from '../../src/data/random.ts';
import { decodeSafetensors, encodeSafetensors } from '../../src/data/safetensors.ts';
import { readZip } from '../../src/data/zip.ts';
import { resolveSettings } from '../../src/experiments/settings.ts';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/meta/checkpoint.ts';
import { initialState } from '../../src/meta/train.ts';
import { mlp } from '../../src/nn/networks.ts';
import { adam } from '../../src/optim/index.ts';
import { damaged, fuzz, name } from './fuzz.ts';
import { mutate, randomBytes, strangeValues } from './mutate.ts';

const folder = mkdtempSync(join(tmpdir(), 'anole-fuzz-'));
after(() => rmSync(folder, { recursive: true }));

const tensors = {
  'conv1/weight': {
    dtype: 'float32',
    shape: [2, 3],
    data: Float32Array.of(0, -0, 1.5, NaN, Infinity, 1e-45),
  },
  mask: { dtype: 'uint8', shape: [3], data: Uint8Array.of(1, 0, 255) },
  step: { dtype: 'int32', shape: [], data: Int32Array.of(-7) },
  'Übung "1"': { dtype: 'int64', shape: [1], data: BigInt64Array.of(-(2n ** 63n)) },
} as const;
const weights = encodeSafetensors(tensors, { settings: '{"ways":5}', 'note "π"': 'line\nline' });

fuzz('weights', {
  inputs: 40_000,
  least: [500, 20_000],
  read(random) {
    const bytes = damaged(random, weights);
    for (const { shape, data } of Object.values(decodeSafetensors(bytes, name).tensors)) {
      assert.equal(
        data.length,
        shape.reduce((product, size) => product * size, 1),
      );
    }
    return bytes.length;
  },
});

const layout = {
  model: mlp({ hidden: [3] }),
  innerOptimizer: adam({ learningRate: 1e-3, beta1: 0 }),
  outerOptimizer: 'adam',
} as const;
const settings = resolveSettings({ task: 'sine' });
const checkpoint = encodeCheckpoint({
  ...layout,
  state: initialState(layout),
  settings: { ...settings },
  progress: { curve: [{ iteration: 1, value: 0.5 }] },
});

fuzz('checkpoints', {
  inputs: 20_000,
  least: [200, 10_000],
  read(random) {
    const bytes = damaged(random, checkpoint);
    const { parameters } = decodeCheckpoint(bytes, name).state(layout);
    assert.ok(parameters.every(Number.isFinite));
    return bytes.length;
  },
});

const archive = zipSync({
  train: { cat: { '1.png': randomBytes(Random.stream(1, 'zip'), 40), '2.png': new Uint8Array(900) } },
  test: { dog: { '1.png': [new Uint8Array(50).fill(7), { level: 0 }] } },
  'notes.txt': new TextEncoder().encode('anole '.repeat(30)),
});
const tableStart = new DataView(archive.buffer, archive.length - 22).getUint32(16, true);

fuzz('zip archives of class folders', {
  inputs: 20_000,
  least: [200, 10_000],
  read(random) {
    const target: readonly [number, number] =
      random.integer(3) > 0 ? [tableStart, archive.length] : [0, tableStart];
    const bytes = mutate(random, archive, { target });
    const contents = readZip(bytes, { label: name, remedy: 'fetch it again' });
    for (const file of contents.files) file.read();
    classFolders(contents, name);
    return bytes.length;
  },
});

const words = [
  'cat',
  'dog',
  'train',
  'val',
  'test',
  '1.png',
  '2.JPG',
  'a.gif',
  '.git',
  '__proto__',
  '',
  'Ä',
  'Thumbs.db',
];

fuzz('class folders of any names', {
  inputs: 10_000,
  least: [200, 3_000],
  read(random) {
    const word = () => words[random.integer(words.length)]!;
    const path = () => Array.from({ length: 1 + random.integer(4) }, word).join('/');
    const file = () => ({
      name: `${path()}${random.integer(2) === 0 ? '.png' : ''}`,
      read: () => new Uint8Array(1),
    });
    const files = Array.from({ length: random.integer(6) }, file);
    const folders = Array.from({ length: random.integer(3) }, path);
    for (const classes of Object.values(classFolders({ files, folders }, name))) {
      for (const one of classes) assert.ok(one.name !== '' && one.files.length > 0);
    }
    return 0;
  },
});

const config = new TextEncoder().encode(
  JSON.stringify({
    ...settings,
    ways: 5,
    preset: 'o15',
    workers: 2,
    device: 'cpu',
    checkpointEvery: 10,
    tensorboard: true,
  }),
);
const configFile = join(folder, 'anole.config.json');
const keys = Object.keys(configurable);

fuzz('configurations of any values', {
  inputs: 18_000,
  least: [100, 10_000],
  read(random) {
    const pick = <T>(list: readonly T[]) => list[random.integer(list.length)]!;
    const key = () =>
      random.integer(30) === 0 ? pick(['__proto__', 'constructor', 'toString', '', 'wayz']) : pick(keys);
    const pairs = Array.from({ length: 1 + random.integer(3) }, () => [key(), pick(strangeValues)]);
    const content: unknown = random.integer(50) === 0 ? pick(strangeValues) : Object.fromEntries(pairs);
    checkConfig(content, name);
    return 0;
  },
});

fuzz('configuration files', {
  inputs: 2_000,
  names: configFile,
  least: [20, 1_000],
  async read(random) {
    const bytes = mutate(random, config);
    writeFileSync(configFile, bytes);
    await readConfiguration(configFile);
    return bytes.length;
  },
});

const packed = [1, 255] as const;
const caches = packed.map((white) =>
  new PackedImages({
    imageShape: [4, 4, 1],
    classes: [
      { name: 'a', count: 2 },
      { name: 'b', count: 1 },
    ],
    pixels: new Uint8Array(48).fill(1),
    white,
  }).encode(),
);

fuzz('packed images', {
  inputs: 10_000,
  names: 'packed images',
  least: [100, 5_000],
  read(random) {
    const original = caches[random.integer(2)]!;
    const bytes = mutate(random, original, { target: [8, original.length - 52] });
    // Mostly with the right checksum, or nothing behind it would be met.
    if (bytes.length >= 4 && random.integer(4) > 0) {
      new DataView(bytes.buffer).setUint32(bytes.length - 4, crc32(bytes.subarray(0, -4)), true);
    }
    const images = PackedImages.decode(bytes);
    for (let i = 0; i < images.classCount; i++) {
      const size = images.imageShape.reduce((product, length) => product * length, 1);
      if (images.imageCount(i) > 0) images.read(i, 0, new Float32Array(size), 0);
    }
    return bytes.length;
  },
});
