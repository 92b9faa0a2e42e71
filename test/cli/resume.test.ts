/** Runs that are stopped, killed and gone on with end in the same bits as runs left alone. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Random } from '../../src/data/random.ts';
import { decodeCheckpoint } from '../../src/meta/checkpoint.ts';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-resume-'));
after(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** When to end a process outright: so many milliseconds after it printed a line. */
interface Kill {
  readonly after: number;
  /** @default its start */
  readonly line?: RegExp | undefined;
}

async function anole(args: string, kill?: Kill): Promise<Ended> {
  const child = spawn(process.execPath, [main, ...args.split(' ')], { cwd: folder });
  const ended = { stdout: '', stderr: '' };
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  const killed = async ({ after }: Kill) => {
    await Promise.race([closed, setTimeout(after)]);
    child.kill('SIGKILL');
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    ended.stdout += text;
    if (kill?.line?.test(text)) killed(kill);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    ended.stderr += text;
  });
  if (kill !== undefined && kill.line === undefined) await killed(kill);
  return { code: await closed, ...ended };
}

function weights(run: string): Buffer {
  return readFileSync(join(folder, run, 'weights.safetensors'));
}

type Json = Readonly<Record<string, unknown>>;

/** The lines of the metrics without what differs from time to time: seconds, memory, and where it was resumed. */
function metrics(run: string): Json[] {
  const text = readFileSync(join(folder, run, 'metrics.jsonl'), 'utf8');
  assert.ok(text.endsWith('\n'));
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Json); // all of them are whole
  return lines
    .filter(({ event }) => event !== 'resumed' && event !== 'stopped')
    .map(
      ({ trainSeconds, totalSeconds, innerStepsPerSecond, residentMB, peakMemoryMB, out, ...rest }) => rest,
    );
}

function sameAsAlone(run: string, alone: string): void {
  assert.ok(weights(run).equals(weights(alone)), 'the weights differ');
  assert.deepEqual(metrics(run), metrics(alone));
  const names = (of: string) => readdirSync(join(folder, of)).sort();
  assert.deepEqual(names(run), names(alone));
  const curve = (of: string) => readFileSync(join(folder, of, 'learning-curve.svg'), 'utf8');
  assert.equal(curve(run), curve(alone));
}

/** Adam inside and outside, moments carried, several tasks an outer step: everything a state can hold. */
const glyphs =
  'glyphs --ways 2 --shots 1 --train-shots 4 --inner-batch 3 --inner-iters 3 --meta-batch 2 --meta-iters 90 ' +
  '--outer-optimizer adam --meta-step 0.001 --sampling replacement --workers 1 ' +
  '--eval-iters 2 --eval-tasks 8 --eval-every 10';
const sine =
  'sine --meta-iters 12000 --eval-tasks 10 --eval-every 2500 --algorithm fomaml --inner-optimizer adam';

