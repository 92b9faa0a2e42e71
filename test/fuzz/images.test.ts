/** Folders of images, one of them damaged: read, or refused by an error that names the file. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { imageFolder } from '../../src/data/image-folder.ts';
import { Random } from '../../src/data/random.ts';
import { DataError } from '../../src/errors.ts';
import { classesOf, writeFolder } from '../data/pictures.ts';
import { mutate } from './mutate.ts';

const folder = mkdtempSync(join(tmpdir(), 'anole-fuzz-images-'));
after(() => rmSync(folder, { recursive: true }));

test('folders with a damaged image: 500 inputs', { timeout: 60_000 }, async (t) => {
  const png = await classesOf({ a: 1, b: 1 });
  const others = [
    await classesOf({ c: 1 }, { format: 'jpeg' }),
    await classesOf({ d: 1 }, { format: 'webp' }),
  ];
  const files = Object.assign(png, ...others) as Record<string, Uint8Array>;
  const path = writeFolder(join(folder, 'images'), files);
  const random = Random.stream(12, 'images');
  let read = 0;
  for (let i = 0; i < 500; i++) {
    const [name, original] = Object.entries(files)[random.integer(4)]!;
    writeFileSync(join(path, name), mutate(random, original, { target: [0, 64] }));
    try {
      await imageFolder({ path, size: 8, ways: 1, cache: join(folder, `cache ${i}`) });
      read++;
    } catch (error) {
      assert.ok(error instanceof DataError, String(error));
      assert.ok(error.message.includes(path) && error.message.includes(name), error.message);
    }
    writeFileSync(join(path, name), original);
  }
  t.diagnostic(`${read} read`);
  assert.ok(read > 5 && read < 400, `${read} read`);
});
