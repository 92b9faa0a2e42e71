/** Locks: held by processes that run, and by no others. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { lockFile, lockOf, requireUnlocked } from '../../src/data/lock.ts';
import { DataError } from '../../src/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'anole-lock-'));
after(() => rmSync(folder, { recursive: true }));

const module = new URL('../../src/data/lock.js', import.meta.url).href;

/** A process that says `held` or why not, and then runs `and`. */
function holder(file: string, and = 'setInterval(() => {}, 1000)') {
  const code =
    `import { lockFile } from ${JSON.stringify(module)};` +
    `const say = await lockFile(${JSON.stringify(file)}).then(() => 'held', (error) => error.message);` +
    `process.stdout.write(say, () => { if (say === 'held') { ${and} } });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code]);
  const said = new Promise<string>((resolve) => {
    child.stdout.setEncoding('utf8').once('data', resolve);
  });
  return { child, said, closed: new Promise((resolve) => child.on('close', resolve)) };
}

function inUse(pid: number | undefined, host = hostname()): (error: unknown) => boolean {
  const start = `${folder} is in use: process ${pid} on ${host} has been writing there since 20`;
  return (error) => error instanceof DataError && error.message.startsWith(start);
}

function written(file: string, holder: unknown): void {
  writeFileSync(lockOf(file), typeof holder === 'string' ? holder : JSON.stringify(holder));
}

const since = '2026-01-01T00:00:00.000Z';

test('a lock is there until it is given back', async () => {
  const file = join(folder, 'new/folder/weights');
  requireUnlocked(file);
  const release = await lockFile(file);
  await assert.rejects(lockFile(file), /new\/folder is in use: process/);
  assert.throws(() => requireUnlocked(file), DataError);
  release();
  assert.deepEqual(readdirSync(join(folder, 'new/folder')), []);
  const again = await lockFile(file);
  release(); // of before: not this one's
  assert.ok(existsSync(lockOf(file)));
  again();
});

test('of a process that runs it is respected, of one that was killed taken over', async () => {
  const file = join(folder, 'killed');
  const { child, said, closed } = holder(file);
  assert.equal(await said, 'held');
  await assert.rejects(lockFile(file), inUse(child.pid));
  child.kill('SIGKILL');
  await closed;
  assert.ok(existsSync(lockOf(file)));
  requireUnlocked(file);
  (await lockFile(file))();
  assert.ok(!existsSync(lockOf(file)));
});

test('it goes with its process when that ends by itself', async () => {
  for (const [i, end] of ['process.exit(3)', 'throw new Error("fault")'].entries()) {
    const file = join(folder, `ended ${i}`);
    const { said, closed } = holder(file, end);
    assert.equal(await said, 'held');
    await closed;
    assert.ok(!existsSync(lockOf(file)));
  }
});

test('of several processes that find a stale lock one gets it', async () => {
  const file = join(folder, 'raced');
  const killed = holder(file);
  await killed.said;
  killed.child.kill('SIGKILL');
  await killed.closed;
  const racers = Array.from({ length: 5 }, () => holder(file));
  const answers = await Promise.all(racers.map(({ said }) => said));
  const winner = racers[answers.indexOf('held')]?.child as ChildProcess;
  assert.equal(answers.filter((answer) => answer === 'held').length, 1, answers.join('\n'));
  for (const answer of answers) {
    assert.ok(answer === 'held' || answer.includes(`process ${winner.pid} on`), answer);
  }
  for (const { child } of racers) child.kill('SIGKILL');
  await Promise.all(racers.map(({ closed }) => closed));
});

test('a later process with the number of the holder does not hold it', {
  skip: process.platform !== 'linux',
}, async () => {
  const file = join(folder, 'reused');
  const release = await lockFile(file);
  const { began, ...holder } = JSON.parse(readFileSync(lockOf(file), 'utf8'));
  release();
  written(file, { ...holder, began: `${began}0` });
  (await lockFile(file))();
  written(file, holder); // of a system that does not say when a process began
  await assert.rejects(lockFile(file), inUse(process.pid));
});

test('of another machine nobody here can tell', async () => {
  const file = join(folder, 'elsewhere');
  written(file, { pid: 1, host: 'elsewhere', since });
  await assert.rejects(lockFile(file), inUse(1, 'elsewhere'));
  await assert.rejects(lockFile(file), {
    message: new RegExp(`if there is no such process, remove ${lockOf(file)}$`),
  });
  rmSync(lockOf(file));
});

test('what is no lock is taken away', async () => {
  const file = join(folder, 'damaged');
  for (const text of [
    '',
    '{"pid":',
    '[]',
    { pid: 0, host: hostname(), since },
    { pid: 2 ** 40, host: hostname(), since },
  ]) {
    written(file, text);
    (await lockFile(file))();
    assert.ok(!existsSync(lockOf(file)));
  }
});

test('a place that takes none is named', async () => {
  const inTheWay = join(folder, 'a file');
  writeFileSync(inTheWay, '');
  await assert.rejects(lockFile(join(inTheWay, 'weights')), {
    name: 'DataError',
    message: `could not write ${inTheWay} (it is a file): make room, make the folder writable or use another`,
  });
});
