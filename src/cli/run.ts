/** One run from start to finished folder: training, evaluation, metrics, pictures, and what to say of it. */
import { resolve } from 'node:path';
import process from 'node:process';
import { OptionError, TrainingError } from '../errors.ts';
import { DurableTraining } from '../experiments/durable.ts';
import { adaptToImages, adaptToSines } from '../experiments/run.ts';
import type { Settings } from '../experiments/settings.ts';
import { evaluationOptions, type Setup } from '../experiments/setup.ts';
import { compileEvaluation, type Evaluation } from '../meta/evaluate.ts';
import type { Provider } from '../runtime/runtime.ts';
import { BoardLog } from './board-log.ts';
import {
  algorithmNames,
  aligned,
  count,
  counted,
  describeTask,
  duration,
  percent,
  significant,
  withInterval,
} from './format.ts';
import { Interrupted, untilInterrupted } from './interrupt.ts';
import { machine, peakMemoryMB, type Runtimes, startRuntimes, version } from './machine.ts';
import { MetricsLog } from './metrics-log.ts';
import type { Progress } from './progress.ts';
import { metricsFile, type RunFolder, weightsFile } from './run-folder.ts';
import { type RunNotes, readNotes } from './saved-run.ts';

/** A line of `metrics.jsonl` and of `--json`. */
export interface RunEvent {
  readonly event: 'start' | 'resumed' | 'progress' | 'evaluation' | 'stopped' | 'result';
}

export interface RunRequest {
  /** An empty one, or that of a run to go on with. Unlocked at the end. */
  readonly folder: RunFolder;
  readonly progress: Progress;
  /** @default cores, at most as many as tasks run at the same time */
  readonly workers?: number;
  /** @default 'cpu' */
  readonly device: Provider;
  /** Where the images came from, to find them again. */
  readonly data?: string;
  /** The configuration file that settings came from, to tell. */
  readonly configuration?: string;
  /** Whether the numbers go to an event file of TensorBoard, too. @default false */
  readonly tensorboard?: boolean;
  /** See `DurableOptions`. */
  readonly checkpointEvery?: number;
  readonly allowChanges?: boolean;
  /** What the run came to before, where it is one that was finished. */
  readonly before?: Pick<RunResult, 'trainSeconds' | 'totalSeconds'>;
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
  readonly device: Provider;
  readonly totalSeconds: number;
  readonly peakMemoryMB: number;
  readonly out: string;
  /** Names of the files in `out`. */
  readonly files: readonly string[];
}

/**
 * Trains, evaluates on unseen classes and fills the folder, going on from the checkpoint in it if there is
 * one. Whatever ends it early, the weights of the last finished meta-iteration are saved and the error says
 * where; if nothing was trained, a new folder goes.
 */
export async function performRun(setup: Setup, request: RunRequest): Promise<RunResult> {
  const run = new Run(setup, request);
  try {
    return await untilInterrupted((signal) => run.perform(signal));
  } catch (error) {
    request.progress.stop();
    throw await run.stopped(error);
  } finally {
    run.closeLog();
    request.folder.unlock();
  }
}

class Run {
  readonly #setup: Setup;
  readonly #request: RunRequest;
  readonly #started = performance.now();
  /** Of the processes before this one. */
  #notes: RunNotes | undefined;
  #training: DurableTraining | undefined;
  /** Open once all is ready to train: until then there is nothing to keep. */
  #log: MetricsLog | undefined;
  #board: BoardLog | undefined;
  /** Sum of the losses since the last progress event. */
  #lossTotal = 0;
  #isOver = false;

  constructor(setup: Setup, request: RunRequest) {
    this.#setup = setup;
    this.#request = request;
  }

