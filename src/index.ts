/**
 * Anole: first-order meta-learning with inner loops compiled to ONNX. All of it that runs in Node and
 * in browsers; `anole/node` and `anole/web` add a runtime, and `anole/node` the data sets read from files.
 */

// Apps: weights fitted to a few examples. `anole/node` and `anole/web` add `load` and `loadAdapted`.
export {
  type ClassExamples,
  type ClassFitOptions,
  ClassLearner,
  type LabelledImage,
} from './app/class-learner.ts';
export { Classifier, type Prediction, type PredictOptions } from './app/classifier.ts';
export type { FitOptions } from './app/fitting.ts';
export type { Load, LoadAdapted, LoadOptions, WeightsSource } from './app/load.ts';
export type { ImageInput, PixelImage, RawImage } from './app/pixels.ts';
export { type Point, Regressor, ValueLearner } from './app/regression.ts';
export { type ShippedName, shippedNames } from './app/shipped.ts';
// Data: random streams, tasks, and the sources that need no files.
export {
  type FewShotOptions,
  fewShotTasks,
  type SplitOptions,
  selectClasses,
  splitClasses,
  withRotations,
} from './data/few-shot.ts';
export { type GlyphOptions, glyphs, glyphsSplit } from './data/glyphs.ts';
export { type MiniBatchOptions, miniBatches, type Sampling } from './data/mini-batches.ts';
export { type PackedClass, type PackedContent, PackedImages } from './data/packed-images.ts';
export { Random, type RandomState } from './data/random.ts';
export {
  decodeSafetensors,
  encodeSafetensors,
  type Safetensors,
  type StoredDtype,
  type StoredTensor,
} from './data/safetensors.ts';
export { figure1Task, type SineOptions, sineGrid, sineTask, sineTasks } from './data/sine.ts';
export type { Examples, ImageClasses, Task, TaskSize, TaskSource } from './data/task.ts';
// Errors.
export { DataError, OptionError, ShapeError, TrainingError } from './errors.ts';
// Whole experiments by settings.
export { type AdaptedModel, decodeAdapted, encodeAdapted } from './experiments/adapted.ts';
export type { HeadStart } from './experiments/heads.ts';
export { presets } from './experiments/presets.ts';
export {
  type CurvePoint,
  type RunOptions,
  type RunProgress,
  runTraining,
  type TrainedRun,
  type TrainingSoFar,
} from './experiments/run.ts';
export {
  checkSettings,
  resolveSettings,
  type Settings,
  type SettingsRequest,
  type TaskName,
} from './experiments/settings.ts';
export {
  type EvaluationChoice,
  evaluationOptions,
  type ImageSplit,
  layoutFor,
  type Setup,
  setUp,
  trainingOptions,
} from './experiments/setup.ts';
export { decodeWeights, encodeWeights, type TrainedWeights } from './experiments/weights.ts';
// Operators on traced tensors, tracing, gradients.
export * from './graph/index.ts';
export { evaluate as evaluateGraph } from './graph/index.ts'; // `evaluate` is the evaluation on tasks
// Meta-learning.
export { Adaptation, type AdaptationOptions, type Initialization } from './meta/adapt.ts';
export {
  type Checkpoint,
  type CheckpointContent,
  type CheckpointLayout,
  decodeCheckpoint,
  encodeCheckpoint,
} from './meta/checkpoint.ts';
export {
  type BothEvaluations,
  compileBothEvaluations,
  compileEvaluation,
  type Evaluation,
  type EvaluationOptions,
  type EvaluationWatch,
  type Evaluator,
  evaluate,
  interval,
  meanSquaredError,
  predictedClasses,
} from './meta/evaluate.ts';
export { exportOnnx, type OnnxExportOptions } from './meta/export-onnx.ts';
export type {
  Algorithm,
  Batch,
  Learner,
  Point as InnerLoopPoint,
  TracedState,
  TracedTask,
} from './meta/inner-loop.ts';
export { type LearnerOptions, resolveLearner } from './meta/learner.ts';
export type { OuterOptimizerName } from './meta/outer-step.ts';
export {
  type AlgorithmName,
  algorithms,
  type InnerOptimizerState,
  initialState,
  lastState,
  type MetaProgress,
  type MetaTrainOptions,
  metaTrain,
  type TrainingState,
} from './meta/train.ts';
// Networks, losses, optimizers.
export * from './nn/index.ts';
export * from './optim/index.ts';
// What runtimes have in common.
export type {
  Arrays,
  Executable,
  Provider,
  Runtime,
  RuntimeOptions,
  Stage,
  Work,
} from './runtime/runtime.ts';
