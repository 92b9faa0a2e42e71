/** One run from start to finished folder: training, evaluation, metrics, pictures, and what to say of it. */
import process from 'node:process';
import { OptionError, TrainingError } from '../errors.ts';
import { adaptToImages, adaptToSines, type CurvePoint, runTraining } from '../experiments/run.ts';
import type { Settings } from '../experiments/settings.ts';
import { evaluationOptions, type Setup } from '../experiments/setup.ts';
import { encodeCheckpoint } from '../meta/checkpoint.ts';
import { compileEvaluation, type Evaluation } from '../meta/evaluate.ts';
import type { TrainingState } from '../meta/train.ts';
import { algorithmNames, aligned, count, describeTask, duration, percent, significant } from './format.ts';
import { Interrupted, untilInterrupted } from './interrupt.ts';
import { machine, peakMemoryMB, type Runtimes, startRuntimes, version } from './machine.ts';
import type { Progress } from './progress.ts';
import { type RunFolder, weightsFile } from './run-folder.ts';

/** A line of `metrics.jsonl` and of `--json`. */
export interface RunEvent {
  readonly event: 'start' | 'progress' | 'evaluation' | 'stopped' | 'result';
}

export interface RunRequest {
  readonly folder: RunFolder;
  readonly progress: Progress;
  /** @default cores, at most as many as tasks run at the same time */
  readonly workers?: number;
  /** @default 'cpu' */
  readonly device?: 'cpu' | 'webgpu';
  readonly onEvent?: (event: RunEvent) => void;
}

/** What a run came to: its last event. */
export interface RunResult
  extends RunEvent,
    Pick<
      Settings,
      'task' | 'algorithm' | 'ways' | 'shots' | 'transductive' | 'metaIterations' | 'evalTasks' | 'seed'
    > {
  readonly event: 'result';
  /** Inner steps taken in training. */
  readonly innerSteps: number;
  /** Without compilation and evaluations. */
  readonly trainSeconds: number;
  readonly innerStepsPerSecond: number;
  /** Of images: on tasks of classes never trained on, with the half-width of its 95% interval. */
  readonly testAccuracy?: number;
  readonly testAccuracyCi95?: number;
  /** Of sines: mean squared error on Figure 1's task, before and after adaptation. */
  readonly mseBefore?: number;
  readonly mseAfter?: number;
  /** Of sines: mean squared error after adaptation to fresh tasks. */
  readonly testMse?: number;
  readonly testMseCi95?: number;
  readonly workers: number;
  readonly device: 'cpu' | 'webgpu';
  readonly totalSeconds: number;
  readonly peakMemoryMB: number;
  readonly out: string;
  /** Names of the files in `out`. */
  readonly files: readonly string[];
}

/**
 * Trains, evaluates on unseen classes and fills the folder. Whatever ends it early, the weights of the
 * last finished meta-iteration are saved and the error says where; if nothing was trained, the folder goes.
 */
export async function performRun(setup: Setup, request: RunRequest): Promise<RunResult> {
  const run = new Run(setup, request);
  try {
    return await untilInterrupted((signal) => run.perform(signal));
  } catch (error) {
    request.progress.stop();
    throw await run.stopped(error);
  }
}

class Run {
  readonly #setup: Setup;
  readonly #request: RunRequest;
  readonly #started = performance.now();
  readonly #lines: string[] = [];
  readonly #curve: CurvePoint[] = [];
  #state: TrainingState | undefined;

  constructor(setup: Setup, request: RunRequest) {
    this.#setup = setup;
    this.#request = request;
  }

