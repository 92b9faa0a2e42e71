/** A run's folder takes one process at a time. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-lock-cli-'));
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL'); // of tests that failed
  rmSync(folder, { recursive: true });
});

/** Starts a command and waits until it prints something that matches. */
async function running(args: string, line: RegExp) {
  const child = spawn(process.execPath, [main, ...args.split(' ')], { cwd: folder });
  children.add(child);
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  await new Promise<void>((resolve, reject) => {
    let text = '';
    const read = (part: string) => {
      text += part;
      if (line.test(text)) resolve();
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
    child.on('close', () => reject(new Error(text)));
  });
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  return { pid: child.pid!, end };
}

function refused(args: string, path: string, pid: number): void {
  const { status, stderr } = spawnSync(process.execPath, [main, ...args.split(' ')], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.match(
    stderr,
    new RegExp(`^error: ${path} is in use: process ${pid} on .*: wait for it, stop it or `, 'm'),
  );
  assert.equal(status, 1);
}

const sine = 'train sine --meta-iters 1000000 --eval-every 0 --json --out run';
const locks = (path: string) => readdirSync(join(folder, path)).filter((name) => name.endsWith('.lock'));

it('a second `anole train` into it, or --resume of it, is refused until the first has ended', async () => {
  const { pid, end } = await running(sine, /"progress"/);
  const files = readdirSync(join(folder, 'run'));
  refused(sine, 'run', pid);
  refused('train --resume run', 'run', pid);
  assert.deepEqual(readdirSync(join(folder, 'run')), files);
  assert.equal(await end('SIGINT'), 130);
  assert.deepEqual(locks('run'), []);
  const resumed = await running('train --resume run --json', /"resumed"/);
  refused('train --resume run', 'run', resumed.pid);
  await resumed.end('SIGKILL');
  assert.equal(locks('run').length, 1);
  await (await running('train --resume run --json', /"resumed"/)).end('SIGINT');
  assert.deepEqual(locks('run'), []);
});

it('a second `anole reproduce` into it is refused until the first has ended', async () => {
  const figure = 'reproduce figure1 --only reptile --out figure1';
  const { pid, end } = await running(figure, /units?$/m);
  while (!existsSync(join(folder, 'figure1/state.json'))) await setTimeout(10);
  refused(figure, 'figure1', pid);
  assert.equal(await end('SIGINT'), 130);
  assert.deepEqual(locks('figure1'), []);
});
