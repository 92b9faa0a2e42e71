/** Running settings: training with a learning curve, the evaluation at the end, and single tasks to look at. */
import { Random } from '../data/random.ts';
import { figure1Task } from '../data/sine.ts';
import type { Task } from '../data/task.ts';
import { Adaptation, type Initialization } from '../meta/adapt.ts';
import { compileEvaluation, type Evaluation, meanSquaredError, softmax } from '../meta/evaluate.ts';
import { resolveLearner } from '../meta/learner.ts';
import { initialState, metaTrain, type TrainingState } from '../meta/train.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { Settings } from './settings.ts';
import { evaluationOptions, type Setup, trainingOptions } from './setup.ts';

/** Tasks behind a point of the learning curve: few, since adapting to one costs as much as training on ten. */
const curveTasks = 20;

/** What a run tells while it trains. */
export interface RunProgress {
  /** Meta-iterations done. */
  readonly iteration: number;
  /** Mean loss of the inner steps of this meta-iteration. */
  readonly loss: number;
  /** Time spent in meta-iterations, without compilation and evaluations. */
  readonly trainSeconds: number;
}

/** A point of the learning curve. */
export interface CurvePoint extends Evaluation {
  readonly iteration: number;
}

/** What a training has come to, and can be gone on with from. */
export interface TrainingSoFar {
  readonly state: TrainingState;
  /** The points of the learning curve. */
  readonly curve: readonly CurvePoint[];
  /** Time spent in meta-iterations. */
  readonly trainSeconds: number;
}

