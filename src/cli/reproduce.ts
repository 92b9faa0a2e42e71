/** `anole reproduce`: reruns the paper's tables and figures, and sets ours beside the paper's. */
import { join } from 'node:path';
import process from 'node:process';
import { Command, Option } from 'commander';
import { didYouMean, OptionError } from '../errors.ts';
import type {
  Experiment,
  Json,
  Measure,
  Plan,
  Report,
  Row,
  RowGroup,
} from '../experiments/reproduce/experiment.ts';
import { experiments } from '../experiments/reproduce/index.ts';
import { Runner, type UnitProgress } from '../experiments/reproduce/runner.ts';
import { type Rule, wholeNumber } from '../experiments/settings.ts';
import type { ImageSplit } from '../experiments/setup.ts';
import { writeAtomically } from '../files.ts';
import { defaultProvider, nodeRuntime } from '../runtime/node.ts';
import { clock, count, duration, significant } from './format.ts';
import { readImages } from './images.ts';
import { Interrupted, untilInterrupted } from './interrupt.ts';
import { machine, version } from './machine.ts';
import { withValue } from './options.ts';
import { terminalProgress } from './progress.ts';

interface ReproduceFlags {
  readonly scale: number;
  readonly seeds: number;
  readonly out?: string;
  readonly only?: string;
  readonly evalTasks?: number;
  readonly allPoints?: boolean;
  readonly workers?: number;
  readonly data?: string;
  readonly list?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const share: Rule = {
  expected: 'a number above 0, at most 1',
  holds: (value) => Number.isFinite(value) && Number(value) > 0 && Number(value) <= 1,
  numeric: true,
};

export function reproduceCommand(): Command {
  const names = experiments.map(({ name }) => name);
  const width = Math.max(...names.map((name) => name.length));
  return new Command('reproduce')
    .summary('rerun a table or figure of the paper and set ours beside it')
    .description(
      'Reruns an experiment of the paper and prints ours, the paper’s and the difference. Leaves a record\n' +
        '(JSON) and pictures (SVG) in --out. Stop it at any moment: the same command goes on where it was.',
    )
    .argument('<what>', names.join(', '))
    .addOption(number('--scale <x>', 'all iteration counts and evaluation tasks times x', share).default(1))
    .addOption(number('--seeds <n>', 'runs, seeds 0 … n−1; the paper has 3', wholeNumber(1, 100)).default(1))
    .addOption(new Option('--out <folder>', 'record, pictures and state (default: runs/reproduce/<what>)'))
    .addOption(
      new Option(
        '--only <parts>',
        'only units with one of these in their name, such as 5-way/reptile,20-way (default: all)',
      ),
    )
    .addOption(
      number(
        '--eval-tasks <n>',
        'tasks of each evaluation at the end (default: the paper’s, scaled)',
        wholeNumber(2),
      ),
    )
    .addOption(
      new Option('--all-points', 'figure4: every x of the paper (default: those that show the course)'),
    )
    .addOption(
      number(
        '--workers <n>',
        'threads; any number gives the same bits (default: cores)',
        wholeNumber(1, 256),
      ),
    )
    .addOption(
      new Option('--data <folder>', 'folder of the images (default: where `anole data fetch` put them)'),
    )
    .addOption(new Option('--list', 'list the units and what is done of them, and do nothing'))
    .addOption(new Option('--json', 'print the record instead of the table'))
    .addOption(new Option('--quiet', 'no progress on stderr'))
    .addHelpText(
      'after',
      [
        '',
        'Experiments:',
        ...experiments.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
        '',
        'Examples:',
        '  anole reproduce figure1',
        '  anole reproduce table2 --only 5-way/reptile --data ~/omniglot',
        '  anole reproduce figure4 --scale 0.1 --out results/figure4',
      ].join('\n'),
    )
    .action(reproduce);
}

function number(flags: string, text: string, rule: Rule): Option {
  return withValue(new Option(flags, text), rule);
}

async function reproduce(what: string, flags: ReproduceFlags): Promise<void> {
  const experiment = experiments.find(({ name }) => name === what);
  if (experiment === undefined) {
    const names = experiments.map(({ name }) => name);
    throw new OptionError(
      `unknown experiment "${what}"${didYouMean(what, names) || `; there are ${names.join(', ')}`}`,
    );
  }
  const { scale, seeds, evalTasks, allPoints } = flags;
  const plan = experiment.plan({ scale, seeds, evalTasks, allPoints });
  const folder = flags.out ?? join('runs', 'reproduce', scale === 1 ? what : `${what}-at-${scale}`);
  const workers = flags.workers ?? (Number(machine().cores) || 1);
  const progress = new Narrator(flags.quiet === true, plan);
  const loaded = new Map<string, Promise<ImageSplit | undefined>>();
  const open = (signal: AbortSignal) =>
    Runner.open(plan, {
      name: what,
      folder,
      workers,
      signal,
      ...(flags.only === undefined ? {} : { only: flags.only.split(',').filter(Boolean) }),
      startRuntime: ({ workers: threads, apart }) => nodeRuntime({ workers: threads, apart }),
      images: ({ task, seed }) => {
        const key = `${task} ${seed}`;
        if (!loaded.has(key))
          loaded.set(
            key,
            readImages({ task, seed }, { data: flags.data, progress: terminalProgress(flags) }),
          );
        return loaded.get(key)!;
      },
      onProgress: (done) => progress.update(done),
      onUnit: async (unit, { result, seconds }) => {
        progress.say(`${unit.id} done in ${duration(seconds)}${unit.note ? `: ${unit.note(result)}` : ''}`);
        await writeReport(runner!, { experiment, plan, flags, folder, workers });
      },
    });
  let runner: Runner | undefined;
  if (flags.list) {
    const listed = await open(new AbortController().signal);
    for (const unit of listed.chosen) {
      const outcome = listed.outcome(unit);
      console.log(
        `${outcome === undefined ? '      ' : 'done  '}${unit.id}${outcome ? `  ${duration(outcome.seconds)}` : ''}`,
      );
    }
    return;
  }
  try {
    await untilInterrupted(async (signal) => {
      runner = await open(signal);
      progress.start(runner.chosen.length);
      await runner.run();
    });
  } catch (error) {
    progress.stop();
    if (!(error instanceof Interrupted)) throw error;
    throw error.saying(`the same command goes on where it was (${folder})`);
  }
  progress.stop();
  const record = await writeReport(runner!, { experiment, plan, flags, folder, workers });
  if (flags.json) console.log(JSON.stringify(record));
  else console.log(summary(plan, runner!, folder));
}

// -------------------------------------------------------------------------------------- progress

/** Progress on stderr: a live line in a terminal, and else a plain line now and then. */
class Narrator {
  readonly #quiet: boolean;
  readonly #title: string;
  readonly #bar: ReturnType<typeof terminalProgress>;
  readonly #live: boolean;
  #started: number | undefined;
  #spoke = 0;
  #before = -1; // what the line began from

