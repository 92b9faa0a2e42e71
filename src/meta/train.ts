/** Meta-training: the outer loop that all algorithms share. */
import { miniBatches, type Sampling } from '../data/mini-batches.ts';
import { Random, type RandomState } from '../data/random.ts';
import type { Examples, Task } from '../data/task.ts';
import { checkChoice, checkCount, OptionError, TrainingError } from '../errors.ts';
import { mapRecord } from '../graph/trace.ts';
import { freshState, type OptimizerState } from '../optim/optimizer.ts';
import { linearSchedule } from '../optim/schedule.ts';
import type { Arrays, Runtime } from '../runtime/runtime.ts';
import { fomaml } from './fomaml.ts';
import { type Algorithm, InnerLoop, prefixState, type Segment, unprefixState } from './inner-loop.ts';
import { joint } from './joint.ts';
import { type LearnerOptions, resolveLearner } from './learner.ts';
import { maml } from './maml.ts';
import { compileOuterStep, type OuterOptimizerName, outerOptimizers, type TaskResult } from './outer-step.ts';
import { reptile } from './reptile.ts';

export type AlgorithmName = 'reptile' | 'fomaml' | 'maml' | 'joint';

/** The algorithms by name, as the inner loop is traced with them. */
export const algorithms: Readonly<Record<AlgorithmName, Algorithm>> = { reptile, fomaml, maml, joint };

/**
 * What the inner optimizer's state is at the start of a task. `carry`: what the tasks so far have left, as in
 * the authors' code, but composed over a meta-batch as if its tasks had run one after another, while they run
 * in parallel (see `composeStates`). `sequential`: the same, but the tasks really do run one after another.
 * `reset`: zeros.
 */
export type InnerOptimizerState = 'carry' | 'sequential' | 'reset';

const innerOptimizerStates: readonly InnerOptimizerState[] = ['carry', 'sequential', 'reset'];

export interface MetaTrainOptions extends LearnerOptions {
  readonly runtime: Runtime;
  /** @default 'reptile' */
  readonly algorithm?: AlgorithmName;
  /** Examples a task is trained on: per class, or in all for regression. Not the shots of an evaluation. */
  readonly trainShots: number;
  /** How many of them are kept for the last mini-batch of FOMAML and MAML; 0 shares the tail (§6.3). @default 0 */
  readonly tailShots?: number;
  /** k: inner steps of a task, the tail included. */
  readonly innerSteps: number;
  /** Examples in a mini-batch. */
  readonly innerBatch: number;
  /** @default 'cycle' */
  readonly sampling?: Sampling;
  /** @default 'carry' */
  readonly innerOptimizerState?: InnerOptimizerState;
  /** n: tasks whose directions an outer step averages. @default 1 */
  readonly metaBatch?: number;
  /** N: outer steps. */
  readonly metaIterations: number;
  /** ε₀: the outer step at the start: a fraction of the direction for `sgd`, a learning rate for `adam`. */
  readonly metaStep: number;
  /** ε it is annealed to, linearly. @default 0 */
  readonly metaStepFinal?: number;
  /** `sgd`: φ ← φ + ε·direction, interpolation. `adam`: Adam on −direction/α, the gradient. @default 'sgd' */
  readonly outerOptimizer?: OuterOptimizerName;
  /** Seed of the initialization and of all tasks. @default 0 */
  readonly seed?: number;
  /** Where to go on from, the state of an earlier run with the same options. @default a fresh start */
  readonly from?: TrainingState;
  /** Stops between two meta-iterations by throwing its reason. */
  readonly signal?: AbortSignal;
}

/** Everything that changes in training: with the options it determines all that follows. */
export interface TrainingState {
  /** Meta-iterations done. */
  iteration: number;
  /** φ, float32 [P]. */
  readonly parameters: Float32Array;
  readonly innerState: OptimizerState;
  readonly outerState: OptimizerState;
  random: RandomState;
}