  async perform(signal: AbortSignal): Promise<RunResult> {
    const { settings } = this.#setup;
    const { folder, device = 'cpu' } = this.#request;
    const runtimes = await startRuntimes(settings, this.#request);
    try {
      const workers = runtimes.training.parallelism;
      this.#emit({
        event: 'start',
        version,
        settings,
        parameters: this.#setup.model.layout.size,
        workers,
        device,
        out: folder.path,
        machine: machine(),
      });
      const { trainSeconds, innerSteps } = await this.#train(runtimes, signal);
      await this.#save();
      const { measures, evaluation } = await this.#judge(runtimes, signal);
      await this.#draw(evaluation);
      const { task, algorithm, ways, shots, transductive, metaIterations, evalTasks, seed } = settings;
      const result: RunResult = {
        event: 'result',
        ...{ task, algorithm, ways, shots, transductive, metaIterations, innerSteps },
        trainSeconds: rounded(trainSeconds),
        innerStepsPerSecond: Math.round(innerSteps / trainSeconds),
        evalTasks,
        ...measures,
        ...{ seed, workers, device },
        totalSeconds: rounded((performance.now() - this.#started) / 1000),
        peakMemoryMB: peakMemoryMB(),
        out: folder.path,
        files: folder.files.toSorted(),
      };
      this.#emit(result);
      await folder.write('metrics.jsonl', this.#lines.join(''));
      return result;
    } finally {
      this.#request.progress.stop();
      await runtimes.dispose();
    }
  }

  async #train(runtimes: Runtimes, signal: AbortSignal) {
    const { metaIterations, metaBatch, innerSteps, task, evalSteps } = this.#setup.settings;
    const { progress } = this.#request;
    const window = Math.max(1, Math.floor(metaIterations / 100)); // of a progress event
    let lossTotal = 0;
    let note = '';
    progress.start('training', metaIterations);
    return runTraining(this.#setup, {
      runtime: runtimes.training,
      evaluationRuntime: runtimes.evaluation,
      signal,
      onState: (state) => {
        this.#state = state;
      },
      onProgress: ({ iteration, loss, trainSeconds }) => {
        lossTotal += loss;
        if (iteration % window === 0) {
          const meanLoss = lossTotal / window;
          lossTotal = 0;
          if (this.#curve.length === 0) note = `loss ${significant(meanLoss)}`;
          this.#emit({
            event: 'progress',
            iteration,
            metaIterations,
            loss: meanLoss,
            trainSeconds: rounded(trainSeconds),
            innerStepsPerSecond: Math.round((iteration * metaBatch * innerSteps) / trainSeconds),
            residentMB: Math.round(process.memoryUsage.rss() / 2 ** 20),
          });
        }
        progress.update(iteration, note);
      },
      onPause: () => progress.pause('evaluating'),
      onCurvePoint: async (point) => {
        this.#curve.push(point);
        const { iteration, mean, ci95, values } = point;
        const isSine = task === 'sine';
        note = isSine ? `error ${significant(mean)}` : `accuracy ${percent(mean)}`;
        this.#emit({
          event: 'evaluation',
          iteration,
          classes: 'training',
          tasks: values.length,
          evalSteps,
          ...(isSine ? { mse: mean, mseCi95: ci95 } : { accuracy: mean, accuracyCi95: ci95 }),
        });
        if (iteration < metaIterations) await this.#save();
      },
    });
  }

  /** The evaluation at the end, on classes never trained on. */
  async #judge({ evaluation: runtime }: Runtimes, signal: AbortSignal) {
    const { settings } = this.#setup;
    const { progress, folder } = this.#request;
    const start = this.#state!;
    const evaluator = await compileEvaluation(evaluationOptions(this.#setup, { runtime }));
    progress.start('evaluating', settings.evalTasks);
    const evaluation = await evaluator(start, { signal, onProgress: (done) => progress.update(done) });
    progress.stop();
    const { mean, ci95 } = evaluation;
    const { sinePicture, taskPicture } = await import('./pictures.ts');
    if (settings.task !== 'sine') {
      const picture = taskPicture(settings, await adaptToImages(this.#setup, { runtime, start }));
      if (picture !== undefined) await folder.write('task.svg', picture);
      return { evaluation, measures: { testAccuracy: mean, testAccuracyCi95: ci95 } };
    }
    const sines = await adaptToSines(this.#setup, { runtime, start });
    const picture = sinePicture(settings, sines);
    if (picture !== undefined) await folder.write('adaptation.svg', picture);
    const { mseBefore, mseAfter } = sines[0]!;
    return { evaluation, measures: { mseBefore, mseAfter, testMse: mean, testMseCi95: ci95 } };
  }

  /** What to tell of a run that ended early, when what there is of it is saved. */
  async stopped(error: unknown): Promise<unknown> {
    const { folder } = this.#request;
    const iteration = this.#state?.iteration ?? 0;
    if (this.#state === undefined || (error instanceof OptionError && iteration === 0)) {
      await folder.discard();
      return error;
    }
    const reason = error instanceof Interrupted ? 'interrupted' : (error as Error).message;
    this.#emit({ event: 'stopped', iteration, reason, out: folder.path });
    await this.#save();
    await this.#draw();
    const where =
      `the weights after ${count(iteration)} of ${count(this.#setup.settings.metaIterations)} ` +
      `meta-iterations are in ${folder.file(weightsFile)}`;
    if (error instanceof Interrupted) return error.saying(where);
    const Kind = error instanceof TrainingError ? TrainingError : Error;
    return new Kind(`${reason}; ${where}`, { cause: error });
  }

  #emit<E extends RunEvent>(event: E): void {
    this.#lines.push(`${JSON.stringify(event)}\n`);
    this.#request.onEvent?.(event);
  }

  async #save(): Promise<void> {
    const { folder } = this.#request;
    const settings = { ...this.#setup.settings };
    await folder.write(weightsFile, encodeCheckpoint({ ...this.#setup, settings, state: this.#state! }));
    await folder.write('metrics.jsonl', this.#lines.join(''));
  }

  async #draw(end?: Evaluation): Promise<void> {
    const { learningCurvePicture } = await import('./pictures.ts');
    const picture = learningCurvePicture(this.#setup.settings, this.#curve, end);
    if (picture !== undefined) await this.#request.folder.write('learning-curve.svg', picture);
  }
}

/** The result for people. */
export function summary(settings: Settings, result: RunResult): string {
  const { out, files, workers, innerStepsPerSecond: speed } = result;
  const steps = `${count(result.innerSteps)} inner steps in ${duration(result.trainSeconds)}`;
  const threads = workers === 1 ? '1 worker' : `${workers} workers`;
  return [
    `${describeTask(settings)}; ${algorithmNames[settings.algorithm]}, seed ${settings.seed}`,
    '',
    aligned([
      ...measured(settings, result),
      [
        'training',
        `${count(result.metaIterations)} meta-iterations, ${steps} (${count(speed)} a second, ${threads})`,
      ],
      ['saved in', `${out}/`, files.join('  ')],
      ['try next', `npx anole eval ${out} --shots ${settings.shots === 1 ? 5 : 1}`],
    ]),
  ].join('\n');
}

function measured(settings: Settings, result: RunResult): [string, ...string[]][] {
  if (settings.task !== 'sine') {
    const { testAccuracy = 0, testAccuracyCi95 = 0, evalTasks } = result;
    const over = `95% interval over ${count(evalTasks)} tasks of unseen classes`;
    return [['test accuracy', `${percent(testAccuracy)} ± ${percent(testAccuracyCi95)}  (${over})`]];
  }
  const { mseBefore = 0, mseAfter = 0, testMse = 0, testMseCi95 = 0, evalTasks } = result;
  const steps = `${settings.evalSteps} gradient steps`;
  return [
    [
      "Figure 1's task",
      `mean squared error ${significant(mseBefore)} before, ${significant(mseAfter)} after ${steps}`,
    ],
    [
      'fresh waves',
      `${significant(testMse)} ± ${significant(testMseCi95)} after  (95% interval over ${count(evalTasks)} tasks)`,
    ],
  ];
}

function rounded(seconds: number): number {
  return Math.round(1000 * seconds) / 1000;
}
