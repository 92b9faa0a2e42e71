/** Adaptation: the inner loop on the support set of one task, then predictions for its query set. */
import { miniBatches, type Sampling } from '../data/mini-batches.ts';
import type { Random } from '../data/random.ts';
import type { Task } from '../data/task.ts';
import { ShapeError } from '../errors.ts';
import { broadcastTo, concat, reshape, take } from '../graph/shaping.ts';
import { type Graph, trace } from '../graph/trace.ts';
import { float32, formatType } from '../graph/type.ts';
import type { Model } from '../nn/model.ts';
import type { OptimizerState } from '../optim/optimizer.ts';
import type { Executable, Runtime } from '../runtime/runtime.ts';
import { InnerLoop, type Learner, prefixState } from './inner-loop.ts';
import { reptile } from './reptile.ts';

export interface AdaptationOptions {
  readonly runtime: Runtime;
  readonly learner: Learner;
  /** Examples in the support set of a task, all classes together. */
  readonly support: number;
  /** Examples in the query set of a task, all classes together. */
  readonly query: number;
  /** Inner steps; 0 predicts with the initialization itself. */
  readonly innerSteps: number;
  /** Examples in a mini-batch of the inner loop. */
  readonly innerBatch: number;
  /** @default 'cycle' */
  readonly sampling?: Sampling;
  /**
   * What batch norm sees beside a query. False: the support set, each query on its own (the paper's protocol
   * without transduction). True: the other queries, without the support set (the one with transduction).
   * `both`: the first, then the second, from one adaptation.
   */
  readonly transductive: boolean | 'both';
}

/** Where adaptation starts from. */
export interface Initialization {
  /** φ, float32 [P]. */
  readonly parameters: Float32Array;
  /** State of the inner optimizer, such as the second moments carried out of training. */
  readonly innerState: OptimizerState;
}

/** Compiled adaptation to tasks of one size; `predict` runs it on a task. */
export class Adaptation {
  readonly #runtime: Runtime;
  readonly #options: AdaptationOptions;
  readonly #loop: InnerLoop | undefined;
  readonly #predictor: Executable;

  private constructor(options: AdaptationOptions, loop: InnerLoop | undefined, predictor: Executable) {
    this.#runtime = options.runtime;
    this.#options = options;
    this.#loop = loop;
    this.#predictor = predictor;
  }

  /**
   * Compiles the inner loop and the prediction.
   * @throws {ShapeError} when the model does not keep the axes before a batch
   */
  static async compile(options: AdaptationOptions): Promise<Adaptation> {
    const { runtime, learner, support, query, innerSteps, innerBatch, transductive } = options;
    const loop =
      innerSteps === 0
        ? undefined
        : await InnerLoop.compile(runtime, {
            learner,
            algorithm: reptile,
            examples: support,
            segments: [{ steps: innerSteps, batch: innerBatch }],
          });
    const predictor = await runtime.compile(tracePredictor(learner.model, { support, query, transductive }));
    return new Adaptation(options, loop, predictor);
  }

  /**
   * Adapts to `task.support` and returns the outputs for `task.query`, float32 [query, outputs], or
   * [2, query, outputs] by both protocols.
   */
  async predict(
    task: Task,
    { parameters, innerState }: Initialization,
    random: Random,
  ): Promise<Float32Array> {
    const { innerSteps, innerBatch, sampling } = this.#options;
    const examples = task.support.count;
    const batches = miniBatches(random, { examples, batch: innerBatch, batches: innerSteps, sampling });
    const { inputs, targets } = task.support;
    const start = {
      initial: parameters,
      parameters,
      ...prefixState(innerState),
      lossTotal: new Float32Array(1),
      inputs,
      targets,
    };
    const queries = { queries: task.query.inputs };
    const stages =
      this.#loop === undefined
        ? [{ executable: this.#predictor, inputs: { parameters, inputs, ...queries } }]
        : [...this.#loop.stages({ start, batches }), { executable: this.#predictor, inputs: queries }];
    const { outputs } = await this.#runtime.run(stages, ['outputs']);
    return outputs as Float32Array;
  }
}

/** parameters, support inputs and queries [Q, …] → outputs [Q, outputs], or [2, Q, outputs] by both protocols. */
export function tracePredictor(
  model: Model,
  { support, query, transductive }: Pick<AdaptationOptions, 'support' | 'query' | 'transductive'>,
): Graph<'parameters' | 'inputs' | 'queries', 'outputs'> {
  const types = {
    parameters: float32(model.layout.size),
    inputs: float32(support, ...model.inputShape),
    queries: float32(query, ...model.inputShape),
  };
  return trace(types, ({ parameters, inputs, queries }) => {
    const together = () => model.apply(parameters, queries);
    const apart = () => {
      const repeated = broadcastTo(inputs, [query, support, ...model.inputShape]);
      const single = reshape(queries, [query, 1, ...model.inputShape]);
      const batches = concat([repeated, single], 1); // [Q, support + 1, …]
      const outputs = model.apply(parameters, batches); // [Q, support + 1, outputs]
      if (outputs.rank !== 3 || outputs.shape[0] !== query || outputs.shape[1] !== support + 1) {
        throw new ShapeError(
          `model: expected outputs [${query},${support + 1},n] of inputs ${formatType(batches)}, got ` +
            `${formatType(outputs)}: keep the axes before a batch, which are batches of their own`,
        );
      }
      return take(outputs, support, 1);
    };
    if (transductive !== 'both') return { outputs: transductive ? together() : apart() };
    const both = [apart(), together()].map((outputs) => reshape(outputs, [1, ...outputs.shape]));
    return { outputs: concat(both, 0) };
  });
}
