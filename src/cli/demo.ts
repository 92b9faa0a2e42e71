/** `anole demo`, which is what `npm start` runs: both kinds of tasks, no data needed. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { requireUnlocked } from '../data/lock.ts';
import { adaptToSines } from '../experiments/run.ts';
import { resolveSettings, type Settings } from '../experiments/settings.ts';
import { evaluationOptions, setUp, trainingOptions } from '../experiments/setup.ts';
import { evaluate } from '../meta/evaluate.ts';
import { initialState } from '../meta/train.ts';
import { defaultProvider } from '../runtime/node.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { aligned, count, duration, percent, significant } from './format.ts';
import { untilInterrupted } from './interrupt.ts';
import { startRuntimes } from './machine.ts';
import { type Progress, terminalProgress } from './progress.ts';
import { performRun, type RunResult } from './run.ts';
import { RunFolder, weightsFile } from './run-folder.ts';

const folder = join('runs', 'demo');

/** Of the glyphs: short enough for two slow cores. */
const short: Partial<Settings> = { shots: 1, metaIterations: 400, evalTasks: 200, evalEvery: 100 };

export function demoCommand(): Command {
  return new Command('demo')
    .summary('see it work: sine waves and drawn characters, no data needed')
    .description(
      'Meta-trains on sine waves and on glyphs, shows what a few gradient steps do before and after, and\n' +
        `leaves pictures in ${folder}. Takes about a minute on two cores.`,
    )
    .option('--quiet', 'no progress on stderr')
    .action(async (flags: { readonly quiet?: boolean }) => {
      const progress = terminalProgress({ quiet: flags.quiet === true });
      await sines(progress);
      console.log('');
      await drawnCharacters(progress);
    });
}

async function sines(progress: Progress): Promise<void> {
  const setup = setUp(resolveSettings({ task: 'sine' }));
  const { settings } = setup;
  console.log('Sine waves: regression from 10 points, as in Figure 1 of the paper');
  const untrained = await fromScratch(settings, async (runtime) => {
    const start = initialState(trainingOptions(setup, runtime));
    const [figure1] = await adaptToSines(setup, { runtime, start });
    return figure1.mseAfter;
  });
  const result = await performRun(setup, {
    folder: await emptied('sine'),
    device: await defaultProvider(),
    progress,
  });
  const steps = `${settings.evalSteps} gradient steps`;
  console.log(
    aligned([
      ['random weights', `mean squared error ${significant(untrained)} after ${steps}`],
      [
        'meta-trained',
        `mean squared error ${significant(result.mseAfter ?? 0)} after ${steps}, ${significant(result.mseBefore ?? 0)} before`,
      ],
      trainingRow(result),
      ['pictures', `${result.out}/adaptation.svg`, `${result.out}/learning-curve.svg`],
    ]),
  );
}

async function drawnCharacters(progress: Progress): Promise<void> {
  const setup = setUp(resolveSettings({ task: 'glyphs', given: short }));
  const { settings } = setup;
  const { ways, evalSteps, evalTasks } = settings;
  console.log(`Glyphs: telling ${ways} drawn characters apart from one example of each`);
  const untrained = await fromScratch(settings, (runtime, signal) => {
    const start = initialState(trainingOptions(setup, runtime));
    progress.start('untrained', evalTasks);
    const onProgress = (done: number) => progress.update(done);
    return evaluate({ ...evaluationOptions(setup, { runtime }), ...start, signal, onProgress });
  }).finally(() => progress.stop());
  const result = await performRun(setup, {
    folder: await emptied('glyphs'),
    device: await defaultProvider(),
    progress,
  });
  const accuracy = (mean = 0, ci95 = 0) =>
    `${percent(mean)} ± ${percent(ci95)} of new characters right after ${evalSteps} gradient steps`;
  console.log(
    aligned([
      ['random weights', accuracy(untrained.mean, untrained.ci95)],
      ['meta-trained', accuracy(result.testAccuracy, result.testAccuracyCi95)],
      trainingRow(result),
      ['pictures', `${result.out}/task.svg`, `${result.out}/learning-curve.svg`],
      ['try next', `npx anole eval ${result.out} --shots 5`],
    ]),
  );
}

function trainingRow(result: RunResult): [string, string] {
  const { metaIterations, trainSeconds, innerStepsPerSecond: speed } = result;
  const time = `${count(metaIterations)} meta-iterations in ${duration(trainSeconds)}`;
  return ['training', `${time}, ${count(speed)} gradient steps a second`];
}

/** Runs `work` before any training, on a runtime of its own. */
function fromScratch<T>(
  settings: Settings,
  work: (runtime: Runtime, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return untilInterrupted(async (signal) => {
    const runtimes = await startRuntimes(settings, {});
    try {
      return await work(runtimes.evaluation, signal);
    } finally {
      await runtimes.dispose();
    }
  });
}

/** The demo's own folder, without what an earlier demo left in it. @throws {DataError} when one is running there */
async function emptied(name: string): Promise<RunFolder> {
  const path = join(folder, name);
  requireUnlocked(join(path, weightsFile));
  await rm(path, { recursive: true, force: true });
  return RunFolder.create(path);
}
