/** `anole eval`: evaluates saved weights, with other shots, steps or tasks than they were trained for. */
import { Command } from 'commander';
import { OptionError } from '../errors.ts';
import { type HeadStart, withHead } from '../experiments/heads.ts';
import { adaptToSines } from '../experiments/run.ts';
import { checkSettings, type Settings } from '../experiments/settings.ts';
import { evaluationOptions, layoutFor, type Setup, setUp } from '../experiments/setup.ts';
import { decodeWeights } from '../experiments/weights.ts';
import type { Initialization } from '../meta/adapt.ts';
import { compileEvaluation, type Evaluation } from '../meta/evaluate.ts';
import type { Provider } from '../runtime/runtime.ts';
import { readConfiguration, withMachine } from './configuration.ts';
import { algorithmNames, aligned, counted, describeTask, significant, withInterval } from './format.ts';
import { readImages } from './images.ts';
import { untilInterrupted } from './interrupt.ts';
import { startRuntimes } from './machine.ts';
import { addEvalFlags, type CommonFlags, evaluationSettings } from './options.ts';
import { type Progress, terminalProgress } from './progress.ts';
import { readModelFile } from './saved-run.ts';

type EvalFlags = CommonFlags &
  Partial<Pick<Settings, (typeof evaluationSettings)[number] | 'seed'>> & { readonly head?: HeadStart };

export function evalCommand(): Command {
  const command = new Command('eval')
    .summary('evaluate saved weights with other ways, shots, steps or tasks')
    .description(
      'Adapts saved weights to fresh tasks of classes they were not trained on, and judges them before and\n' +
        'after. Without flags it repeats the evaluation at the end of a run, number for number.',
    )
    .argument('<weights>', 'folder of a run, a file of weights, or the name of shipped ones');
  return addEvalFlags(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  anole eval runs/demo/glyphs                     as it was trained',
        '  anole eval runs/demo/glyphs --shots 1           from a single example a class',
        '  anole eval runs/demo/glyphs --transductive --eval-tasks 2000 --json',
        '  anole eval glyphs-5way --ways 10 --head fresh --eval-batch 10',
      ].join('\n'),
    )
    .action(evaluateRun);
}

async function evaluateRun(run: string, given: EvalFlags): Promise<void> {
  // Its settings are those of the training: without flags it repeats the evaluation there.
  const flags = withMachine(given, await readConfiguration(given.config));
  const { path, bytes } = await readModelFile(run);
  const { settings: trained, start: weights, made } = decodeWeights(bytes, path);
  const settings = adjusted(trained, flags);
  const progress = terminalProgress(flags);
  const setup = setUp(settings, await readImages(trained, { data: flags.data, progress }), 'evaluate');
  const { head = 'trained' } = flags;
  const modelFor = (ways: number) => layoutFor({ ...settings, ways }).model;
  const start = withHead(weights, { modelFor, from: trained.ways, to: settings.ways, head });
  const seed = flags.seed ?? settings.seed;
  const result = await untilInterrupted((signal) =>
    judge(setup, { start, seed, progress, signal, workers: flags.workers, device: flags.device }),
  );
  const iteration = Number(made.metaIterations);
  const facts = { settings, seed, path, iteration, head, ...result };
  console.log(flags.json ? JSON.stringify(resultEvent(facts)) : summary(facts));
}

/** The settings of the training with what the flags change of the evaluation. */
function adjusted(trained: Settings, flags: EvalFlags): Settings {
  const { ways = trained.ways, head = 'trained' } = flags;
  if (trained.task === 'sine' && (flags.ways !== undefined || flags.head !== undefined)) {
    throw new OptionError(
      `${flags.ways === undefined ? 'head' : 'ways'}: a sine belongs to no class: leave it out`,
    );
  }
  if (head === 'trained' && ways > trained.ways) {
    throw new OptionError(
      `ways: the weights have an output for each of ${trained.ways} classes: ` +
        `train with --ways ${ways}, or pass --head fresh for a new last layer`,
    );
  }
  const changed = Object.fromEntries(
    evaluationSettings.flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]])),
  );
  const settings = { ...trained, ...changed };
  const fitting = Math.min(settings.evalBatch, settings.ways * settings.shots);
  return checkSettings({ ...settings, evalBatch: flags.evalBatch ?? fitting });
}