/** What is told after each meta-iteration. */
export interface MetaProgress {
  /** Meta-iterations done, from 1. */
  readonly iteration: number;
  /** Mean loss of the inner steps of this meta-iteration. */
  readonly loss: number;
  /** The state after it. The same object every time, changed in place: copy what you keep. */
  readonly state: TrainingState;
}

/**
 * Meta-trains and reports after every meta-iteration. The result is the `state` of the last report.
 *
 *     for await (const { iteration, loss, state } of metaTrain(options)) { … }
 *
 * @throws {OptionError} when options do not fit together
 * @throws {TrainingError} when a loss or direction is not finite; the state is then that of the last good iteration
 */
export async function* metaTrain(options: MetaTrainOptions): AsyncGenerator<MetaProgress, void> {
  const { runtime, tasks, model, innerOptimizer, innerSteps, innerBatch, sampling, signal } = options;
  const { algorithm = 'reptile', innerOptimizerState = 'carry', metaBatch = 1, metaIterations } = options;
  const { tailShots = 0, trainShots } = options;
  const plan = planInnerLoop(options);
  const learner = resolveLearner(options);
  const compilingLoop = InnerLoop.compile(runtime, {
    learner,
    algorithm: algorithms[algorithm],
    examples: plan.examples,
    segments: plan.segments,
    shared: metaBatch % runtime.parallelism !== 0, // then workers share the odd task
  });
  const compilingStep = compileOuterStep({
    runtime,
    name: options.outerOptimizer ?? 'sgd',
    innerOptimizer,
    size: model.layout.size,
    metaBatch,
    carriedUpdates: innerOptimizerState === 'carry' ? plan.updates : undefined,
  });
  const [loop, outer] = await Promise.all([compilingLoop, compilingStep]);
  const metaStep = linearSchedule(options.metaStep, options.metaStepFinal ?? 0);
  const state = shareState(runtime, options.from ?? initialState(options));
  const random = Random.fromState(state.random);
  const stateNames = Object.keys(prefixState(state.innerState));
  const zeros = freshState(innerOptimizer, model.layout.size);

  const spent: Task[] = [];
  const drawTask = () => {
    const old = spent.pop();
    const drawn = tasks.sample(random, { support: trainShots - tailShots, query: tailShots }, old);
    const share = (examples: Examples, set: keyof Task) => inSharedMemory(examples, old?.[set]);
    const task: Task = runtime.parallelism > 1 ? mapRecord({ ...drawn }, share) : drawn;
    const body = { examples: task.support.count, batch: innerBatch, batches: plan.bodySteps, sampling };
    return { task, examples: joinExamples(task), batches: withTail(miniBatches(random, body), task) };
  };
  const outputs = ['direction', 'lossTotal', ...stateNames];
  const startOf = ({ examples }: ReturnType<typeof drawTask>, innerState: OptimizerState) => ({
    initial: state.parameters,
    parameters: state.parameters,
    ...prefixState(innerState),
    lossTotal: new Float32Array(1),
    inputs: examples.inputs,
    targets: examples.targets,
  });
  const runMetaBatch = async (batch: readonly ReturnType<typeof drawTask>[]): Promise<Arrays[]> => {
    const first = innerOptimizerState === 'reset' ? zeros : state.innerState;
    if (innerOptimizerState !== 'sequential') {
      const work = batch.map((task) => loop.work({ start: startOf(task, first), batches: task.batches }));
      return runtime.runAll(work, outputs);
    }
    const results: Arrays[] = [];
    for (const task of batch) {
      const last = results.at(-1);
      const start = startOf(task, last === undefined ? first : innerStateOf(last));
      results.push(await runtime.run(loop.stages({ start, batches: task.batches }), outputs));
    }
    return results;
  };

  let drawn = Array.from({ length: metaBatch }, drawTask);
  while (state.iteration < metaIterations) {
    signal?.throwIfAborted();
    const afterThis = random.state;
    const running = runMetaBatch(drawn);
    running.catch(() => {}); // when drawing fails, that is the error to tell
    const trained = drawn;
    drawn = Array.from({ length: metaBatch }, drawTask); // the next tasks, while these are running
    const results = await running;
    spent.push(...trained.map(({ task }) => task));

    const loss =
      results.reduce((total, { lossTotal }) => total + lossTotal![0]!, 0) / (metaBatch * innerSteps);
    const epsilon = metaStep(state.iteration, metaIterations);
    const ends = results.map((result): TaskResult => {
      return { direction: result.direction as Float32Array, innerState: innerStateOf(result) };
    });
    const stepped = Number.isFinite(loss) && (await outer(state, ends, epsilon));
    if (!stepped) {
      throw new TrainingError(
        `meta-iteration ${state.iteration + 1}: the loss or the outer step is not finite (loss ${loss}): ` +
          'lower the inner learning rate or the outer step',
      );
    }
    if (innerOptimizerState === 'sequential') copyState(state.innerState, ends.at(-1)!.innerState);
    for (const result of results) runtime.recycle(result);
    state.iteration++;
    state.random = afterThis;
    yield { iteration: state.iteration, loss, state };
  }
}

