/** What is learned, resolved from the options users give. */

import type { TaskSource } from '../data/task.ts';
import { OptionError } from '../errors.ts';
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
  const standard = tasks.targets === 'classes' ? softmaxCrossEntropy : squaredError;
  return {
    model,
    optimizer: innerOptimizer,
    loss: typeof loss === 'string' ? standard(loss) : loss,
    target: tasks.targets === 'classes' ? int32() : float32(tasks.outputs),
  };
}