interface Judgement {
  readonly before: Evaluation;
  readonly after: Evaluation;
  /** Of sines: on Figure 1's task. */
  readonly mseBefore?: number;
  readonly mseAfter?: number;
}

async function judge(
  setup: Setup,
  options: {
    readonly start: Initialization;
    readonly seed: number;
    readonly progress: Progress;
    readonly signal: AbortSignal;
    readonly workers?: number;
    readonly device?: Provider;
  },
): Promise<Judgement> {
  const { start, seed, progress, signal } = options;
  const { settings } = setup;
  const runtimes = await startRuntimes({ ...settings, metaBatch: settings.evalTasks }, options);
  try {
    const runtime = runtimes.evaluation;
    const evaluator = await compileEvaluation(evaluationOptions(setup, { runtime, seed }));
    const untouched = await compileEvaluation(evaluationOptions(setup, { runtime, seed, evalSteps: 0 }));
    progress.start('evaluating', settings.evalTasks);
    const after = await evaluator(start, { signal, onProgress: (done) => progress.update(done) });
    const before = await untouched(start, { signal });
    if (settings.task !== 'sine') return { before, after };
    const [{ mseBefore, mseAfter }] = await adaptToSines(setup, { runtime, start });
    return { before, after, mseBefore, mseAfter };
  } finally {
    progress.stop();
    await runtimes.dispose();
  }
}

interface Facts extends Judgement {
  readonly settings: Settings;
  /** Of the evaluation's tasks. */
  readonly seed: number;
  readonly path: string;
  /** Meta-iterations the weights were trained for. */
  readonly iteration: number;
  readonly head: HeadStart;
}

/** The one line of `--json`. */
function resultEvent({ settings, seed, path, iteration, head, before, after, mseBefore, mseAfter }: Facts) {
  const { task, algorithm, ways, shots, transductive, evalSteps, evalBatch, evalTasks } = settings;
  const measures =
    task === 'sine'
      ? {
          ...{ mseBefore, mseAfter },
          ...{ testMseBefore: before.mean, testMseBeforeCi95: before.ci95 },
          ...{ testMse: after.mean, testMseCi95: after.ci95 },
        }
      : {
          ...{ testAccuracyBefore: before.mean, testAccuracyBeforeCi95: before.ci95 },
          ...{ testAccuracy: after.mean, testAccuracyCi95: after.ci95 },
        };
  return {
    event: 'result',
    ...{ task, algorithm, ways, shots, transductive, metaIterations: iteration },
    ...{ evalSteps, evalBatch, evalTasks },
    ...(task === 'sine' ? {} : { head }),
    ...measures,
    ...{ seed, weights: path },
  };
}

function summary({ settings, path, iteration, head, before, after, mseBefore, mseAfter }: Facts): string {
  const { task, algorithm, evalSteps } = settings;
  return [
    `${describeTask(settings)}; ${algorithmNames[algorithm]}, ${counted(iteration, 'meta-iteration')}${head === 'fresh' ? ', a fresh last layer' : ''} (${path})`,
    '',
    aligned([
      ...(mseBefore === undefined || mseAfter === undefined
        ? []
        : [
            [
              "Figure 1's task",
              `mean squared error ${significant(mseBefore)} before, ${significant(mseAfter)} after`,
            ] as const,
          ]),
      [task === 'sine' ? 'error before' : 'accuracy before', withInterval(before, settings)],
      [`after ${counted(evalSteps, 'step')}`, withInterval(after, settings)],
    ]),
  ].join('\n');
}
