/** From settings to the library's objects: tasks, model, optimizer, and the options of a run. */
import { fewShotTasks } from '../data/few-shot.ts';
import { glyphsSplit } from '../data/glyphs.ts';
import { sineTasks } from '../data/sine.ts';
import type { ImageClasses, TaskSource } from '../data/task.ts';
import { OptionError } from '../errors.ts';
import type { CheckpointLayout } from '../meta/checkpoint.ts';
import type { EvaluationOptions } from '../meta/evaluate.ts';
import { type MetaTrainOptions, planInnerLoop } from '../meta/train.ts';
import type { Model } from '../nn/model.ts';
import { miniImagenetNet, mlp, omniglotNet } from '../nn/networks.ts';
import { adam, sgd } from '../optim/optimizer.ts';
import type { Runtime } from '../runtime/runtime.ts';
import type { Settings } from './settings.ts';

/** Images parted by class into those to train and those to test on. */
export interface ImageSplit {
  readonly train: ImageClasses;
  readonly test: ImageClasses;
}

/** Settings and the objects they stand for. */
export interface Setup extends CheckpointLayout {
  readonly settings: Settings;
  /** Tasks of the classes trained on. For sine both are the one distribution of all sine waves. */
  readonly trainTasks: TaskSource;
  /** Tasks of the classes kept for the evaluation at the end. */
  readonly testTasks: TaskSource;
}

/** Points of the grid of equation (8), over which a sine's error is taken. */
const sinePoints = 50;

/**
 * Tasks, model and optimizers of the settings.
 * @param images of Omniglot, as `omniglotSplit` parts them by `settings.seed`, of Mini-ImageNet, or of one's
 *   own; glyphs are drawn by the seed
 * @param purpose to `evaluate` alone, what only training needs may not fit
 * @throws {OptionError} when the tasks need more classes or images than there are, or settings do not fit together
 */
export function setUp(
  settings: Settings,
  images?: ImageSplit,
  purpose: 'train' | 'evaluate' = 'train',
): Setup {
  const layout = layoutFor(settings);
  const { task } = settings;
  const split = task === 'sine' ? undefined : (images ?? imagesWithoutData(settings));
  const trains = purpose === 'train';
  if (trains && split !== undefined) checkImages(settings, split.train, 'trainShots', 0);
  const [trainTasks, testTasks] = split === undefined ? sines(settings) : classes(settings, split);
  if (trains) planInnerLoop({ ...settings, ...layout, tasks: trainTasks });
  return { settings, trainTasks, testTasks, ...layout };
}

/** Model and optimizers, which need no data. */
export function layoutFor(settings: Settings): CheckpointLayout {
  const { task, ways, innerLr, outerOptimizer } = settings;
  const innerOptimizer =
    settings.innerOptimizer === 'adam'
      ? adam({ learningRate: innerLr, beta1: 0 }) // §6.1
      : sgd({ learningRate: innerLr });
  const model = task === 'sine' ? mlp() : networkFor(imageShape(settings), ways);
  return { model, innerOptimizer, outerOptimizer };
}

function sines({ shots, trainShots }: Settings): [TaskSource, TaskSource] {
  for (const [name, points] of Object.entries({ shots, trainShots })) {
    if (points > sinePoints) {
      throw new OptionError(`${name}: a sine has ${sinePoints} points, got ${points}: lower it`);
    }
  }
  return [sineTasks(), sineTasks()];
}

function classes(settings: Settings, { train, test }: ImageSplit): [TaskSource, TaskSource] {
  checkImages(settings, test, 'shots', queryShots(settings));
  const { ways } = settings;
  return [fewShotTasks(train, { ways }), fewShotTasks(test, { ways })];
}

/** [height, width, channels] of the images of a task. */
function imageShape({ task, imageSize, gray }: Settings): ImageClasses['imageShape'] {
  if (task === 'mini-imagenet') return [84, 84, 3];
  return task === 'images' ? [imageSize!, imageSize!, gray ? 1 : 3] : [28, 28, 1];
}

