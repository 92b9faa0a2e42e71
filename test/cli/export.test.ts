/** `anole export` and `--tensorboard`: files for other tools. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { unzipSync } from 'fflate';
import * as ort from 'onnxruntime-web';
import { decodeSafetensors } from '../../src/data/safetensors.ts';
import { readBoard } from '../data/board-reader.ts';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-export-'));
after(() => rmSync(folder, { recursive: true }));

function anole(args: string) {
  return spawnSync(process.execPath, [main, ...args.split(' ')], { cwd: folder, encoding: 'utf8' });
}

before(() => {
  const flags = '--meta-iters 40 --eval-tasks 5 --eval-every 20 --out sine --tensorboard';
  assert.equal(anole(`train sine ${flags}`).status, 0);
  const glyphs =
    '--ways 2 --shots 2 --meta-iters 1 --meta-batch 1 --eval-iters 1 --eval-tasks 1 --eval-every 0';
  assert.equal(anole(`train glyphs ${glyphs} --out glyphs`).status, 0);
});

describe('anole export', () => {
  it('writes the parameters alone as safetensors and npz', () => {
    assert.match(
      anole('export sine --format safetensors').stdout,
      /saved in +sine\/parameters\.safetensors\n +holds +4,353 parameters/,
    );
    const read = (name: string) => decodeSafetensors(readFileSync(join(folder, 'sine', name)), name);
    const { tensors, metadata } = read('parameters.safetensors');
    const run = read('weights.safetensors').tensors;
    assert.deepEqual(
      Object.keys(tensors),
      Object.keys(run).filter((name) => !/^(inner|outer)\//.test(name)),
    );
    for (const [name, tensor] of Object.entries(tensors)) assert.deepEqual(tensor, run[name]);
    assert.equal(JSON.parse(metadata.settings!).task, 'sine');

    const printed = JSON.parse(
      anole('export sine/weights.safetensors --format npz --out w.npz --json').stdout,
    );
    const bytes = readFileSync(join(folder, 'w.npz'));
    assert.deepEqual([printed.event, printed.file, printed.bytes], ['export', 'w.npz', bytes.length]);
    assert.deepEqual(
      Object.keys(unzipSync(bytes)),
      Object.keys(tensors).map((name) => `${name}.npy`),
    );
  });

  it('writes an onnx model that says how many support examples it takes', async () => {
    assert.equal(anole('export glyphs --format onnx --shots 3').status, 0);
    const session = await ort.InferenceSession.create(readFileSync(join(folder, 'glyphs', 'model.onnx')));
    const images = (count: number) =>
      new ort.Tensor('float32', new Float32Array(count * 784), [count, 28, 28, 1]);
    const { probabilities } = await session.run({ x: images(5), support: images(6) });
    assert.deepEqual(probabilities!.dims, [5, 2]);
    await session.release();
  });

  const refused: readonly (readonly [args: string, code: number, message: RegExp])[] = [
    [
      'export sine --format onnx --shots 3',
      2,
      /--shots: only the onnx model of a classifier has a support set/,
    ],
    ['export sine --format safetensors --out sine/weights.safetensors', 2, /--out: .* holds more than that/],
    [
      'export sine --format npz --out sine/metrics.jsonl/x',
      1,
      /could not write .* \(.*file\): make room or make it writable/,
    ],
  ];
  for (const [args, code, message] of refused) {
    it(`${args} is refused`, () => {
      const files = readdirSync(folder, { recursive: true }).sort();
      const { status, stderr } = anole(args);
      assert.equal(status, code);
      assert.match(stderr, message);
      assert.deepEqual(readdirSync(folder, { recursive: true }).sort(), files);
    });
  }
});

it('--tensorboard writes the numbers of the metrics, and again when a run goes on', () => {
  const boards = () =>
    readdirSync(join(folder, 'sine'))
      .filter((name) => name.startsWith('events.out.tfevents.'))
      .sort();
  const [name] = boards();
  const [version, start, ...events] = readBoard(readFileSync(join(folder, 'sine', name!)));
  assert.equal(version!.version, 'brain.Event:2');
  assert.deepEqual([start!.step, start!.session], [0, 1]);
  const metrics = readFileSync(join(folder, 'sine', 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const expected = metrics.flatMap(({ event, iteration, loss, mse, testMse, innerStepsPerSecond }) => {
    if (event === 'progress') {
      const values = { 'training/loss': loss, 'training/innerStepsPerSecond': innerStepsPerSecond };
      return [[iteration, values]];
    }
    if (event === 'evaluation') return [[iteration, { 'training/mse': mse }]];
    return event === 'result' ? [[40, { 'test/mse': testMse }]] : [];
  });
  const rounded = expected.map(([step, values]) => [
    step,
    Object.fromEntries(Object.entries(values as object).map(([tag, value]) => [tag, Math.fround(value)])),
  ]);
  assert.deepEqual(
    events.map(({ step, values }) => [step, values]),
    rounded,
  );
  assert.equal(anole('train --resume sine --meta-iters 60 --allow-changes --tensorboard').status, 0);
  const [, second] = boards();
  assert.equal(readBoard(readFileSync(join(folder, 'sine', second!)))[1]!.step, 40);
  assert.ok(!existsSync(join(folder, 'glyphs', 'events.out.tfevents')));
});
