/** A model as the tensors of a safetensors file, one a leaf, and reading them back checked. */
import { DataError } from '../errors.ts';
import { type Shape, size } from '../graph/type.ts';
import type { Layout } from '../nn/parameters.ts';
import type { StoredTensor } from './safetensors.ts';

/** A tensor for each leaf. */
export function leafTensors(parameters: Float32Array, { leaves }: Layout): [string, StoredTensor][] {
  return leaves.map(({ name, shape, offset }) => [
    name,
    { dtype: 'float32', shape, data: parameters.slice(offset, offset + size(shape)) },
  ]);
}

/** float32 [layout.size] from a tensor for each leaf. Throws as `read` does. */
export function readLeaves(read: TensorReader, { leaves, size: length }: Layout): Float32Array {
  const parts = leaves.map(({ name, shape }) => read(name, shape)); // all there, before memory is asked for
  const parameters = new Float32Array(length);
  for (const [i, { offset }] of leaves.entries()) parameters.set(parts[i]!, offset);
  return parameters;
}

/** Gives a tensor of a file as float32, checked. */
export interface TensorReader {
  /** @throws {DataError} when it is missing, of another type or shape, or not finite */
  (tensor: string, shape: Shape): Float32Array;
  /** @throws {DataError} when there are tensors that nobody asked for */
  finish(): void;
}

/** @param file its name, for messages */
export function tensorReader(tensors: Readonly<Record<string, StoredTensor>>, file: string): TensorReader {
  const remedy =
    'give weights of the same model and optimizers, or make them anew with this version of anole';
  const asked = new Set<string>();
  const read = (name: string, shape: Shape): Float32Array => {
    asked.add(name);
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
    return data;
  };
  const finish = () => {
    const further = Object.keys(tensors).find((name) => !asked.has(name));
    if (further === undefined) return;
    throw new DataError(`${file}: tensor "${further}": expected none of that name: ${remedy}`);
  };
  return Object.assign(read, { finish });
}
