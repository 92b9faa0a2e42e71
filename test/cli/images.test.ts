/** Training on images of one's own by command line. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { classesOf, writeFolder, writeZip } from '../data/pictures.ts';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-cli-images-'));
after(() => rmSync(folder, { recursive: true }));

const tiny =
  '--ways 2 --shots 2 --train-shots 4 --inner-batch 3 --inner-iters 2 --meta-batch 2 --meta-iters 2 ' +
  '--eval-iters 2 --eval-batch 3 --eval-tasks 4 --eval-every 2';

function anole(args: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ANOLE_DATA: join(folder, 'data'), ANOLE_CACHE: join(folder, 'cache') };
    const child = spawn(process.execPath, [main, ...args.split(' ').filter(Boolean)], { cwd: folder, env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

async function lines(args: string): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await anole(`${args} --json`);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

before(async () => {
  const files = await classesOf({ cat: 6, dog: 5, emu: 7, fox: 5, gnu: 5, hen: 2 });
  writeFolder(join(folder, 'pets'), files);
  writeZip(join(folder, 'pets.zip'), files);
});

test('train shows classes and split, and eval repeats the result from a zip of the same', async () => {
  const flags = `--data pets --min-images 4 --image-size 40 ${tiny}`;
  const { code, stdout, stderr } = await anole(`train images ${flags} --out people`);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.match(stdout, /^pets: 5 classes, 28 images, read as 40x40 colour, split by class and seed\n/);
  assert.match(stdout, / {2}train {5}3 classes, \d+ images: (\w{3} \d(, )?){3}\n {2}test {6}2 classes, /);
  assert.match(
    stdout,
    / {2}smallest {2}class "\w{3}" with 5 images\n {2}left out {2}1 classes, 2 images: hen 2\n/,
  );
  assert.match(stdout, /^Images, 2-way 2-shot; Reptile, seed 0$/m);
  assert.match(readFileSync(join(folder, 'people', 'task.svg'), 'utf8'), /data:image\/png/);

  const [images, start, ...rest] = await lines(`train images ${flags} --out scripts`);
  assert.equal(images!.event, 'images');
  assert.deepEqual(images!.leftOut, [{ name: 'hen', images: 2 }]);
  const { imageSize, gray, minImages } = start!.settings as Record<string, unknown>;
  assert.deepEqual([imageSize, gray, minImages], [40, false, 4]);
  assert.equal(
    start!.parameters,
    (3 + 32 * 3) * 9 * 32 + 4 * 64 + 3 * 3 * 32 * 2 + 2,
    "Mini-ImageNet's network",
  );
  const [again] = await lines('eval scripts --data pets.zip');
  assert.equal(again!.testAccuracy, rest.at(-1)!.testAccuracy);
});

test("up to 32 pixels Omniglot's network is trained", async () => {
  const [, start] = await lines(`train images --data pets.zip --min-images 4 --gray ${tiny} --out gray`);
  assert.equal((start!.settings as Record<string, unknown>).imageSize, 28);
  assert.equal(start!.parameters, (1 + 64 * 3) * 9 * 64 + 4 * 128 + 2 * 2 * 64 * 2 + 2);
});

test('a Mini-ImageNet that is not whole is refused, and its absence explained', async () => {
  writeFolder(join(folder, 'mini'), await classesOf({ 'train/n01': 2, 'val/n02': 2, 'test/n03': 2 }));
  const { code, stderr } = await anole('train mini-imagenet --data mini');
  assert.equal(code, 1);
  assert.match(stderr, /^error: mini: class "n01" of train has 2 images, expected 600; put the missing/);
  const [info] = await lines('data info mini-imagenet');
  assert.match(info!.problem as string, /Mini-ImageNet is neither in .*; pass --data DIR/);
});

const cases: readonly (readonly [args: string, code: number, message: RegExp])[] = [
  ['train images', 2, /--data: give the folder or zip of class folders, as --data DIR/],
  ['train images --data nowhere', 1, /nowhere: expected a folder or a zip file/],
  ['train images --data pets', 1, /pets: 6 classes are too few: 5-way tasks .* take 10: lower the ways/],
  [
    'train images --data pets --ways 2',
    2,
    /--train-shots: class "\w+" has \d images, not 10: lower it, add images, or leave such classes out with --min-images 10/,
  ],
  [
    'train images --data pets --image-size 4',
    2,
    /--image-size: expected a whole number from 8 to 256, got "4"/,
  ],
  ['train glyphs --gray', 2, /--gray: only the task "images" has it, not "glyphs": leave it out/],
  ['data prepare omniglot', 2, /expected mini-imagenet, the one data set to prepare, got "omniglot"/],
];
for (const [args, code, message] of cases) {
  test(`anole ${args}`, async () => {
    const ended = await anole(args);
    assert.match(ended.stderr, message);
    assert.match(ended.stderr, /^error: [^\n]+\n$/);
    assert.equal(ended.code, code);
    assert.ok(!existsSync(join(folder, 'runs')));
  });
}
