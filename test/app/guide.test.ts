/** The code of the guide to a first classifier runs, as it stands there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const guide = readFileSync(`${root}docs/guides/first-classifier.md`, 'utf8');
const blocks = [...guide.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code!);

const folder = mkdtempSync(join(tmpdir(), 'anole-guide-'));
after(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, 'node_modules'));
symlinkSync(root, join(folder, 'node_modules', 'anole'), 'dir');

function run(args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('the guide shows a classifier and a regression', () => {
  assert.equal(blocks.length, 2);
});

test('three characters are told apart', () => {
  const output = run(['--input-type=module', '--eval', blocks[0]!]);
  const [first, second, third, last] = output.trim().split('\n');
  const right = [/^0 hook /, /^1 loop /, /^2 star /].filter((line, i) =>
    line.test([first, second, third][i]!),
  );
  assert.ok(right.length >= 2, output);
  assert.match(last!, /^hook,loop,star (hook|loop|star)$/);
});

test('a sine is fitted to ten of its points', () => {
  const main = join(root, 'dist/src/cli/main.js');
  run([
    main,
    'train',
    'sine',
    '--meta-iters',
    '8000',
    '--eval-tasks',
    '10',
    '--eval-every',
    '0',
    '--out',
    'runs/sine',
  ]);
  const [, error] = /^off by (\S+)$/m.exec(run(['--input-type=module', '--eval', blocks[1]!])) ?? [];
  assert.ok(Number(error) < 1.5, error);
});
