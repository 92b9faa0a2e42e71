/** `anole adapt`, `anole predict` and what `anole export` makes of them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encode } from 'fast-png';
import * as ort from 'onnxruntime-web';
import { fewShotTasks, glyphsSplit, loadAdapted, Random } from '../../src/node.ts';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-adapt-'));
after(() => rmSync(folder, { recursive: true }));

function anole(args: string) {
  return spawnSync(process.execPath, [main, ...args.split(' ')], { cwd: folder, encoding: 'utf8' });
}

const names = ['bird', 'fish', 'tree'];
const task = fewShotTasks(glyphsSplit(0).test, { ways: 3 }).sample(Random.stream(0, 'task'), {
  support: 2,
  query: 1,
});

function write(path: string, inputs: Float32Array, i: number): void {
  const data = Uint8Array.from(inputs.subarray(i * 784, (i + 1) * 784), (value) => 255 * value);
  writeFileSync(join(folder, path), encode({ width: 28, height: 28, channels: 1, depth: 8, data }));
}

for (const [label, name] of names.entries()) {
  mkdirSync(join(folder, 'letters', name), { recursive: true });
  for (const shot of [0, 1]) write(`letters/${name}/${shot}.png`, task.support.inputs, 2 * label + shot);
  write(`${name}.png`, task.query.inputs, label);
}

test('a folder is fitted to, its file predicts and runs as ONNX', async () => {
  const adapted = anole('adapt glyphs-5way --data letters --steps 30');
  assert.equal(adapted.status, 0, adapted.stderr);
  assert.match(
    adapted.stdout,
    /classes +bird \(2\), fish \(2\), tree \(2\)\n +fitted +in 30 steps, mean loss/,
  );

  const files = names.map((name) => `${name}.png`).join(' ');
  const table = anole(`predict adapted.safetensors ${files}`).stdout;
  assert.match(table, /^file +class +bird +fish +tree\nbird\.png +\w+ +\d+\.\d% +\d+\.\d% +\d+\.\d%\n/);
  const lines = anole(`predict adapted.safetensors ${files} --json`).stdout.trim().split('\n');
  const printed = lines.map((line) => JSON.parse(line));
  const right = printed.filter(({ label }, i) => label === names[i]).length;
  assert.ok(right >= 2, `${right} of 3 right`);

  const classifier = await loadAdapted(join(folder, 'adapted.safetensors'));
  const expected = await classifier.predict(join(folder, 'bird.png'));
  assert.deepEqual(printed[0], { file: 'bird.png', ...expected });
  await classifier.dispose();

  assert.equal(anole('export adapted.safetensors --format onnx').status, 0);
  const session = await ort.InferenceSession.create(readFileSync(join(folder, 'model.onnx')));
  const x = new ort.Tensor('float32', task.query.inputs, [3, 28, 28, 1]);
  const { probabilities } = await session.run({ x });
  assert.deepEqual(probabilities!.dims, [3, 3]);
  for (const [i, { probabilities: ours }] of printed.entries()) {
    for (const [j, name] of names.entries()) {
      const theirs = (probabilities!.data as Float32Array)[3 * i + j]!;
      assert.ok(Math.abs(theirs - ours[name]) < 1e-4, `${name}.png: ${theirs} and ${ours[name]}`);
    }
  }
  await session.release();
});

test('weights of a run are exported for apps, with how they were made', () => {
  const flags =
    '--ways 2 --shots 2 --meta-iters 2 --meta-batch 1 --eval-iters 1 --eval-tasks 3 --eval-every 0';
  assert.equal(anole(`train glyphs ${flags} --out run`).status, 0);
  const exported = anole('export run --format weights --json');
  assert.equal(exported.status, 0, exported.stderr);
  const { bytes, file } = JSON.parse(exported.stdout);
  assert.ok(bytes < 500_000);
  const adapted = anole(`adapt ${file} --data letters --head fresh --steps 2 --out fresh.safetensors --json`);
  assert.equal(adapted.status, 0, adapted.stderr);
  assert.deepEqual(JSON.parse(adapted.stdout).classes.length, 3);
  const header = readFileSync(join(folder, file)).toString('latin1', 8, 6000);
  assert.match(
    header,
    /"made":"\{\\"testAccuracy\\":[\d.]+.*\\"metaIterations\\":2,\\"version\\":\\"[^"]+"\}"/,
  );
  // The accuracy beside other weights is not theirs.
  copyFileSync(join(folder, 'run/weights.safetensors'), join(folder, 'run/other.safetensors'));
  assert.equal(anole('export run/other.safetensors --format weights --out other.safetensors').status, 0);
  const other = readFileSync(join(folder, 'other.safetensors')).toString('latin1', 8, 6000);
  assert.match(other, /"made":"\{\\"metaIterations\\":2,/);
});

test('an evaluation asks nothing of the training that was', () => {
  const few = '--meta-iters 1 --meta-batch 1 --eval-iters 1 --eval-tasks 2 --eval-every 0';
  assert.equal(anole(`train glyphs --ways 3 --train-shots 1 --shots 1 ${few} --out scarce`).status, 0);
  const { status, stderr } = anole('eval scarce --ways 2');
  assert.equal(status, 0, stderr); // its mini-batches of 3 are more than 2 classes of one shot
  assert.equal(anole(`train sine ${few} --out waves`).status, 0);
});

const refused: readonly (readonly [args: string, code: number, message: RegExp])[] = [
  ['adapt glyphs-5way --data nowhere', 1, /nowhere: expected a folder or a zip file, but there is nothing/],
  ['adapt glyphs-5way --data letters/bird', 1, /lies in no class folder: move it/],
  ['adapt glyphs-5wya --data letters', 1, /did you mean "glyphs-5way"/],
  ['adapt run --data letters', 2, /fit: 3 classes, but the weights were trained for 2: pass --head fresh/],
  ['adapt waves --data letters', 2, /waves\/weights.safetensors: these weights fit values .* no classes/],
  ['adapt glyphs-5way --data letters --batch 7', 2, /batch: expected a whole number from 1 to 6, got 7/],
  ['adapt glyphs-5way --data letters --out letters/bird/0.png/x', 1, /could not write/],
  ['predict letters/bird/0.png bird.png', 1, /not a sound safetensors file/],
];
for (const [args, code, message] of refused) {
  test(`${args} is refused`, () => {
    const { status, stderr } = anole(args);
    assert.match(stderr, message);
    assert.equal(status, code);
    assert.ok(!existsSync(join(folder, 'x.safetensors')));
  });
}
