/** The README's code runs, as it stands there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const readme = readFileSync(`${root}README.md`, 'utf8');
const blocks = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code!);

/** Runs a module inside the package, where `anole/node` names the package itself. */
function run(code: string): string {
  const arguments_ = ['--input-type=module', '--eval', code];
  const { status, stdout, stderr } = spawnSync(process.execPath, arguments_, { cwd: root, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('the README shows a sine and a model of one’s own', () => {
  assert.equal(blocks.length, 2);
});

test('the sine example prints what the README says', () => {
  const [, error] = /^mean squared error (\S+) ± \S+$/m.exec(run(blocks[0]!)) ?? [];
  const [, claimed] = /an error of about (\S+) \(untrained/.exec(readme) ?? [];
  assert.ok(Math.abs(Number(error) - Number(claimed)) < 0.2, `${error} where the README says ${claimed}`);
});

test('the model of one’s own is trained', () => {
  const losses = [...run(blocks[1]!).matchAll(/^\d+ (\S+)$/gm)].map(([, loss]) => Number(loss));
  assert.equal(losses.length, 2);
  assert.ok(losses.every((loss) => loss > 0 && loss < 3));
});