export interface RunOptions {
  readonly runtime: Runtime;
  /** For the learning curve. @default `runtime` */
  readonly evaluationRuntime?: Runtime;
  /** Where to go on. @default a fresh start */
  readonly from?: TrainingSoFar;
  /** Told the state to be trained, before it is: changed in place from then on. */
  readonly onState?: (state: TrainingState) => void;
  readonly onProgress?: (progress: RunProgress) => void;
  /** Training pauses for a point of the learning curve. */
  readonly onPause?: () => void;
  readonly onCurvePoint?: (point: CurvePoint) => void | Promise<void>;
  /**
   * All of a meta-iteration is done, its point of the curve too; training waits. Also called at the start, for
   * the one gone on from (0 afresh): its call may have been cut short when it was stopped.
   */
  readonly onIteration?: (iteration: number) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/** What a training came to. */
export interface TrainedRun {
  readonly state: TrainingState;
  readonly trainSeconds: number;
  /** Inner steps taken. */
  readonly innerSteps: number;
}

/**
 * Meta-trains by the settings. Points of the learning curve come from fresh tasks of the classes trained
 * on: the test classes are left alone until the end. All points see the same tasks.
 */
export async function runTraining(setup: Setup, options: RunOptions): Promise<TrainedRun> {
  const { settings, trainTasks } = setup;
  const { runtime, evaluationRuntime = runtime, from, signal } = options;
  const { onState, onProgress, onPause, onCurvePoint, onIteration } = options;
  const { evalEvery } = settings;
  if (from !== undefined && isComplete(settings, from)) {
    onState?.(from.state);
    await onIteration?.(from.state.iteration);
    return { state: from.state, trainSeconds: from.trainSeconds, innerSteps: innerSteps(settings) };
  }
  const curve = { runtime: evaluationRuntime, tasks: trainTasks, evalTasks: curveTasks };
  const evaluator = evalEvery > 0 ? await compileEvaluation(evaluationOptions(setup, curve)) : undefined;
  let started: number | undefined; // when the first task is drawn: by then all is compiled
  const tasks = {
    ...trainTasks,
    sample: (...request: Parameters<typeof trainTasks.sample>) => {
      started ??= performance.now();
      return trainTasks.sample(...request);
    },
  };
  const training = { ...trainingOptions(setup, runtime), tasks, signal };
  let state = from?.state ?? initialState(training);
  onState?.(state);
  let judged = from?.curve.at(-1)?.iteration ?? -1;
  const judge = async (iteration: number) => {
    if (evaluator === undefined || iteration % evalEvery !== 0 || iteration <= judged) return;
    onPause?.();
    await onCurvePoint?.({ iteration, ...(await evaluator(state, { signal })) });
    judged = iteration;
  };
  await judge(state.iteration); // not when that was done before it was stopped
  await onIteration?.(state.iteration);
  let pauses = 0;
  let trainSeconds = from?.trainSeconds ?? 0;
  const before = trainSeconds;
  for await (const { iteration, loss, state: reached } of metaTrain({ ...training, from: state })) {
    if (state !== reached) {
      state = reached;
      onState?.(state);
    }
    const now = performance.now();
    trainSeconds = before + (now - started! - pauses) / 1000;
    onProgress?.({ iteration, loss, trainSeconds });
    await judge(iteration);
    await onIteration?.(iteration);
    pauses += performance.now() - now;
  }
  return { state, trainSeconds, innerSteps: innerSteps(settings) };
}

/** Whether nothing is left to train, nor a point of the learning curve to add. */
export function isComplete(
  { metaIterations, evalEvery }: Settings,
  { state, curve }: Pick<TrainingSoFar, 'state' | 'curve'>,
): boolean {
  const endsInPoint = evalEvery > 0 && metaIterations % evalEvery === 0;
  return state.iteration >= metaIterations && (!endsInPoint || curve.at(-1)?.iteration === metaIterations);
}

function innerSteps({ metaIterations, metaBatch, innerSteps: k }: Settings): number {
  return metaIterations * metaBatch * k;
}

/** A task with what a model says about its queries before and after adaptation. */
export interface AdaptedTask {
  readonly task: Task;
  /** float32 [query, outputs]; for classes the logits. */
  readonly before: Float32Array;
  readonly after: Float32Array;
}

/** Adapts to `tasks`, all of one size, by the evaluation's settings. */
export async function adaptTo(
  setup: Setup,
  options: { readonly runtime: Runtime; readonly start: Initialization; readonly tasks: readonly Task[] },
): Promise<AdaptedTask[]> {
  const { runtime, start, tasks } = options;
  const { settings, testTasks } = setup;
  const { support, query } = tasks[0]!;
  const compile = (innerSteps: number) =>
    Adaptation.compile({
      runtime,
      learner: resolveLearner({ ...setup, tasks: testTasks, loss: settings.loss }),
      support: support.count,
      query: query.count,
      innerSteps,
      innerBatch: Math.min(settings.evalBatch, support.count),
      sampling: settings.sampling,
      transductive: settings.transductive || testTasks.targets === 'values',
    });
  const [before, after] = await Promise.all([compile(0), compile(settings.evalSteps)]);
  const random = Random.stream(settings.seed, 'adaptation to single tasks');
  const adapted: AdaptedTask[] = [];
  for (const task of tasks) {
    adapted.push({
      task,
      before: await before.predict(task, start, random),
      after: await after.predict(task, start, random),
    });
  }
  return adapted;
}

/** Adaptation to a sine, with its mean squared errors over the whole curve. */
export interface AdaptedSine extends AdaptedTask {
  readonly name: string;
  readonly mseBefore: number;
  readonly mseAfter: number;
}

/** Adapts to Figure 1's own task and then to two fresh ones. */
export async function adaptToSines(
  setup: Setup,
  options: { readonly runtime: Runtime; readonly start: Initialization },
): Promise<[AdaptedSine, ...AdaptedSine[]]> {
  const random = Random.stream(setup.settings.seed, 'sines to look at');
  const size = { support: setup.settings.shots, query: 50 };
  const fresh = [1, 2].map(() => setup.testTasks.sample(random, size));
  const judged = (name: string, adapted: AdaptedTask): AdaptedSine => ({
    ...adapted,
    name,
    mseBefore: meanSquaredError(adapted.before, adapted.task.query),
    mseAfter: meanSquaredError(adapted.after, adapted.task.query),
  });
  const [figure1] = await adaptTo(setup, { ...options, tasks: [figure1Task] });
  const others = await adaptTo(setup, { ...options, tasks: fresh });
  return [
    judged("Figure 1's task", figure1!),
    ...others.map((adapted, i) => judged(i === 0 ? 'A fresh task' : 'Another fresh task', adapted)),
  ];
}

/** Adapts to one task of the test classes, with the class probabilities of its queries. */
export async function adaptToImages(
  setup: Setup,
  options: { readonly runtime: Runtime; readonly start: Initialization },
): Promise<AdaptedTask> {
  const { settings, testTasks } = setup;
  const random = Random.stream(settings.seed, 'a task to look at');
  const task = testTasks.sample(random, { support: settings.shots, query: 1 });
  const [{ before, after }] = (await adaptTo(setup, { ...options, tasks: [task] })) as [AdaptedTask];
  const probabilities = (logits: Float32Array) =>
    Float32Array.from(
      Array.from({ length: logits.length / settings.ways }, (_, i) =>
        softmax(logits.subarray(i * settings.ways, (i + 1) * settings.ways)),
      ).flat(),
    );
  return { task, before: probabilities(before), after: probabilities(after) };
}
