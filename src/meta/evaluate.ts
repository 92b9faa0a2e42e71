/** Evaluation on many fresh tasks: how well a few examples and steps do from an initialization. */
import type { Sampling } from '../data/mini-batches.ts';
import { Random } from '../data/random.ts';
import type { Examples } from '../data/task.ts';
import { checkCount, OptionError } from '../errors.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { Adaptation, type Initialization } from './adapt.ts';
import { type LearnerOptions, resolveLearner } from './learner.ts';

/** What is evaluated: how tasks are drawn, adapted to and judged. */
export interface EvaluationOptions extends LearnerOptions {
  readonly runtime: Runtime;
  /** How many tasks. */
  readonly evalTasks: number;
  /** Support examples of a task: per class, or in all for regression. */
  readonly shots: number;
  /** Query examples of a task: per class, or in all for regression. @default 1, as in the paper */
  readonly queryShots?: number;
  /** Inner steps; 0 judges the initialization itself. @default 50 */
  readonly innerSteps?: number;
  /** Examples in a mini-batch of the inner loop. @default 5 */
  readonly innerBatch?: number;
  /** @default 'cycle' */
  readonly sampling?: Sampling;
  /** See `AdaptationOptions`. @default false for classes, true for values */
  readonly transductive?: boolean;
  /** Seed of the tasks and mini-batches. @default 0 */
  readonly seed?: number;
}

/** How one evaluation is watched and stopped. */
export interface EvaluationWatch {
  /** Called with the number of tasks done. */
  readonly onProgress?: (done: number) => void;
  readonly signal?: AbortSignal;
}

/** What an evaluation found. */
export interface Evaluation {
  /** Fraction of queries classified right, or the mean squared error of the query's values. */
  readonly metric: 'accuracy' | 'meanSquaredError';
  /** Mean over tasks. */
  readonly mean: number;
  /** Half-width of its 95% interval over tasks, 1.96·s/√n. */
  readonly ci95: number;
  /** The metric of every task, in the order they were drawn. */
  readonly values: Float64Array;
}

/** Evaluates an initialization. All calls see the same tasks, so that their results compare. */
export type Evaluator<Result = Evaluation> = (
  start: Initialization,
  watch?: EvaluationWatch,
) => Promise<Result>;

/** Evaluations of the same adapted models by the paper's two protocols (see `AdaptationOptions`). */
export interface BothEvaluations {
  readonly nonTransductive: Evaluation;
  readonly transductive: Evaluation;
}

/**
 * Compiles an evaluation: adapting to `evalTasks` tasks, each from the same parameters and optimizer
 * state, and judging the queries.
 * @throws {OptionError} when a count is out of range or a mini-batch larger than the support set
 */
export async function compileEvaluation(options: EvaluationOptions): Promise<Evaluator> {
  const { tasks, transductive = tasks.targets === 'values' } = options;
  const evaluator = await compileProtocols(options, transductive);
  return async (start, watch) => (await evaluator(start, watch))[0]!;
}

/**
 * Compiles an evaluation by both protocols, which costs little more than by one: adapting is most of the
 * work. Each result is what `compileEvaluation` gives with the same seed.
 * @throws {OptionError} when a count is out of range, a mini-batch larger than the support set, or targets are not classes
 */
export async function compileBothEvaluations(
  options: Omit<EvaluationOptions, 'transductive'>,
): Promise<Evaluator<BothEvaluations>> {
  if (options.tasks.targets !== 'classes') {
    throw new OptionError(
      'evaluation: transduction is for classes, got tasks with values: use compileEvaluation',
    );
  }
  const evaluator = await compileProtocols(options, 'both');
  return async (start, watch) => {
    const [nonTransductive, transductive] = await evaluator(start, watch);
    return { nonTransductive: nonTransductive!, transductive: transductive! };
  };
}

