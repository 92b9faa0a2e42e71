/**
 * How the time and the memory of a meta-iteration grow, as a picture: `npm run bench:scaling`. Each point is
 * a process of its own, so that its peak memory is its own.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { argv, execPath } from 'node:process';
import { parseArgs } from 'node:util';
import { machine, root } from './machine.ts';
import { digits, table } from './report.ts';
import { scalingChart } from './scaling-chart.ts';
import type { PointResult, PointSettings } from './scaling-point.ts';
import { summarize } from './statistics.ts';

const { values: flags } = parseArgs({
  args: argv.slice(2),
  options: {
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    out: { type: 'string', default: 'latest-scaling' },
    picture: { type: 'string', default: 'docs/images/scaling.svg' },
  },
});

/** The paper's Omniglot settings but for twice the training shots, which a batch of 100 needs. */
const base: PointSettings = { innerSteps: 5, innerBatch: 10, metaBatch: 5, ways: 5, workers: 2 };

const values: Readonly<Record<keyof PointSettings, readonly number[]>> = {
  innerSteps: [1, 2, 5, 10, 20],
  innerBatch: [5, 10, 20, 50, 100],
  metaBatch: [1, 2, 5, 10, 20],
  ways: [2, 5, 10, 20],
  workers: [1, 2, 3, 4],
};

const names = Object.keys(values) as (keyof PointSettings)[];
const points = names.flatMap((name) =>
  values[name].map((value) => ({ name, value, settings: { ...base, [name]: value } })),
);

/** Runs in turns over all points, so that noise hits all alike. */
const measured = points.map((): PointResult[] => []);
for (let run = 0; run < Number(flags.runs); run++) {
  for (const [i, { name, value, settings }] of points.entries()) {
    const file = join(root, 'dist/bench/scaling-point.js');
    const text = execFileSync(execPath, [file, JSON.stringify(settings), flags.seconds], {
      encoding: 'utf8',
    });
    const result = JSON.parse(text) as PointResult;
    measured[i]!.push(result);
    console.log(`${name} ${value}: ${digits(result.ms)} ms, ${digits(result.peakMB)} MB`);
  }
}
const results = points.map(({ name, value }, i) => ({
  name,
  value,
  ms: summarize(measured[i]!.map(({ ms }) => ms)),
  peakMB: summarize(measured[i]!.map(({ peakMB }) => peakMB)),
}));

const here = machine();
const chart = scalingChart(
  results.map(({ name, value, ms, peakMB }) => ({ name, value, ms: ms.median, peakMB: peakMB.median })),
  {
    base,
    subtitle: `Omniglot network, Reptile, ${here.cores} cores; otherwise k = 5, batch 10, meta-batch 5, 5 ways, 2 workers`,
  },
);
const picture = join(root, flags.picture);
await mkdir(dirname(picture), { recursive: true });
await writeFile(picture, chart);
const file = join(root, 'bench/results', `${flags.out}.json`);
await mkdir(dirname(file), { recursive: true });
const record = { name: flags.out, date: new Date().toISOString(), machine: here, base, results };
await writeFile(file, `${JSON.stringify(record, null, 2)}\n`);
console.log(
  table([
    ['', 'value', 'ms a meta-iteration', 'peak MB'],
    ...results.map(({ name, value, ms, peakMB }) => [
      name,
      String(value),
      digits(ms.median),
      digits(peakMB.median),
    ]),
  ]),
);
console.log(`written to ${picture} and ${file}`);
