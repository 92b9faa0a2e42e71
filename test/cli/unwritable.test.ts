/** Places that can not be written to: one line that says so, and no part of a file. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encode } from 'fast-png';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-unwritable-'));
const place = join(folder, 'place');
after(() => {
  chmodSync(place, 0o755);
  rmSync(folder, { recursive: true });
});

function run(program: string, args: readonly string[]) {
  return spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
}

const command = (args: string) => [process.execPath, main, ...args.split(' ')];

before(() => {
  const flags = '--meta-iters 20 --eval-tasks 2 --eval-every 0 --out place';
  assert.equal(run(process.execPath, command(`train sine ${flags}`).slice(1)).status, 0);
  for (const [i, label] of ['a', 'b'].entries()) {
    mkdirSync(join(folder, 'letters', label), { recursive: true });
    const data = new Uint8Array(784).fill(i, 0, 300);
    const png = encode({ width: 28, height: 28, channels: 1, depth: 8, data });
    writeFileSync(join(folder, 'letters', label, '1.png'), png);
  }
});

/** Every file below the folder and what is in it; of a log, that it is there. */
function files(): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  return names.map((name) => {
    const path = join(folder, name);
    if (!statSync(path).isFile() || name.endsWith('.jsonl')) return name;
    return `${name} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`;
  });
}

function fails(program: string, args: readonly string[], message: RegExp): void {
  const kept = files();
  const { status, stderr } = run(program, args);
  assert.match(stderr, message);
  assert.equal(status, message.source.includes('--out') ? 2 : 1);
  assert.deepEqual(files(), kept);
}

const adapt = 'adapt glyphs-5way --data letters --steps 1 --out place/adapted.safetensors';
const exported = 'export place --format onnx';
const reproduce = 'reproduce figure2 --scale 0.02 --quiet --out place/figure2';
const remedy = 'make room or make it writable, or give another place';

describe('in a folder that is read-only', () => {
  // To root nothing is, unless it gives up that privilege.
  const [program, ...start] =
    process.getuid?.() === 0
      ? ['setpriv', '--bounding-set=-dac_override', '--inh-caps=-dac_override']
      : ['env'];
  before(() => chmodSync(place, 0o555));
  after(() => chmodSync(place, 0o755));
  for (const [args, message] of [
    [adapt, `could not write place/adapted.safetensors (permission denied): ${remedy}`],
    [exported, `could not write place/model.onnx (permission denied): ${remedy}`],
    [reproduce, 'could not write place/figure2 (permission denied): make room'],
    ['train sine --out place/run', '--out: can not write to place/run (permission denied): give a folder'],
    [
      'train --resume place --meta-iters 30 --allow-changes',
      'could not write place/weights.safetensors.lock (permission denied): make room',
    ],
  ] as const) {
    it(`anole ${args}`, { skip: process.platform === 'win32' }, () => {
      fails(
        program!,
        [...start, ...command(args)],
        new RegExp(`^error: ${message.replace(/[()]/g, '\\$&')}`),
      );
    });
  }
});

describe('on a disk that is full', () => {
  for (const [args, file] of [
    [adapt, 'adapted.safetensors'],
    [exported, 'model.onnx'],
    ['train --resume place --meta-iters 30 --allow-changes', 'weights.safetensors'],
  ] as const) {
    it(`anole ${args}`, { skip: process.platform === 'win32' }, () => {
      const message = `could not write place/${file} (files may not be that large here): make room`;
      const limited = 'ulimit -f 8; exec "$0" "$@"'; // files of at most 8 blocks of 1 kB
      fails(
        'bash',
        ['-c', limited, ...command(args)],
        new RegExp(`^error: ${message.replace(/[()]/g, '\\$&')}`),
      );
    });
  }
});
