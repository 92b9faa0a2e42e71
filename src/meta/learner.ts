/** What is learned, resolved from the options users give. */

import type { TaskSource } from '../data/task.ts';
import { checkChoice, OptionError } from '../errors.ts';
import { trace } from '../graph/trace.ts';
import { float32, int32 } from '../graph/type.ts';
import { type Loss, type LossReduction, softmaxCrossEntropy, squaredError } from '../nn/losses.ts';
import type { Model } from '../nn/model.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import type { Learner } from './inner-loop.ts';

export interface LearnerOptions {
  /** Where tasks come from; its kind of targets decides the loss. */
  readonly tasks: TaskSource;
  readonly model: Model;
  /** The optimizer of the inner loop. */
  readonly innerOptimizer: Optimizer;
  /**
   * `mean` or `sum` over a mini-batch of the softmax cross-entropy (classes) or the squared error
   * (values), or a loss of one's own. @default 'mean'
   */
  readonly loss?: LossReduction | Loss;
}

/**
 * The learner of some options, with its loss and the type of a target.
 * @throws {OptionError} when model and tasks do not fit
 */
export function resolveLearner({ tasks, model, innerOptimizer, loss = 'mean' }: LearnerOptions): Learner {
  if (model.inputShape.join() !== tasks.inputShape.join()) {
    throw new OptionError(
      `model: takes inputs [${model.inputShape}], the tasks give [${tasks.inputShape}]: make them equal`,
    );
  }
  if (typeof loss === 'string') {
    checkChoice('loss', loss, ['mean', 'sum']);
    checkOutputs(model, tasks);
  }
  const standard = tasks.targets === 'classes' ? softmaxCrossEntropy : squaredError;
  return {
    model,
    optimizer: innerOptimizer,
    loss: typeof loss === 'string' ? standard(loss) : loss,
    target: tasks.targets === 'classes' ? int32() : float32(tasks.outputs),
  };
}

/** The standard losses would take outputs that do not fit the targets, and learn nothing from some of them. */
function checkOutputs(model: Model, { targets, outputs }: TaskSource): void {
  const batch = 2;
  const types = { parameters: float32(model.layout.size), inputs: float32(batch, ...model.inputShape) };
  const { shape } = trace(types, ({ parameters, inputs }) => ({ y: model.apply(parameters, inputs) })).outputs
    .y;
  const [rows, width = 0] = shape;
  const fits = targets === 'classes' ? width >= outputs : width === outputs;
  if (shape.length === 2 && rows === batch && fits) return;
  const wanted =
    targets === 'classes' ? `one for each of ${outputs} classes` : `the ${outputs} values of a target`;
  throw new OptionError(
    `model: expected outputs [batch, ${outputs}], ${wanted}, got [${shape}] of a batch of ${batch}: ` +
      'give it as many outputs',
  );
}
