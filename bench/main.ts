/**
 * The benchmark: `npm run bench`, and `npm run bench:peer` with PyTorch beside it. See README.md here.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import process, { argv, exit } from 'node:process';
import { parseArgs } from 'node:util';
import { type ImageSplit, loadOmniglot, omniglotSplit } from '../src/node.ts';
import { type Context, measure, type Variant, type Work } from './harness.ts';
import { machine, root } from './machine.ts';
import { findPython, Peer, type PeerDescription } from './peer.ts';
import { targetReport, workReport } from './report.ts';
import { largestDifference, resultOf, type WorkResult } from './results.ts';
import { works } from './works/index.ts';
import { peakVariant } from './works/peak.ts';

const help = `npm run bench [-- options], npm run bench:peer [-- options]

  --only REGEX     only works whose name matches, such as 'omniglot-step/10$'
  --runs N         measurements of each (default 7)
  --seconds S      how long a measurement takes at least (default 0.4)
  --data FOLDER    Omniglot's archives (default ../shared/data/omniglot if there, else where they are fetched to)
  --out NAME       write bench/results/NAME.json (default latest)
  --plain          PyTorch as it comes: its own optimizers, channels-last where faster, nothing tuned by hand
  --list           only name the works
`;

/** How far ours and the peer may be apart, relative. */
const tolerance = 1e-3;

const { values: flags } = parseArgs({
  args: argv.slice(2),
  options: {
    only: { type: 'string', default: '' },
    runs: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '0.4' },
    data: { type: 'string' },
    out: { type: 'string', default: 'latest' },
    peer: { type: 'boolean', default: false },
    plain: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  if (flags.help) return console.log(help);
  const chosen = works.filter(
    ({ name, peer }) => new RegExp(flags.only).test(name) && (!flags.peer || peer !== undefined),
  );
  if (flags.list || chosen.length === 0) {
    if (chosen.length === 0) console.error(`no work matches ${flags.only}; there are:`);
    const listed = chosen.length === 0 ? works : chosen;
    return console.log(listed.map(({ name, measures }) => `${name}: ${measures}`).join('\n'));
  }
  const peer = flags.peer ? startPeer() : undefined;
  const runs = Number(flags.runs);
  const scratch = await mkdtemp(join(tmpdir(), 'anole-bench-'));
  const here = machine();
  console.log(
    `${here.cpu}, ${here.cores} cores, ${here.memoryGB} GB; Node ${here.node}, ` +
      `onnxruntime ${here.onnxruntime}, ${here.compiler}, anole ${here.commit}`,
  );
  const peaks = new Map<number, Promise<Variant & { shape: string }>>();
  try {
    const peerDescription = await peer?.describe();
    if (peerDescription !== undefined) introduce(peerDescription);
    const context = contextOf(scratch);
    const results: WorkResult[] = [];
    const skipped: { name: string; reason: string }[] = [];
    for (const work of chosen) {
      const reason = await work.unavailable?.(context);
      if (reason !== undefined) {
        console.log(`\n${work.name}: skipped: ${reason}`);
        skipped.push({ name: work.name, reason });
        continue;
      }
      try {
        const result = await perform(work, { context, runs, peer, peaks });
        results.push(result);
        console.log(`\n${workReport(result)}`);
      } catch (error) {
        console.error(`\n${work.name}: failed:`, error);
        skipped.push({ name: work.name, reason: (error as Error).message });
        process.exitCode = 1;
      }
    }
    console.log(`\n${targetReport(results)}`);
    const shapes = await Promise.all(
      [...peaks].map(async ([cores, peak]) => [`peak-${cores}`, (await peak).shape]),
    );
    await save({
      machine: here,
      peer: peerDescription,
      options: { runs, seconds: context.seconds },
      peakShapes: Object.fromEntries(shapes),
      results,
      skipped,
    });
  } finally {
    for (const peak of peaks.values()) await (await peak).close?.();
    await peer?.close();
    await rm(scratch, { recursive: true, force: true });
  }
}

interface Means {
  readonly context: Context;
  readonly runs: number;
  readonly peer?: Peer;
  /** By cores; found when they are first needed. */
  readonly peaks: Map<number, Promise<Variant & { shape: string }>>;
}

async function perform(work: Work, { context, runs, peer, peaks }: Means): Promise<WorkResult> {
  const ours = await work.ours(context);
  const comparison = peer === undefined ? undefined : await work.peer?.(context);
  const seconds = comparison?.seconds ?? context.seconds;
  const theirs = comparison === undefined ? undefined : await peer!.prepare(comparison.work, seconds);
  let difference: number | undefined;
  if (comparison?.expected !== undefined) {
    const { expected } = comparison;
    difference = Math.max(...(await theirs!.check()).map((found) => largestDifference(expected, found)));
    if (!(difference <= tolerance)) {
      throw new Error(`${work.name}: ours and the peer differ by ${difference}, more than ${tolerance}`);
    }
  }
  const peak: Variant[] = [];
  if (work.flops !== undefined) for (const variant of ours) peak.push(await peakOf(variant)); // one after the other
  const paired = [...ours, ...(theirs?.variants ?? [])];
  const variants = await measure([...paired, ...peak], Math.min(runs, work.runs ?? runs));
  for (const { close } of paired) await close?.();
  return resultOf(work, variants, theirs && { choices: theirs.choices, difference });

  async function peakOf({ name }: Variant): Promise<Variant> {
    const cores = Number(name.slice('ours-'.length));
    if (!peaks.has(cores)) peaks.set(cores, peakVariant(cores, context.seconds / 2));
    return peaks.get(cores)!;
  }
}

function contextOf(scratch: string): Context {
  const beside = join(root, '../shared/data/omniglot');
  const data = flags.data ?? (existsSync(beside) ? beside : undefined);
  let split: Promise<ImageSplit> | undefined;
  return {
    seconds: Number(flags.seconds),
    data,
    scratch,
    omniglot: () => {
      split ??= loadOmniglot({ data }).then((images) => omniglotSplit(images, 0));
      return split;
    },
  };
}

function startPeer(): Peer {
  const python = findPython();
  if (python === undefined) {
    console.log(
      'skipped: there is no PyTorch to compare with: apt-get install python3-torch libopenblas0-pthread',
    );
    exit(0);
  }
  return new Peer(python, flags.plain);
}

function introduce({ torch, python, blas, oneDnn, productSpeed }: PeerDescription): void {
  console.log(
    `PyTorch ${torch}, Python ${python}; oneDNN ${oneDnn ? 'yes' : 'NO'}; ` +
      `BLAS ${blas.join(' ') || 'built in'}, ${productSpeed.toFixed(0)} GFLOP/s`,
  );
  // Others may be loaded too, for LAPACK; the products go to the file that libblas.so.3 is.
  if (blas.some((file) => /libblas\.so/.test(file) && !/openblas|mkl|blis|atlas/.test(file))) {
    console.warn(
      'WARNING: PyTorch uses the reference BLAS here, so its matrix products crawl and ratios mean nothing: ' +
        'apt-get install libopenblas0-pthread',
    );
  }
}

async function save(record: object): Promise<void> {
  const file = join(root, 'bench/results', `${flags.out}.json`);
  await mkdir(dirname(file), { recursive: true });
  const named = { name: flags.out, date: new Date().toISOString(), ...record };
  const text = JSON.stringify(named, (_, value) => (value instanceof RegExp ? value.source : value), 2);
  await writeFile(file, `${text}\n`);
  console.log(`written to ${file}`);
}

await main();
