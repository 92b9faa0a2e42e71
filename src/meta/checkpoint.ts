/**
 * Checkpoints: a training run as the bytes of a safetensors file. One tensor a leaf of the model, such as
 * `conv1/filter`; the optimizers' state as `inner/secondMoments` and `outer/…`; in the metadata the
 * settings, the iteration and the state of the random stream, so that the run can be gone on with.
 */
import type { RandomState } from '../data/random.ts';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../data/safetensors.ts';
import { DataError, OptionError } from '../errors.ts';
import { float32, type Shape, size } from '../graph/type.ts';
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
  const vectors: Record<string, Float32Array> = {};
  for (const { name, shape, offset } of content.model.layout.leaves) {
    vectors[name] = state.parameters.subarray(offset, offset + size(shape));
  }
  for (const [name, vector] of Object.entries(state.innerState)) vectors[`inner/${name}`] = vector;
  for (const [name, vector] of Object.entries(state.outerState)) vectors[`outer/${name}`] = vector;
  const tensors = expectedTensors(content).map(({ name, shape }): [string, StoredTensor] => [
    name,
    { dtype: 'float32', shape, data: vectors[name]!.slice() }, // a copy that no thread shares
  ]);
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
  const settings = readJson(metadata.settings);
  const random = readJson(metadata.random);
  const progress = readJson(metadata.progress);
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
      const expected = expectedTensors(layout);
      checkTensors(tensors, expected, name);
      const vector = (key: string) => tensors[key]!.data as Float32Array;
      const parameters = new Float32Array(layout.model.layout.size);
      for (const leaf of layout.model.layout.leaves) parameters.set(vector(leaf.name), leaf.offset);
      const stateOf = (prefix: string): OptimizerState =>
        Object.fromEntries(
          expected.flatMap((tensor) =>
            tensor.name.startsWith(prefix) ? [[tensor.name.slice(prefix.length), vector(tensor.name)]] : [],
          ),
        );
      return { iteration, parameters, innerState: stateOf('inner/'), outerState: stateOf('outer/'), random };
    },
  };
}

interface ExpectedTensor {
  readonly name: string;
  readonly shape: Shape;
}

/** The tensors of a checkpoint, in the order they are written and checked. */
function expectedTensors({ model, innerOptimizer, outerOptimizer = 'sgd' }: CheckpointLayout) {
  const { leaves, size: parameters } = model.layout;
  const taken = leaves.find(({ name }) => /^(inner|outer)\//.test(name));
  if (taken !== undefined) {
    throw new OptionError(
      `checkpoint: "${taken.name}" is the name of an optimizer's state: rename the parameter`,
    );
  }
  const stateOf = (prefix: string, optimizer: Optimizer): ExpectedTensor[] =>
    Object.entries(optimizer.state(float32(parameters))).map(([name, { shape }]) => ({
      name: `${prefix}${name}`,
      shape,
    }));
  return [
    ...leaves.map(({ name, shape }): ExpectedTensor => ({ name, shape })),
    ...stateOf('inner/', innerOptimizer),
    ...stateOf('outer/', outerOptimizers[outerOptimizer]),
  ];
}

function checkTensors(
  tensors: Readonly<Record<string, StoredTensor>>,
  expected: readonly ExpectedTensor[],
  file: string,
): void {
  const remedy = 'give weights of the same model and optimizers, or train them anew';
  for (const { name, shape } of expected) {
    const tensor = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
    const wanted = `float32[${shape}]`;
    const found = tensor === undefined ? 'none' : `${tensor.dtype}[${tensor.shape}]`;
    if (found !== wanted) {
      throw new DataError(`${file}: tensor "${name}": expected ${wanted}, found ${found}: ${remedy}`);
    }
    const data = tensor!.data as Float32Array;
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) {
      throw new DataError(
        `${file}: tensor "${name}": expected finite numbers, found ${data[bad]} at ${bad}: train it anew, ` +
          'with a lower learning rate if that is where it came from',
      );
    }
  }
  const known = new Set(expected.map(({ name }) => name));
  const further = Object.keys(tensors).find((name) => !known.has(name));
  if (further !== undefined) {
    throw new DataError(`${file}: tensor "${further}": expected none of that name: ${remedy}`);
  }
}

function readJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isRandomState(value: unknown): value is RandomState {
  return Array.isArray(value) && value.length === 4 && value.every(Number.isInteger);
}