/**
 * The state at the end of a training, where nothing is to be done on the way.
 *
 *     const state = await lastState(metaTrain(options));
 *
 * @throws what the training throws; {OptionError} when it has no meta-iteration left
 */
export async function lastState(training: AsyncIterable<MetaProgress>): Promise<TrainingState> {
  let last: TrainingState | undefined;
  for await (const { state } of training) last = state;
  if (last !== undefined) return last;
  throw new OptionError('metaTrain: no meta-iteration is left: take the state that was given as `from`');
}

/**
 * The options of the inner loop, checked and put in the form it is compiled from.
 * @throws {OptionError} when options do not fit together
 */
export function planInnerLoop(options: Omit<MetaTrainOptions, 'runtime'>): {
  /** Examples of a task, the tail's behind the others. */
  examples: number;
  segments: readonly Segment[];
  /** Steps on mini-batches that are drawn: all but a separate tail. */
  bodySteps: number;
  /** Updates of the inner optimizer's state in a task. */
  updates: number;
} {
  const { tasks, trainShots, tailShots = 0, innerSteps, innerBatch, algorithm = 'reptile' } = options;
  const { innerOptimizerState = 'carry', outerOptimizer = 'sgd' } = options;
  checkChoice('algorithm', algorithm, Object.keys(algorithms));
  checkChoice('innerOptimizerState', innerOptimizerState, innerOptimizerStates);
  checkChoice('outerOptimizer', outerOptimizer, Object.keys(outerOptimizers));
  for (const name of ['trainShots', 'innerSteps', 'innerBatch', 'metaIterations', 'metaBatch'] as const) {
    checkCount(name, options[name] ?? 1);
  }
  const { metaStep, metaStepFinal = 0 } = options;
  if (!(Number.isFinite(metaStep) && metaStep > 0)) {
    throw new OptionError(`metaStep: expected a number above 0, got ${metaStep}`);
  }
  if (!(Number.isFinite(metaStepFinal) && metaStepFinal >= 0)) {
    throw new OptionError(`metaStepFinal: expected a number from 0 on, got ${metaStepFinal}`);
  }
  const hasTail = algorithm === 'fomaml' || algorithm === 'maml';
  if (tailShots > 0 && !hasTail) {
    throw new OptionError(`tailShots: ${algorithm} has no tail: use 0, or fomaml or maml`);
  }
  if (!Number.isInteger(tailShots) || tailShots < 0 || tailShots >= trainShots) {
    throw new OptionError(
      `tailShots: ${tailShots} of ${trainShots} train shots leaves none to adapt to: use 0 … ${trainShots - 1}`,
    );
  }
  const perShot = tasks.targets === 'classes' ? tasks.outputs : 1;
  const body = (trainShots - tailShots) * perShot;
  const bodySteps = tailShots > 0 ? innerSteps - 1 : innerSteps;
  if (innerBatch > body && bodySteps > 0) {
    throw new OptionError(
      `innerBatch: ${innerBatch} is more than the ${body} examples a task is trained on ` +
        `(${trainShots - tailShots} train shots × ${perShot}): lower the batch or raise the train shots`,
    );
  }
  const tail = { steps: innerSteps - bodySteps, batch: tailShots * perShot };
  const segments = [{ steps: bodySteps, batch: innerBatch }, tail].filter(({ steps }) => steps > 0);
  const updates = algorithm === 'maml' ? innerSteps - 1 : innerSteps; // MAML's tail makes no inner step
  return { examples: trainShots * perShot, segments, bodySteps, updates };
}