describe('a run that is killed', () => {
  it('at twenty random moments goes on to the same bits and metrics', async (context) => {
    assert.equal((await anole(`train ${sine} --out alone`)).code, 0);
    const random = Random.stream(0, 'when to kill');
    const start = `train ${sine} --out killed --checkpoint-every 0.01 --json`;
    const path = join(folder, 'killed', 'weights.safetensors');
    const reached: number[] = [];
    for (let kill = 0; kill < 20; kill++) {
      const resume = 'train --resume killed --checkpoint-every 0.01 --json';
      const phase = [/"progress"/, /"progress"/, /"progress"/, /"(start|resumed)"/, undefined][kill % 5];
      const moment = { after: random.uniform(0, phase === undefined ? 300 : 120), line: phase };
      if (!existsSync(path)) rmSync(join(folder, 'killed'), { recursive: true, force: true });
      await anole(existsSync(path) ? resume : start, moment);
      if (!existsSync(path)) continue;
      const checkpoint = decodeCheckpoint(readFileSync(path), path); // it is whole
      reached.push(checkpoint.iteration);
    }
    context.diagnostic(`killed at ${reached.join(', ')}`);
    assert.deepEqual(
      reached,
      reached.toSorted((a, b) => a - b),
    );
    assert.ok(new Set(reached).size >= 5, 'most kills came before training');
    const end = await anole('train --resume killed');
    assert.deepEqual({ code: end.code, stderr: end.stderr }, { code: 0, stderr: '' });
    sameAsAlone('killed', 'alone');
  });

  it('with every kind of state, too', async () => {
    assert.equal((await anole(`train ${glyphs} --out glyphs-alone`)).code, 0);
    const path = join(folder, 'glyphs-killed', 'weights.safetensors');
    const moment = { after: 0, line: /"evaluation","iteration":10,/ };
    await anole(`train ${glyphs} --out glyphs-killed --checkpoint-every 0 --json`, moment);
    const { iteration } = decodeCheckpoint(readFileSync(path), path);
    assert.ok(iteration >= 9 && iteration < 90);
    assert.equal((await anole('train --resume glyphs-killed --workers 2')).code, 0);
    const [, ...others] = metrics('glyphs-killed'); // the number of workers is a fact of its own
    const [, ...alone] = metrics('glyphs-alone');
    const end = { ...others.pop(), workers: 1 };
    assert.deepEqual([...others, end], alone);
    assert.ok(weights('glyphs-killed').equals(weights('glyphs-alone')));
  });

  it('loses no more than what came after its last checkpoint, however the metrics ended', async () => {
    const moment = { after: 0, line: /"evaluation","iteration":5000,/ };
    await anole(`train ${sine} --out torn --json`, moment);
    const path = join(folder, 'torn', 'metrics.jsonl');
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"event":"progr`);
    writeFileSync(join(folder, 'torn', `weights.safetensors.${randomUUID()}.tmp`), 'half of a checkpoint');
    assert.equal((await anole('train --resume torn')).code, 0);
    sameAsAlone('torn', 'alone');
  });
});

describe('a run that is interrupted', () => {
  it('goes on, and a finished one is shown again', async () => {
    const child = spawn(process.execPath, [main, ...`train ${sine} --out stopped --json`.split(' ')], {
      cwd: folder,
    });
    let interrupted = false; // a second signal would end it without saving
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (!interrupted && text.includes('"progress"')) interrupted = child.kill('SIGINT');
    });
    assert.equal(await new Promise((resolve) => child.on('close', resolve)), 130);
    const left = readFileSync(join(folder, 'stopped', 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n');
    const lastLine = JSON.parse(left.at(-1)!) as Json;
    assert.equal(lastLine.event, 'stopped');
    const path = join(folder, 'stopped', 'weights.safetensors');
    assert.equal(decodeCheckpoint(weights('stopped'), path).iteration, lastLine.iteration);
    // The run says where it computes, not what was configured since.
    writeFileSync(join(folder, 'anole.config.json'), '{ "device": "webgpu", "tensorboard": true }');
    const resumed = await anole('train --resume stopped');
    rmSync(join(folder, 'anole.config.json'));
    assert.equal(resumed.code, 0, resumed.stderr);
    sameAsAlone('stopped', 'alone');

    const bytes = weights('stopped');
    const lines = readFileSync(join(folder, 'stopped', 'metrics.jsonl'), 'utf8');
    const { code, stdout } = await anole('train --resume stopped/weights.safetensors --json');
    assert.equal(code, 0);
    assert.equal(stdout, `${lines.trimEnd().split('\n').at(-1)}\n`);
    assert.ok(weights('stopped').equals(bytes));
    assert.equal(readFileSync(join(folder, 'stopped', 'metrics.jsonl'), 'utf8'), lines);

    renameSync(join(folder, 'stopped/weights.safetensors'), join(folder, 'stopped/mine.safetensors'));
    const renamed = await anole('train --resume stopped/mine.safetensors');
    assert.equal(renamed.code, 2);
    assert.match(renamed.stderr, /--resume: .* from its weights.safetensors, got stopped\/mine.safetensors/);
    assert.equal(readFileSync(join(folder, 'stopped', 'metrics.jsonl'), 'utf8'), lines);
  });
});

