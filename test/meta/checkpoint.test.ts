/** Checkpoints: what goes in comes out, and what does not belong is refused. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../../src/data/safetensors.ts';
import { DataError, OptionError } from '../../src/errors.ts';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/meta/checkpoint.ts';
import { initialState, type TrainingState } from '../../src/meta/train.ts';
import { mlp } from '../../src/nn/networks.ts';
import { layoutOf, zeros } from '../../src/nn/parameters.ts';
import { adam, sgd } from '../../src/optim/index.ts';

const layout = {
  model: mlp({ hidden: [3] }),
  innerOptimizer: adam({ learningRate: 1e-3, beta1: 0 }),
  outerOptimizer: 'adam',
} as const;
const settings = { task: 'sine', innerLr: 0.02, transductive: false };

/** A state in which every number differs from every other. */
function someState(): TrainingState {
  const state = initialState(layout);
  let next = 1;
  const vectors = [state.parameters, ...Object.values(state.innerState), ...Object.values(state.outerState)];
  for (const vector of vectors) for (let i = 0; i < vector.length; i++) vector[i] = next++ / 8;
  return { ...state, iteration: 1234 };
}

const bytes = encodeCheckpoint({ ...layout, state: someState(), settings });

/** The same file with some of its tensors or metadata changed. */
function changed(change: (tensors: Record<string, StoredTensor>, metadata: Record<string, string>) => void) {
  const { tensors, metadata } = decodeSafetensors(bytes, 'file');
  change(tensors, metadata);
  return encodeSafetensors(tensors, metadata);
}

function rejects(read: () => unknown, message: RegExp): void {
  assert.throws(read, (error) => error instanceof DataError && message.test(error.message));
}

describe('a checkpoint', () => {
  it('has a tensor for each leaf and each vector of the optimizers', () => {
    const { tensors } = decodeSafetensors(bytes, 'file');
    const shapes = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
    assert.deepEqual(shapes, {
      'dense1/weights': [1, 3],
      'dense1/bias': [3],
      'dense2/weights': [3, 1],
      'dense2/bias': [1],
      'inner/secondMoments': [10],
      'inner/secondMomentsWeight': [],
      'outer/firstMoments': [10],
      'outer/firstMomentsWeight': [],
      'outer/secondMoments': [10],
      'outer/secondMomentsWeight': [],
    });
    assert.deepEqual(
      [...tensors['dense2/weights']!.data],
      [7, 8, 9].map((value) => value / 8),
    );
  });

  it('gives back state and settings', () => {
    const checkpoint = decodeCheckpoint(bytes, 'file');
    assert.deepEqual(checkpoint.settings, settings);
    assert.equal(checkpoint.iteration, 1234);
    assert.deepEqual(checkpoint.state(layout), someState());
  });

  it('is the same bytes for the same state, shared memory or not', () => {
    const state = someState();
    const shared = new Float32Array(new SharedArrayBuffer(4 * state.parameters.length));
    shared.set(state.parameters);
    const again = encodeCheckpoint({ ...layout, state: { ...state, parameters: shared }, settings });
    assert.deepEqual(again, bytes);
  });

  it('of another model or optimizer is refused, naming the first difference', () => {
    const read = (other: Parameters<ReturnType<typeof decodeCheckpoint>['state']>[0]) => () =>
      decodeCheckpoint(bytes, 'file').state(other);
    rejects(
      read({ ...layout, model: mlp({ hidden: [4] }) }),
      /^file: tensor "dense1\/weights": expected float32\[1,4\], found float32\[1,3\]: give weights of the same model/,
    );
    rejects(
      read({ ...layout, model: mlp({ hidden: [3, 3] }) }),
      /"dense2\/weights": expected float32\[3,3\], found float32\[3,1\]/,
    );
    rejects(
      read({ ...layout, innerOptimizer: sgd({ learningRate: 1 }) }),
      /"inner\/secondMoments": expected none of that name/,
    );
    rejects(
      read({ ...layout, innerOptimizer: adam({ learningRate: 1 }) }),
      /"inner\/firstMoments": expected float32\[10\], found none/,
    );
  });

  it('with a number that is not finite is refused', () => {
    const poisoned = changed((tensors) => {
      (tensors['inner/secondMoments']!.data as Float32Array)[4] = Number.NaN;
    });
    rejects(
      () => decodeCheckpoint(poisoned, 'file').state(layout),
      /"inner\/secondMoments": expected finite numbers, found NaN at 4/,
    );
  });

  it('is refused when it is none, or damaged', () => {
    rejects(() => decodeCheckpoint(encodeSafetensors({}), 'file'), /expected the format .* found none/);
    const withMetadata = (key: string, value: string) => () =>
      decodeCheckpoint(
        changed((_, metadata) => {
          metadata[key] = value;
        }),
        'file',
      );
    rejects(withMetadata('format', 'anole checkpoint 2'), /found "anole checkpoint 2"/);
    rejects(withMetadata('settings', '[1]'), /settings are not a JSON object/);
    rejects(withMetadata('settings', '{'), /settings are not a JSON object/);
    rejects(withMetadata('iteration', '-1'), /iteration or random state is damaged/);
    rejects(withMetadata('random', '[1, 2]'), /iteration or random state is damaged/);
    rejects(() => decodeCheckpoint(bytes.subarray(0, -1), 'file'), /not a sound safetensors file/);
  });

  it('can not hold a parameter named like an optimizer state', () => {
    const model = {
      ...layout.model,
      layout: layoutOf({ 'inner/x': { shape: [10], init: zeros } }),
    };
    assert.throws(() => encodeCheckpoint({ ...layout, model, state: someState(), settings }), OptionError);
  });
});