/** Support examples, then query examples. */
function joinExamples({ support, query }: Task): Pick<Examples, 'inputs' | 'targets'> {
  if (query.count === 0) return support;
  const inputs = new Float32Array(support.inputs.length + query.inputs.length);
  inputs.set(support.inputs);
  inputs.set(query.inputs, support.inputs.length);
  const Targets = support.targets.constructor as Float32ArrayConstructor | Int32ArrayConstructor;
  const targets = new Targets(support.targets.length + query.targets.length);
  targets.set(support.targets);
  targets.set(query.targets, support.targets.length);
  return { inputs, targets };
}

/** Adds a separate tail, all of the query set, as the last mini-batch. */
function withTail(batches: Int32Array, { support, query }: Task): Int32Array {
  const all = new Int32Array(batches.length + query.count);
  all.set(batches);
  for (let i = 0; i < query.count; i++) all[batches.length + i] = support.count + i;
  return all;
}

function innerStateOf(result: Arrays): OptimizerState {
  return unprefixState(result) as OptimizerState;
}

/**
 * The state before the first meta-iteration.
 * @throws {OptionError} for an unknown outer optimizer
 */
export function initialState(
  options: Pick<MetaTrainOptions, 'model' | 'innerOptimizer' | 'outerOptimizer' | 'seed'>,
): TrainingState {
  const { model, innerOptimizer, outerOptimizer = 'sgd', seed = 0 } = options;
  checkChoice('outerOptimizer', outerOptimizer, Object.keys(outerOptimizers));
  return {
    iteration: 0,
    parameters: model.init(Random.stream(seed, 'initialization')),
    innerState: freshState(innerOptimizer, model.layout.size),
    outerState: freshState(outerOptimizers[outerOptimizer], model.layout.size),
    random: Random.stream(seed, 'training tasks').state,
  };
}

/** Examples that workers read without another copy, where memory can be shared; in the arrays of `old` ones if they fit. */
function inSharedMemory({ count, inputs, targets }: Examples, old: Examples | undefined): Examples {
  return {
    count,
    inputs: shared(inputs, old?.inputs),
    targets: shared(targets, old?.targets as typeof targets),
  };
}

/** The array itself if it lies in shared memory, or where there is none; else a copy there, in `old` if it fits. */
function shared<T extends Float32Array | Int32Array>(array: T, old?: T): T {
  if (typeof SharedArrayBuffer !== 'function' || array.buffer instanceof SharedArrayBuffer) return array;
  const Kind = array.constructor as new (buffer: SharedArrayBuffer) => T;
  const fits = old?.buffer instanceof SharedArrayBuffer && old.length === array.length;
  const copy = fits ? old : new Kind(new SharedArrayBuffer(array.byteLength));
  copy.set(array);
  return copy;
}

/** A copy whose vectors workers read without another copy, where memory can be shared. */
function shareState(runtime: Runtime, state: TrainingState): TrainingState {
  const share = (vector: Float32Array) => {
    const copy = vector.slice();
    return runtime.parallelism > 1 ? shared(copy) : copy;
  };
  return {
    ...state,
    parameters: share(state.parameters),
    innerState: mapRecord(state.innerState, share),
    outerState: mapRecord(state.outerState, share),
  };
}

function copyState(target: OptimizerState, source: OptimizerState): void {
  for (const [name, vector] of Object.entries(target)) vector.set(source[name]!);
}