describe('going on with other settings', () => {
  const refusals: readonly (readonly [args: string, code: number, message: RegExp])[] = [
    [
      'train --resume RUN --inner-lr 0.1 --meta-iters 14000',
      2,
      /^error: --resume: \S+ was trained with --inner-lr 0\.02, not 0\.1; --meta-iters 12000, not 14000: leave that out, or allow it with --allow-changes\n$/,
    ],
    [
      'train --resume RUN --preset sine',
      2,
      /--inner-optimizer: \S+ was trained with adam, not sgd, and this can not change/,
    ],
    [
      'train --resume RUN --seed 3 --allow-changes',
      2,
      /--seed: \S+ was trained with 0, not 3, and this can not/,
    ],
    ['train glyphs --resume RUN', 2, /task: RUN is a run of sine, not of glyphs: leave the task out/],
    ['train --resume RUN --out other', 2, /--out: a run that is gone on with stays in its folder/],
    ['train --resume RUN --meta-iters 5 --allow-changes', 2, /--meta-iters: \S+ has 12000 done already/],
    [
      'train --resume RUN --inner-optimizer sgd --allow-changes',
      2,
      /--inner-optimizer: .* can not change \(the other has another state\): leave it out/,
    ],
  ];
  for (const [args, code, message] of refusals) {
    it(`${args} is refused and changes nothing`, async () => {
      const before = readdirSync(join(folder, 'alone')).map((name) => [
        name,
        readFileSync(join(folder, 'alone', name), 'utf8'),
      ]);
      const ended = await anole(args.replace('RUN', 'alone'));
      assert.match(ended.stderr.replaceAll('alone is', 'RUN is'), message);
      assert.equal(ended.code, code);
      const now = readdirSync(join(folder, 'alone')).map((name) => [
        name,
        readFileSync(join(folder, 'alone', name), 'utf8'),
      ]);
      assert.deepEqual(now, before);
    });
  }

  it('is possible when it is asked for', async () => {
    cpSync(join(folder, 'alone'), join(folder, 'longer'), { recursive: true });
    const { code, stdout } = await anole('train --resume longer --meta-iters 14000 --allow-changes --json');
    assert.equal(code, 0);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Json);
    assert.equal(lines[0]!.event, 'resumed');
    assert.deepEqual(lines[0]!.changes, ['metaIterations 12000 → 14000']);
    const end = lines.at(-1)!;
    assert.equal(end.metaIterations, 14_000);
    assert.ok(Number(end.trainSeconds) > 0 && Number(end.totalSeconds) > Number(end.trainSeconds));
    assert.equal(metrics('longer').filter(({ event }) => event === 'result').length, 2);
    const again = await anole('train --resume longer --meta-iters 14000 --inner-lr 0.02 --json');
    assert.equal(again.stdout.trim(), stdout.trim().split('\n').at(-1));
  });
});

describe('a disk that takes no more', () => {
  it('ends the run with the file and the remedy, and leaves the last checkpoint whole', async () => {
    const moment = { after: 0, line: /"evaluation","iteration":2500,/ };
    await anole(`train ${sine} --out full --json`, moment);
    const metricsPath = join(folder, 'full', 'metrics.jsonl');
    const kept = readFileSync(metricsPath, 'utf8');
    const bytes = weights('full');
    rmSync(metricsPath);
    symlinkSync('/dev/full', metricsPath);
    const { code, stderr } = await anole('train --resume full');
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: could not write full\/metrics\.jsonl \(the disk is full\): make room .*\n$/,
    );
    assert.deepEqual(readdirSync(join(folder, 'full')).sort(), ['metrics.jsonl', 'weights.safetensors']);
    rmSync(metricsPath);
    writeFileSync(metricsPath, kept);
    const path = join(folder, 'full', 'weights.safetensors');
    assert.equal(decodeCheckpoint(weights('full'), path).iteration, decodeCheckpoint(bytes, path).iteration);
    assert.equal((await anole('train --resume full')).code, 0);
    sameAsAlone('full', 'alone');
  });

  it('too small for a checkpoint leaves nothing of a new run', async () => {
    const command = `ulimit -f 8; exec "$0" "$@"`; // files of at most 8 blocks of 1 kB
    const args = ['-c', command, process.execPath, main, ...`train ${sine} --out small`.split(' ')];
    const { status, stderr } = spawnSync('bash', args, { cwd: folder, encoding: 'utf8' });
    assert.match(
      stderr,
      /^error: could not write small\/weights\.safetensors \(files may not be that large here\): make room .*\n$/,
    );
    assert.equal(status, 1);
    assert.ok(!existsSync(join(folder, 'small')));
  });
});
