/** The code of the guides runs, as it stands there, in a folder with the data it speaks of. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { classesOf, writeFolder } from './data/pictures.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const guide = readFileSync(`${root}docs/guides/own-data.md`, 'utf8');
const blocks = [...guide.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code!);

const folder = mkdtempSync(join(tmpdir(), 'anole-guides-'));
after(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, 'node_modules'));
symlinkSync(root, join(folder, 'node_modules', 'anole'), 'dir');

function run(code: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: folder,
    env: { ...process.env, ANOLE_CACHE: join(folder, 'cache') },
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('the guide to own data shows images and a task source', () => {
  assert.equal(blocks.length, 2);
});

test('a folder of images is trained on', async () => {
  const names = Array.from({ length: 8 }, (_, i) => `class${i}`);
  writeFolder(join(folder, 'pets'), await classesOf(Object.fromEntries(names.map((name) => [name, 6]))));
  const output = run(blocks[0]!);
  assert.match(output, /^5 classes to train on, 3 to test on\n1 \d\.\d{3}\n/);
  assert.equal(output.trim().split('\n').length, 11);
});

test('the time series are told apart as well as the guide says', () => {
  const [, accuracy] = /^accuracy on new waveforms (\S+)$/m.exec(run(blocks[1]!)) ?? [];
  const [, claimed] = /an accuracy of about (\S+)\. Feature/.exec(guide) ?? [];
  assert.ok(Math.abs(Number(accuracy) - Number(claimed)) < 0.05, `${accuracy}, the guide says ${claimed}`);
});
