/**
 * A model adapted to one task, as a safetensors file: a tensor for each leaf; of a classifier the support
 * set, too, as `support` [S, …], since batch norm sees every query beside it; labels and settings in the
 * metadata. Needs no optimizer's state: it is done with learning.
 */
import { isObject, parsed } from '../data/json.ts';
import { leafTensors, readLeaves, tensorReader } from '../data/model-tensors.ts';
import { decodeSafetensors, encodeSafetensors } from '../data/safetensors.ts';
import { DataError } from '../errors.ts';
import { size } from '../graph/type.ts';
import type { Model } from '../nn/model.ts';
import type { Settings } from './settings.ts';
import { layoutFor } from './setup.ts';
import { settingsIn } from './weights.ts';

const format = 'anole adapted 1';

/** What `save` of a fitted task keeps. */
export interface AdaptedModel {
  /** Of the training; `ways` are those of this task. */
  readonly settings: Settings;
  /** φ̃, float32 [P]. */
  readonly parameters: Float32Array;
  /** Name of each class, in the order of the outputs; empty for a regression. */
  readonly labels: readonly string[];
  /** float32 [S, …]: what it was adapted to; empty for a regression. */
  readonly support: Float32Array;
  /** How it was adapted: plain data, such as the number of steps. */
  readonly made: Readonly<Record<string, unknown>>;
}

/** The bytes of the file. Equal arguments give equal bytes. */
export function encodeAdapted({ settings, parameters, labels, support, made }: AdaptedModel): Uint8Array {
  const { model } = layoutFor(settings);
  const tensors = Object.fromEntries(leafTensors(parameters, model.layout));
  const count = support.length / size(model.inputShape);
  if (count > 0) {
    tensors.support = { dtype: 'float32', shape: [count, ...model.inputShape], data: support.slice() };
  }
  return encodeSafetensors(tensors, {
    format,
    settings: JSON.stringify(settings),
    labels: JSON.stringify(labels),
    made: JSON.stringify(made),
  });
}

/** Whether the bytes say they are an adapted model; they may be damaged all the same. */
export function isAdapted(bytes: Uint8Array, name: string): boolean {
  return decodeSafetensors(bytes, name).metadata.format === format;
}

/**
 * Reads an adapted model.
 * @param name the file's, for messages
 * @throws {DataError} when the bytes are none, or damaged
 */
export function decodeAdapted(bytes: Uint8Array, name: string): AdaptedModel & { readonly model: Model } {
  const { tensors, metadata } = decodeSafetensors(bytes, name);
  if (metadata.format !== format) {
    const found = metadata.format === undefined ? 'nothing of the kind' : `"${metadata.format}"`;
    const remedy = metadata.format?.startsWith('anole ')
      ? 'fit it to examples first, by `anole adapt`, or load, fit and save it'
      : 'give a file that save() or `anole adapt` made';
    throw new DataError(`${name}: expected an adapted model ("${format}"), found ${found}: ${remedy}`);
  }
  const settings = settingsIn(parsed(metadata.settings), name);
  const labels = parsed(metadata.labels);
  const outputs = settings.task === 'sine' ? 0 : settings.ways;
  const areLabels = Array.isArray(labels) && labels.every((label) => typeof label === 'string');
  if (!areLabels || labels.length !== outputs || new Set(labels).size !== outputs) {
    throw new DataError(`${name}: expected ${outputs} different labels in its metadata: save it again`);
  }
  const { model } = layoutFor(settings);
  const read = tensorReader(tensors, name);
  const parameters = readLeaves(read, model.layout);
  const count = outputs === 0 ? 0 : tensors.support?.shape[0] || 1;
  const support = count === 0 ? new Float32Array(0) : read('support', [count, ...model.inputShape]);
  read.finish();
  const made = parsed(metadata.made);
  return { settings, parameters, labels, support, made: isObject(made) ? made : {}, model };
}
