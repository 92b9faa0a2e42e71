/**
 * Weights to ship with an app: what adaptation starts from, in half the size of a checkpoint. A safetensors
 * file with a tensor for each leaf of the model, and Adam's second moments in brief: of a leaf [..., columns]
 * seen as a matrix V [rows, columns], the means of its rows and of its columns, from which
 *
 *     V ≈ rowMeans · columnMeansᵀ / mean
 *
 * as in Adafactor (Shazeer and Stern, 2018). Leaves of one axis are kept as they are. What that costs in
 * accuracy, and what other ways of saving cost, is measured in docs/guides/first-classifier.md.
 */
import { isObject, parsed } from '../data/json.ts';
import { leafTensors, readLeaves, type TensorReader, tensorReader } from '../data/model-tensors.ts';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../data/safetensors.ts';
import { DataError } from '../errors.ts';
import { type Shape, size } from '../graph/type.ts';
import type { Initialization } from '../meta/adapt.ts';
import { type CheckpointLayout, decodeCheckpoint } from '../meta/checkpoint.ts';
import type { OptimizerState } from '../optim/optimizer.ts';
import { checkSettings, type Settings } from './settings.ts';
import { layoutFor } from './setup.ts';

/** The metadata's `format`; another number is another meaning of the tensors' names. */
const format = 'anole weights 1';

/** What adaptation starts from, and how it came about. */
export interface TrainedWeights {
  readonly settings: Settings;
  readonly start: Initialization;
  /** How it was made: plain data, such as the meta-iterations and the accuracy measured. */
  readonly made: Readonly<Record<string, unknown>>;
}

/** The bytes of the file. Equal arguments give equal bytes. */
export function encodeWeights({ settings, start, made }: TrainedWeights): Uint8Array {
  const { layout } = layoutFor(settings).model;
  const tensors: [string, StoredTensor][] = [...leafTensors(start.parameters, layout)];
  for (const [name, vector] of Object.entries(start.innerState)) {
    if (vector.length !== layout.size) {
      tensors.push([`inner/${name}`, { dtype: 'float32', shape: [vector.length], data: vector.slice() }]);
      continue;
    }
    for (const { name: leaf, shape, offset } of layout.leaves) {
      const values = vector.subarray(offset, offset + size(shape));
      for (const [part, data] of Object.entries(inBrief(values, shape))) {
        tensors.push([`inner/${name}/${leaf}/${part}`, { dtype: 'float32', shape: [data.length], data }]);
      }
    }
  }
  return encodeSafetensors(Object.fromEntries(tensors), {
    format,
    settings: JSON.stringify(settings),
    made: JSON.stringify(made),
  });
}

/**
 * Reads shipped weights, or the checkpoint of a training run.
 * @param name the file's, for messages
 * @throws {DataError} when the bytes are neither, or damaged
 */
export function decodeWeights(bytes: Uint8Array, name: string): TrainedWeights {
  const { tensors, metadata } = decodeSafetensors(bytes, name);
  if (metadata.format?.startsWith('anole checkpoint')) {
    const checkpoint = decodeCheckpoint(bytes, name);
    const settings = settingsIn(checkpoint.settings, name);
    const { parameters, innerState, iteration } = checkpoint.state(layoutFor(settings));
    return { settings, start: { parameters, innerState }, made: { metaIterations: iteration } };
  }
  if (metadata.format !== format) {
    throw new DataError(
      `${name}: expected weights ("${format}") or the checkpoint of a run, found ` +
        `${metadata.format === undefined ? 'neither' : `"${metadata.format}"`}: ` +
        (metadata.format?.startsWith('anole adapted')
          ? 'what was adapted to a task already is for `anole predict`, or loadAdapted'
          : 'give a file of `anole train` or `anole export --format weights`'),
    );
  }
  const settings = settingsIn(parsed(metadata.settings), name);
  const layout = layoutFor(settings);
  const read = tensorReader(tensors, name);
  const start = { parameters: readLeaves(read, layout.model.layout), innerState: readState(read, layout) };
  read.finish();
  const made = parsed(metadata.made);
  return { settings, start, made: isObject(made) ? made : {} };
}

function readState(read: TensorReader, { model, innerOptimizer }: CheckpointLayout): OptimizerState {
  const { layout } = model;
  const types = innerOptimizer.state({ dtype: 'float32', shape: [layout.size] });
  return Object.fromEntries(
    Object.entries(types).map(([name, { shape }]) => {
      if (shape.length === 0) return [name, read(`inner/${name}`, [1])];
      const vector = new Float32Array(layout.size);
      for (const { name: leaf, shape: leafShape, offset } of layout.leaves) {
        const part = (which: string, length: number) => read(`inner/${name}/${leaf}/${which}`, [length]);
        vector.set(inFull(part, leafShape), offset);
      }
      return [name, vector];
    }),
  );
}

/** The means of the rows and columns of a leaf's moments, or all of them where it has one axis. */
function inBrief(values: Float32Array, shape: Shape): Record<string, Float32Array<ArrayBuffer>> {
  if (shape.length < 2) return { all: values.slice() };
  const columns = shape.at(-1)!;
  const rows = values.length / columns;
  const [rowMeans, columnMeans] = [new Float64Array(rows), new Float64Array(columns)];
  for (let i = 0; i < values.length; i++) {
    rowMeans[Math.floor(i / columns)]! += values[i]! / columns;
    columnMeans[i % columns]! += values[i]! / rows;
  }
  return { rows: Float32Array.from(rowMeans), columns: Float32Array.from(columnMeans) };
}

/** The moments that `inBrief` made short. */
function inFull(part: (which: string, length: number) => Float32Array, shape: Shape): Float32Array {
  const length = size(shape);
  if (shape.length < 2) return part('all', length);
  const columns = shape.at(-1)!;
  const [rowMeans, columnMeans] = [part('rows', length / columns), part('columns', columns)];
  const mean = columnMeans.reduce((a, b) => a + b, 0) / columns;
  const scale = mean > 0 ? 1 / mean : 0; // no step was taken: all zeros
  return Float32Array.from(
    { length },
    (_, i) => rowMeans[Math.floor(i / columns)]! * columnMeans[i % columns]! * scale,
  );
}

/** The settings in a file. @throws {DataError} when they are not ones this version knows */
export function settingsIn(values: unknown, name: string): Settings {
  try {
    if (!isObject(values)) throw new Error('they are no JSON object');
    return checkSettings(values as Record<keyof Settings, unknown>);
  } catch (cause) {
    throw new DataError(
      `${name}: its settings are not ones this version knows (${(cause as Error).message}): train it anew`,
      { cause },
    );
  }
}