/** An evaluation for each protocol that the adaptation predicts by. */
async function compileProtocols(
  options: EvaluationOptions,
  transductive: boolean | 'both',
): Promise<Evaluator<Evaluation[]>> {
  const { runtime, tasks, evalTasks, shots, queryShots = 1, seed = 0 } = options;
  const { innerSteps = 50, innerBatch = 5, sampling } = options;
  const counts = { evalTasks, shots, queryShots, innerBatch };
  for (const [name, count] of Object.entries(counts)) checkCount(`evaluation: ${name}`, count);
  checkCount('evaluation: innerSteps', innerSteps, { from: 0 });
  const perShot = tasks.targets === 'classes' ? tasks.outputs : 1;
  if (innerSteps > 0 && innerBatch > shots * perShot) {
    throw new OptionError(
      `evaluation batch: ${innerBatch} is more than the ${shots * perShot} support examples of a task: lower it`,
    );
  }
  const query = queryShots * perShot;
  const adaptation = await Adaptation.compile({
    runtime,
    learner: resolveLearner(options),
    support: shots * perShot,
    query,
    innerSteps,
    innerBatch: Math.min(innerBatch, shots * perShot),
    sampling,
    transductive,
  });
  const metric = tasks.targets === 'classes' ? 'accuracy' : 'meanSquaredError';
  const judge = metric === 'accuracy' ? accuracy : meanSquaredError;
  const protocols = transductive === 'both' ? 2 : 1;

  return async (start, { onProgress, signal } = {}) => {
    const random = Random.stream(seed, 'evaluation');
    const values = Array.from({ length: protocols }, () => new Float64Array(evalTasks));
    let next = 0;
    let done = 0;
    const work = async () => {
      while (next < evalTasks) {
        signal?.throwIfAborted();
        const index = next++;
        const task = tasks.sample(random, { support: shots, query: queryShots }); // drawn in order of index
        const outputs = await adaptation.predict(task, start, random);
        const each = outputs.length / protocols;
        for (const [i, judged] of values.entries()) {
          judged[index] = judge(outputs.subarray(i * each, (i + 1) * each), task.query);
        }
        onProgress?.(++done);
      }
    };
    // Two in flight for each worker, so that none waits for the next task to be drawn.
    const lanes = Array.from({ length: 2 * runtime.parallelism }, work);
    await Promise.all(lanes).catch((error) => {
      next = evalTasks; // the other lanes stop, too
      throw error;
    });
    return values.map((judged) => ({ metric, ...interval(judged), values: judged }));
  };
}

/** Compiles and runs one evaluation. */
export async function evaluate(
  options: EvaluationOptions & Initialization & EvaluationWatch,
): Promise<Evaluation> {
  return (await compileEvaluation(options))(options, options);
}

/** Index of the largest output of each example; outputs [count, classes]. */
export function predictedClasses(outputs: Float32Array, count: number): Int32Array {
  const classes = outputs.length / count;
  return Int32Array.from({ length: count }, (_, i) => {
    const row = outputs.subarray(i * classes, (i + 1) * classes);
    return row.indexOf(row.reduce((a, b) => Math.max(a, b)));
  });
}

/** Probabilities of one example's logits [classes], in float64: e^(xᵢ − max) over their sum. */
export function softmax(logits: Float32Array): number[] {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

function accuracy(outputs: Float32Array, { targets, count }: Examples): number {
  return predictedClasses(outputs, count).filter((predicted, i) => predicted === targets[i]).length / count;
}

/** Over all values: outputs float32 [count, n], targets float32 [count, n]. */
export function meanSquaredError(outputs: Float32Array, { targets }: Examples): number {
  return outputs.reduce((total, y, i) => total + (y - targets[i]!) ** 2, 0) / outputs.length;
}

/** Mean and half-width of its 95% interval, from the sample's standard deviation. */
export function interval(values: Float64Array): { mean: number; ci95: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((total, value) => total + (value - mean) ** 2, 0);
  return {
    mean,
    ci95:
      values.length < 2 ? 0 : (1.96 * Math.sqrt(squares / (values.length - 1))) / Math.sqrt(values.length),
  };
}