  async perform(signal: AbortSignal): Promise<RunResult> {
    const { settings } = this.#setup;
    const { folder, device, configuration } = this.#request;
    const training = await this.#open();
    const runtimes = await startRuntimes(settings, this.#request);
    try {
      const workers = runtimes.training.parallelism;
      signal.throwIfAborted();
      this.#openLogs();
      const iteration = training.found?.iteration;
      this.#emit({
        event: iteration === undefined ? 'start' : 'resumed',
        ...(iteration === undefined ? {} : { iteration, changes: training.found?.changes }),
        version,
        settings,
        parameters: this.#setup.model.layout.size,
        workers,
        device,
        out: folder.path,
        ...(configuration === undefined ? {} : { configuration }),
        machine: machine(),
      });
      await training.save(); // from here on the run can be killed and gone on with
      const { trainSeconds, innerSteps } = await this.#train(training, runtimes, signal);
      const { measures, evaluation } = await this.#judge(training, runtimes, signal);
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
        totalSeconds: rounded(this.#seconds),
        peakMemoryMB: peakMemoryMB(),
        out: folder.path,
        files: folder.files.toSorted(),
      };
      this.#emit(result);
      this.#log?.flush();
      await training.seal();
      return result;
    } finally {
      this.#request.progress.stop();
      this.#board?.close();
      await runtimes.dispose();
    }
  }

  async #open(): Promise<DurableTraining> {
    const { folder, checkpointEvery, allowChanges, before } = this.#request;
    const training = await DurableTraining.open(this.#setup, {
      file: folder.claim(weightsFile),
      checkpointEvery,
      allowChanges,
      trainSeconds: before?.trainSeconds,
      notes: () => this.#currentNotes(),
    });
    this.#training = training;
    this.#notes = readNotes(training.found?.notes, folder.file(weightsFile));
    this.#lossTotal = this.#notes?.lossTotal ?? 0;
    return training;
  }

  /** Lines behind the checkpoint are of a future that is about to happen again; a finished run keeps all. */
  #openLogs(): void {
    const isFinished = this.#training?.found !== undefined && this.#notes === undefined;
    const kept = isFinished ? Number.MAX_SAFE_INTEGER : this.#notes?.metricsBytes;
    const { folder, tensorboard } = this.#request;
    this.#log = new MetricsLog(folder.claim(metricsFile), kept);
    if (tensorboard) this.#board = new BoardLog(folder, this.#training?.state.iteration ?? 0);
  }

  closeLog(): void {
    this.#log?.close();
    this.#log = undefined;
  }

  /** What a checkpoint of this moment must say for the run to go on with the same lines and numbers. */
  #currentNotes(): RunNotes {
    this.#log?.flush();
    const { data, device, tensorboard = false } = this.#request;
    return {
      metricsBytes: this.#log?.size ?? this.#notes?.metricsBytes ?? 0,
      lossTotal: this.#lossTotal,
      totalSeconds: this.#seconds,
      device,
      tensorboard,
      ...(data === undefined ? {} : { data: resolve(data) }),
    };
  }

  /** Seconds since the start, in all processes. */
  get #seconds(): number {
    const before = this.#notes?.totalSeconds ?? this.#request.before?.totalSeconds ?? 0;
    return before + (performance.now() - this.#started) / 1000;
  }

  async #train(training: DurableTraining, runtimes: Runtimes, signal: AbortSignal) {
    const { metaIterations, metaBatch, innerSteps, task, evalSteps } = this.#setup.settings;
    const { progress } = this.#request;
    const window = Math.max(1, Math.floor(metaIterations / 100)); // of a progress event
    let note = '';
    progress.start('training', metaIterations, training.state.iteration);
    return training.run({
      runtime: runtimes.training,
      evaluationRuntime: runtimes.evaluation,
      signal,
      onProgress: ({ iteration, loss, trainSeconds }) => {
        this.#lossTotal += loss;
        if (iteration % window === 0) {
          const meanLoss = this.#lossTotal / window;
          this.#lossTotal = 0;
          if (training.curve.length === 0) note = `loss ${significant(meanLoss)}`;
          const speed = Math.round((iteration * metaBatch * innerSteps) / trainSeconds);
          this.#board?.scalars(iteration, {
            'training/loss': meanLoss,
            'training/innerStepsPerSecond': speed,
          });
          this.#emit({
            event: 'progress',
            iteration,
            metaIterations,
            loss: meanLoss,
            trainSeconds: rounded(trainSeconds),
            innerStepsPerSecond: speed,
            residentMB: Math.round(process.memoryUsage.rss() / 2 ** 20),
          });
        }
        progress.update(iteration, note);
      },
      onPause: () => progress.pause('evaluating'),
      onCurvePoint: ({ iteration, mean, ci95, values }) => {
        const isSine = task === 'sine';
        note = isSine ? `error ${significant(mean)}` : `accuracy ${percent(mean)}`;
        this.#board?.scalars(iteration, { [isSine ? 'training/mse' : 'training/accuracy']: mean });
        this.#emit({
          event: 'evaluation',
          iteration,
          classes: 'training',
          tasks: values.length,
          evalSteps,
          ...(isSine ? { mse: mean, mseCi95: ci95 } : { accuracy: mean, accuracyCi95: ci95 }),
        });
      },
    });
  }

  /** The evaluation at the end, on classes never trained on. */
  async #judge(training: DurableTraining, { evaluation: runtime }: Runtimes, signal: AbortSignal) {
    const { settings } = this.#setup;
    const { progress, folder } = this.#request;
    const start = training.state;
    const evaluator = await compileEvaluation(evaluationOptions(this.#setup, { runtime }));
    progress.start('evaluating', settings.evalTasks);
    const evaluation = await evaluator(start, { signal, onProgress: (done) => progress.update(done) });
    progress.stop();
    const { mean, ci95 } = evaluation;
    const tag = settings.task === 'sine' ? 'test/mse' : 'test/accuracy';
    this.#board?.scalars(settings.metaIterations, { [tag]: mean });
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
    const training = this.#training;
    const iteration = training?.state.iteration ?? 0;
    if (folder.isNew && (!training?.isOnDisk || (error instanceof OptionError && iteration === 0))) {
      await training?.abandon();
      await folder.discard();
      return error;
    }
    if (training === undefined || this.#log === undefined) return error; // it was not gone on with
    const reason = error instanceof Interrupted ? 'interrupted' : (error as Error).message;
    try {
      this.#emit({ event: 'stopped', iteration, reason, out: folder.path });
      this.#isOver = true;
      await training.close();
      await this.#draw();
    } catch (fault) {
      if (error instanceof Interrupted) return error.saying((fault as Error).message);
      return error;
    }
    const where =
      `the weights after ${count(iteration)} of ${count(this.#setup.settings.metaIterations)} ` +
      `meta-iterations are in ${folder.file(weightsFile)}`;
    const remedy = `go on with: anole train --resume ${folder.path}`;
    if (error instanceof Interrupted) return error.saying(`${where}; ${remedy}`);
    if (error instanceof TrainingError) return new TrainingError(`${reason}; ${where}`, { cause: error });
    return new Error(`${reason}; ${where}; ${remedy}`, { cause: error });
  }

  /** Nothing follows the line that says it stopped, though the training may be at its last meta-iteration. */
  #emit<E extends RunEvent>(event: E): void {
    if (this.#isOver) return;
    this.#log?.append(event);
    this.#request.onEvent?.(event);
  }

  async #draw(end?: Evaluation): Promise<void> {
    const { learningCurvePicture } = await import('./pictures.ts');
    const picture = learningCurvePicture(this.#setup.settings, this.#training?.curve ?? [], end);
    if (picture !== undefined) await this.#request.folder.write('learning-curve.svg', picture);
  }
}

/**
 * The result for people.
 * @param data where the images came from, if that was said
 */
export function summary(settings: Settings, result: RunResult, data?: string): string {
  const { out, files, workers, innerStepsPerSecond: speed } = result;
  const steps = counted(result.innerSteps, 'inner step');
  const pace = `${duration(result.trainSeconds)} (${count(speed)} a second, ${counted(workers, 'worker')})`;
  const { task } = settings;
  const otherShots = task === 'sine' ? 2 * settings.shots : settings.shots === 1 ? 5 : 1;
  const from = data === undefined ? '' : ` --data ${data}`;
  return [
    `${describeTask(settings)}; ${algorithmNames[settings.algorithm]}, seed ${settings.seed}`,
    '',
    aligned([
      ...measured(settings, result),
      [
        'training',
        `${counted(result.metaIterations, 'meta-iteration')}, ${steps}${result.trainSeconds > 0 ? ` in ${pace}` : ''}`,
      ],
      ['saved in', `${out}/`, files.join('  ')],
      ['try next', `npx anole eval ${out}${from} --shots ${otherShots}`],
    ]),
  ].join('\n');
}

function measured(settings: Settings, result: RunResult): [string, ...string[]][] {
  if (settings.task !== 'sine') {
    const { testAccuracy = 0, testAccuracyCi95 = 0 } = result;
    const accuracy = { mean: testAccuracy, ci95: testAccuracyCi95 };
    return [['test accuracy', withInterval(accuracy, settings)]];
  }
  const { mseBefore = 0, mseAfter = 0, testMse = 0, testMseCi95 = 0 } = result;
  const steps = counted(settings.evalSteps, 'gradient step');
  const error = { mean: testMse, ci95: testMseCi95 };
  return [
    [
      "Figure 1's task",
      `mean squared error ${significant(mseBefore)} before, ${significant(mseAfter)} after ${steps}`,
    ],
    ['fresh waves, after', withInterval(error, settings)],
  ];
}

function rounded(seconds: number): number {
  return Math.round(1000 * seconds) / 1000;
}