  constructor(quiet: boolean, plan: Plan) {
    this.#quiet = quiet;
    this.#title = plan.title;
    this.#bar = terminalProgress({ quiet });
    this.#live = process.stderr.isTTY === true && !process.env.CI;
  }

  start(units: number): void {
    if (!this.#quiet && !this.#live)
      console.error(`${this.#title}, ${units === 1 ? '1 unit' : `${units} units`}`);
  }

  update({ done, before, total, note }: UnitProgress): void {
    const now = performance.now();
    this.#started ??= now;
    if (this.#live && !this.#quiet) {
      if (before !== this.#before) {
        this.#before = before;
        this.#bar.start('reproducing', Math.round(total), Math.round(before));
      }
      this.#bar.update(Math.round(done), note);
      return;
    }
    if (this.#quiet || now - this.#spoke < 60_000 || done <= before) return;
    this.#spoke = now;
    const left = ((total - done) * (now - this.#started)) / (done - before) / 1000;
    console.error(`${((100 * done) / total).toFixed(1)}%  ${clock(left)} left  ${note}`);
  }

  say(line: string): void {
    if (this.#quiet) return;
    if (this.#live) this.#bar.stop();
    this.#before = -1;
    console.error(line);
  }

  stop(): void {
    this.#bar.stop();
  }
}

// ---------------------------------------------------------------------------------- what is left

interface Recorded {
  readonly experiment: Experiment;
  readonly plan: Plan;
  readonly flags: ReproduceFlags;
  readonly folder: string;
  readonly workers: number;
}

/** Writes the record and the pictures of what is done so far, and returns the record. */
async function writeReport(
  runner: Runner,
  { experiment, plan, flags, folder, workers }: Recorded,
): Promise<Json> {
  const report = runner.report();
  const { drawPicture } = await import('./figures.ts');
  const units = plan.units.map((unit) => ({ unit, outcome: runner.outcome(unit) }));
  const record = {
    experiment: experiment.name,
    title: plan.title,
    version,
    machine: { ...machine(), workers, device: await defaultProvider() },
    options: {
      scale: flags.scale,
      seeds: flags.seeds,
      ...(flags.evalTasks === undefined ? {} : { evalTasks: flags.evalTasks }),
      ...(flags.allPoints ? { allPoints: true } : {}),
      ...(flags.only === undefined ? {} : { only: flags.only }),
    },
    seconds: rounded(runner.seconds),
    cpuSeconds: rounded(runner.cpuSeconds),
    complete: units.every(({ outcome }) => outcome !== undefined),
    rows: report.groups.map(({ title, rows, unit, reference = 'paper' }) => ({
      title,
      unit,
      reference,
      rows: rows.map((row) => ({
        label: row.label,
        ours: row.ours === undefined ? null : { ...row.ours },
        ...(row.remark === undefined ? {} : { remark: row.remark }),
        [reference]: row.paper === undefined ? null : { ...row.paper },
        difference: differenceOf(row) ?? null,
      })),
    })),
    remarks: [...report.remarks],
    measured: report.measured,
    units: Object.fromEntries(
      units.flatMap(({ unit, outcome }) =>
        outcome === undefined
          ? []
          : [[unit.id, { seconds: rounded(outcome.seconds), settings: unit.settings }]],
      ),
    ),
  } satisfies Json;
  const write = (name: string, content: string) =>
    writeAtomically(join(folder, name), new TextEncoder().encode(content));
  await write(`${experiment.name}.json`, `${JSON.stringify(record, undefined, 1)}\n`);
  for (const [name, picture] of Object.entries(report.pictures)) await write(name, drawPicture(picture));
  return record;
}

function summary(plan: Plan, runner: Runner, folder: string): string {
  const report = runner.report();
  const done = plan.units.filter((unit) => runner.outcome(unit) !== undefined).length;
  const state =
    done === plan.units.length
      ? done === 1
        ? 'its unit is done'
        : `all ${count(done)} units done`
      : `${count(done)} of ${count(plan.units.length)} units done: leave out --only for the others`;
  return [
    plan.title,
    '',
    comparison(report.groups),
    '',
    ...report.remarks.map((remark) => `* ${remark}`),
    '',
    `${state}, ${duration(runner.seconds)} in all, ${duration(runner.cpuSeconds)} on processors; record and pictures in ${folder}/`,
  ].join('\n');
}

/** The table *ours, paper, difference*, group by group. */
export function comparison(groups: Report['groups']): string {
  const lines = groups.flatMap((group): string[][] => {
    const { title, reference = 'paper', rows } = group;
    const spread = rows.some(({ ours }) => ours?.deviation !== undefined);
    const interval = rows.some(({ ours }) => ours?.ci95 !== undefined);
    const compared = rows.some(({ paper }) => paper !== undefined);
    return [
      [
        title,
        'ours',
        ...(spread ? ['± seeds'] : []),
        ...(interval ? ['± 95%'] : []),
        ...(compared ? [reference, 'difference'] : []),
      ],
      ...rows.map((row) => {
        const { label, ours, remark, paper } = row;
        return [
          `  ${label}`,
          ours === undefined ? (remark ?? '–') : shown(ours.value, group),
          ...(spread ? [ours?.deviation === undefined ? '' : shown(ours.deviation, group)] : []),
          ...(interval ? [ours?.ci95 === undefined ? '' : shown(ours.ci95, group)] : []),
          ...(compared
            ? [paper === undefined ? '' : withSpread(paper, group), shownDifference(row, group)]
            : []),
        ];
      }),
      [],
    ];
  });
  while (lines.at(-1)?.length === 0) lines.pop();
  const width = Math.max(...lines.map(([label = '']) => label.length), 0);
  const column = (i: number) => Math.max(10, ...lines.map((line) => (line[i] ?? '').length)) + 2;
  return lines
    .map(([label = '', ...cells]) =>
      `${label.padEnd(width)}${cells.map((cell, i) => cell.padStart(column(i + 1))).join('')}`.trimEnd(),
    )
    .join('\n');
}

function shown(value: number, { unit }: RowGroup): string {
  if (unit === 'percent') return `${(100 * value).toFixed(2)}%`;
  return value !== 0 && Math.abs(value) < 1e-3
    ? value.toExponential(1)
    : value === 0
      ? '0'
      : significant(value).replace('-', '−');
}

function withSpread({ value, deviation }: Measure, group: RowGroup): string {
  return deviation === undefined
    ? shown(value, group)
    : `${shown(value, group)} ± ${shown(deviation, group)}`;
}

function differenceOf({ ours, paper }: Row): number | undefined {
  return ours === undefined || paper === undefined ? undefined : ours.value - paper.value;
}

/** In percentage points of accuracies; for numbers against theory in percent of it. */
function shownDifference(row: Row, group: RowGroup): string {
  const difference = differenceOf(row);
  if (difference === undefined) return '';
  const sign = difference < 0 ? '−' : '+';
  const size = Math.abs(difference);
  if (group.unit === 'percent') return `${sign}${(100 * size).toFixed(2)}`;
  if (group.reference !== 'theory' || row.paper!.value === 0) return `${sign}${shown(size, group)}`;
  return `${sign}${((100 * size) / Math.abs(row.paper!.value)).toFixed(2)}%`.replace(/^−(0\.00%)$/, '$1');
}

function rounded(seconds: number): number {
  return Math.round(10 * seconds) / 10;
}