/** The paper's network for Omniglot up to 32 pixels, above that the one for Mini-ImageNet. */
function networkFor(inputShape: ImageClasses['imageShape'], ways: number): Model {
  const network = Math.max(inputShape[0], inputShape[1]) <= 32 ? omniglotNet : miniImagenetNet;
  return network({ ways, inputShape });
}

function imagesWithoutData({ task, seed }: Settings): ImageSplit {
  if (task === 'glyphs') return glyphsSplit(seed);
  const source = {
    omniglot: 'omniglotSplit(await loadOmniglot(), settings.seed)',
    'mini-imagenet': "{ train: await loadMiniImagenet('train'), test: await loadMiniImagenet('test') }",
  };
  const wanted =
    task === 'omniglot' || task === 'mini-imagenet' ? source[task] : 'await imageFolder({ path })';
  throw new OptionError(`setUp: ${task} needs its images: pass ${wanted}`);
}

/** Query examples of an evaluation task: one a class, as in the paper; of a sine the whole curve. */
function queryShots({ task }: Settings): number {
  return task === 'sine' ? sinePoints : 1;
}

/** The settings as options of `metaTrain`. */
export function trainingOptions(setup: Setup, runtime: Runtime): MetaTrainOptions {
  const { settings, trainTasks, model, innerOptimizer } = setup;
  return { ...settings, runtime, tasks: trainTasks, model, innerOptimizer };
}

export interface EvaluationChoice {
  readonly runtime: Runtime;
  /** @default the setup's `testTasks` */
  readonly tasks?: TaskSource;
  /** @default the settings' */
  readonly evalTasks?: number;
  /** Inner steps; 0 judges the initialization itself. @default the settings' */
  readonly evalSteps?: number;
  /** Seed of the tasks, not of the split into classes. @default the settings' */
  readonly seed?: number;
}

/** The settings as options of `evaluate`, for the evaluation at the end unless `choice` says otherwise. */
export function evaluationOptions(setup: Setup, choice: EvaluationChoice): EvaluationOptions {
  const { settings, testTasks, model, innerOptimizer } = setup;
  const { shots, sampling, loss } = settings;
  const tasks = choice.tasks ?? testTasks;
  return {
    runtime: choice.runtime,
    tasks,
    model,
    innerOptimizer,
    loss,
    shots,
    queryShots: queryShots(settings),
    innerSteps: choice.evalSteps ?? settings.evalSteps,
    innerBatch: settings.evalBatch,
    sampling,
    transductive: settings.transductive || tasks.targets === 'values', // values: none depends on another
    evalTasks: choice.evalTasks ?? settings.evalTasks,
    seed: choice.seed ?? settings.seed,
  };
}

/** Every class must have enough images, and there must be enough classes, before anything starts. */
function checkImages(
  settings: Settings,
  images: ImageClasses,
  name: 'shots' | 'trainShots',
  queries: number,
): void {
  const { ways } = settings;
  if (ways > images.classCount) {
    const purpose = name === 'shots' ? 'test' : 'train';
    throw new OptionError(
      `ways: ${ways} is more than the ${images.classCount} classes there are to ${purpose} on: lower it`,
    );
  }
  for (let classIndex = 0; classIndex < images.classCount; classIndex++) {
    const available = images.imageCount(classIndex);
    if (settings[name] + queries > available) {
      const needed = queries > 0 ? `${settings[name]} support + ${queries} query` : `${settings[name]}`;
      const remedy =
        settings.task === 'images'
          ? `lower it, add images, or leave such classes out with minImages ${Math.max(settings.trainShots, settings.shots + 1)}`
          : 'lower it';
      throw new OptionError(
        `${name}: class "${images.className(classIndex)}" has ${available} images, not ${needed}: ${remedy}`,
      );
    }
  }
}
