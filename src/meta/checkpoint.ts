/**
 * Checkpoints: a training run as the bytes of a safetensors file. One tensor a leaf of the model, such as
 * `conv1/filter`; the optimizers' state as `inner/secondMoments` and `outer/…`; in the metadata the
 * settings, the iteration and the state of the random stream, so that the run can be gone on with.
 */
import { isObject, parsed } from '../data/json.ts';
import { leafTensors, readLeaves, tensorReader } from '../data/model-tensors.ts';
import type { RandomState } from '../data/random.ts';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../data/safetensors.ts';
import { DataError, OptionError } from '../errors.ts';
import { float32, type Shape } from '../graph/type.ts';
import type { Model } from '../nn/model.ts';
import type { Optimizer, OptimizerState } from '../optim/optimizer.ts';
import { type OuterOptimizerName, outerOptimizers } from './outer-step.ts';
import type { TrainingState } from './train.ts';

/** The metadata's `format`; another number is another meaning of the tensors' names. */
const format = 'anole checkpoint 1';

/** What decides which tensors a checkpoint has. */
export interface CheckpointLayout {
  readonly model: Model;
  readonly innerOptimizer: Optimizer;
  /** @default 'sgd' */
  readonly outerOptimizer?: OuterOptimizerName;
}

export interface CheckpointContent extends CheckpointLayout {
  readonly state: TrainingState;
  /** Plain data to find again in the file, such as the settings of the run. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Plain data that changes as the run goes on, such as its learning curve. @default none */
  readonly progress?: Readonly<Record<string, unknown>>;
}

/** The bytes of a checkpoint. Equal arguments give equal bytes. */
export function encodeCheckpoint(content: CheckpointContent): Uint8Array {
  const { state, settings, progress } = content;
  const { inner, outer } = stateShapes(content);
  const stored = (prefix: string, vectors: OptimizerState, shapes: readonly NamedShape[]) =>
    shapes.map(([key, shape]): [string, StoredTensor] => [
      `${prefix}/${key}`,
      { dtype: 'float32', shape, data: vectors[key]!.slice() }, // a copy that no thread shares
    ]);
  const tensors = [
    ...leafTensors(state.parameters, content.model.layout),
    ...stored('inner', state.innerState, inner),
    ...stored('outer', state.outerState, outer),
  ];
  return encodeSafetensors(Object.fromEntries(tensors), {
    format,
    settings: JSON.stringify(settings),
    iteration: String(state.iteration),
    random: JSON.stringify(state.random),
    ...(progress === undefined ? {} : { progress: JSON.stringify(progress) }),
  });
}

/** A checkpoint that was read: its settings tell which model its `state` is asked for. */
export interface Checkpoint {
  /** Any JSON object: whoever wrote the file chose it. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Any JSON object, or nothing where none was written. */
  readonly progress?: Readonly<Record<string, unknown>>;
  /** Meta-iterations done. */
  readonly iteration: number;
  /**
   * The state of the run.
   * @throws {DataError} when the tensors are not those of the model and optimizers, or not all finite
   */
  state(layout: CheckpointLayout): TrainingState;
}

/**
 * Reads a checkpoint.
 * @param name the file's name, for messages
 * @throws {DataError} when the bytes are no checkpoint
 */
export function decodeCheckpoint(bytes: Uint8Array, name: string): Checkpoint {
  const { tensors, metadata } = decodeSafetensors(bytes, name);
  if (metadata.format !== format) {
    const found = metadata.format === undefined ? 'none' : `"${metadata.format}"`;
    throw new DataError(
      `${name}: expected the format "${format}" in its metadata, found ${found}: ` +
        'give weights that this version of anole saved',
    );
  }
  const settings = parsed(metadata.settings);
  const random = parsed(metadata.random);
  const progress = parsed(metadata.progress);
  const iteration = Number(metadata.iteration);
  if (!isObject(settings)) {
    throw new DataError(`${name}: its settings are not a JSON object: save it again`);
  }
  if (metadata.progress !== undefined && !isObject(progress)) {
    throw new DataError(`${name}: its progress is not a JSON object: save it again`);
  }
  if (!isRandomState(random) || !Number.isSafeInteger(iteration) || iteration < 0) {
    throw new DataError(`${name}: its iteration or random state is damaged: save it again`);
  }
  return {
    settings,
    ...(isObject(progress) ? { progress } : {}),
    iteration,
    state: (layout) => {
      const read = tensorReader(tensors, name);
      const parameters = readLeaves(read, layout.model.layout);
      const { inner, outer } = stateShapes(layout);
      const stateOf = (prefix: string, shapes: readonly NamedShape[]): OptimizerState =>
        Object.fromEntries(shapes.map(([key, shape]) => [key, read(`${prefix}/${key}`, shape)]));
      const [innerState, outerState] = [stateOf('inner', inner), stateOf('outer', outer)];
      read.finish();
      return { iteration, parameters, innerState, outerState, random };
    },
  };
}

type NamedShape = readonly [name: string, shape: Shape];

/** The vectors of the optimizers' states, in the order they are written and checked. */
function stateShapes({ model, innerOptimizer, outerOptimizer = 'sgd' }: CheckpointLayout) {
  const { leaves, size: parameters } = model.layout;
  const taken = leaves.find(({ name }) => /^(inner|outer)\//.test(name));
  if (taken !== undefined) {
    throw new OptionError(
      `checkpoint: "${taken.name}" is the name of an optimizer's state: rename the parameter`,
    );
  }
  const shapesOf = (optimizer: Optimizer) =>
    Object.entries(optimizer.state(float32(parameters))).map(([key, { shape }]): NamedShape => [key, shape]);
  return { inner: shapesOf(innerOptimizer), outer: shapesOf(outerOptimizers[outerOptimizer]) };
}

function isRandomState(value: unknown): value is RandomState {
  return Array.isArray(value) && value.length === 4 && value.every(Number.isInteger);
}
