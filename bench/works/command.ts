/** The command line from outside: how soon it trains, and how much memory it takes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { env, execPath } from 'node:process';
import { createInterface } from 'node:readline';
import { rules } from '../../src/experiments/settings.ts';
import type { Context, Variant, Work } from '../harness.ts';
import { root } from '../machine.ts';
import { omniglotMissing } from './omniglot-data.ts';

interface Run {
  readonly task: string;
  readonly flags: readonly string[];
  readonly data?: string;
  /** Folder of the decoded images. */
  readonly cache: string;
  readonly scratch: string;
}

/** Loaded into the command: says at its end how much memory it had at most, in KB. */
const reportMemory =
  "data:text/javascript,import { writeSync } from 'node:fs';" +
  "process.on('exit', () => writeSync(2, 'maxRSS ' + process.resourceUsage().maxRSS + '\\n'));";

async function start({ task, flags, data, cache, scratch }: Run) {
  const command = ['--import', reportMemory, join(root, 'dist/src/cli/main.js'), 'train', task];
  const out = join(await mkdtemp(join(scratch, 'run-')), 'run');
  const options = [...flags, '--json', '--quiet', '--out', out, ...(data ? ['--data', data] : [])];
  const started = performance.now();
  const child = spawn(execPath, [...command, ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env, ANOLE_CACHE: cache },
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  return { child, started, ended, stderr: () => stderr };
}

/** Seconds from the start of the process to the end of the first meta-iteration. */
async function secondsToFirstIteration(run: Run): Promise<number> {
  const { child, started, ended, stderr } = await start(run);
  for await (const line of createInterface(child.stdout)) {
    if ((JSON.parse(line) as { event: string }).event !== 'progress') continue;
    const seconds = (performance.now() - started) / 1000;
    child.kill('SIGKILL'); // the rest does not matter
    await ended;
    return seconds;
  }
  throw new Error(`anole train ended before its first meta-iteration: ${stderr()}`);
}

/** Peak resident memory of a whole run, in MB. */
async function peakMemory(run: Run): Promise<number> {
  const { child, ended, stderr } = await start(run);
  child.stdout.resume();
  const [code] = await ended;
  const kilobytes = /^maxRSS (\d+)$/m.exec(stderr())?.[1];
  if (code !== 0 || kilobytes === undefined) throw new Error(`anole train failed: ${stderr()}`);
  return Number(kilobytes) / 1024;
}

// With up to 100 meta-iterations each is reported. Without a curve nothing is evaluated before the first.
const brief = ['--meta-iters', '100', '--eval-tasks', '1'];

function startUp(name: string, measures: string, cold: boolean, flags: readonly string[]): Work {
  return {
    name: `start-up/${name}`,
    measures: `anole train omniglot, from the start of the process to the first meta-iteration, ${measures}`,
    unit: 's',
    runs: 5,
    unavailable: omniglotMissing,
    async ours({ data, scratch }: Context): Promise<Variant[]> {
      const newCache = () => mkdtemp(join(scratch, 'cache-'));
      const run = { task: 'omniglot', flags: [...brief, ...flags], data, scratch };
      const kept = await newCache();
      await secondsToFirstIteration({ ...run, cache: kept }); // files are in memory, the cache is made
      const sample = async () => secondsToFirstIteration({ ...run, cache: cold ? await newCache() : kept });
      return [{ name: 'anole train', sample }];
    },
  };
}

function memory(task: string, data: (context: Context) => string | undefined, work: Partial<Work>): Work {
  return {
    name: `memory/${task}`,
    measures: `peak resident memory of anole train ${task}, 50 meta-iterations and a small evaluation`,
    unit: 'MB',
    runs: 3,
    async ours(context: Context): Promise<Variant[]> {
      const { scratch } = context;
      const cache = await mkdtemp(join(scratch, 'cache-'));
      const flags = ['--meta-iters', '50', '--eval-tasks', '20', '--eval-every', '0'];
      const run = { task, flags, data: data(context), scratch, cache };
      await peakMemory(run); // the cache is made
      return [{ name: 'anole train', sample: () => peakMemory(run) }];
    },
    ...work,
  };
}

const miniImagenet = rules.task.choices!.find((name) => /mini/.test(name));
const miniImagenetData = join(root, '../shared/data/mini-imagenet');

export const commandWorks: readonly Work[] = [
  startUp('warm', 'images from the cache, no learning curve', false, ['--eval-every', '0']),
  startUp('cold', 'images decoded, no learning curve', true, ['--eval-every', '0']),
  startUp('warm-curve', 'images from the cache, after the first point of the learning curve', false, []),
  memory('omniglot', ({ data }) => data, { unavailable: omniglotMissing }),
  memory(miniImagenet ?? 'mini-imagenet', () => miniImagenetData, {
    unavailable: () => {
      if (miniImagenet === undefined) return 'anole train does not know Mini-ImageNet yet';
      return existsSync(miniImagenetData) ? undefined : `there is no ${miniImagenetData}`;
    },
  }),
];
