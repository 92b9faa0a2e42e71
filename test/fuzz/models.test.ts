/** Shipped weights and adapted models on 20,000 damaged and hostile files, as `parsers.test.ts` has the formats below them. */

import './allocations.ts';
import assert from 'node:assert/strict';
import type { Random } from '../../src/data/random.ts';
import { decodeAdapted, encodeAdapted } from '../../src/experiments/adapted.ts';
import { resolveSettings, type Settings } from '../../src/experiments/settings.ts';
import { layoutFor } from '../../src/experiments/setup.ts';
import { decodeWeights, encodeWeights } from '../../src/experiments/weights.ts';
import { size } from '../../src/graph/type.ts';
import { initialState } from '../../src/meta/train.ts';
import { damaged, fuzz, headerEnd, name } from './fuzz.ts';
import { joined, strangeValues } from './mutate.ts';

const sine = resolveSettings({ task: 'sine', given: { innerOptimizer: 'adam' } });
const glyphs = resolveSettings({ task: 'glyphs', given: { ways: 2, shots: 1 } });

/** Five small files to one of a network, which takes a hundred times as long. */
function pick<T>(random: Random, small: T, large: T): T {
  return random.integer(6) > 0 ? small : large;
}

type Header = Record<string, Record<string, unknown>>;

/** A sound safetensors file with something in it that the format above forbids, or should bear. */
function misleading(random: Random, original: Uint8Array): Uint8Array {
  const any = <V>(list: readonly V[]): V => list[random.integer(list.length)]!;
  const end = headerEnd(original);
  const header = JSON.parse(new TextDecoder().decode(original.subarray(8, end))) as Header;
  const { __metadata__: metadata = {}, ...tensors } = header;
  const tensor = tensors[any(Object.keys(tensors))]!;
  const data = original.slice(end);
  switch (random.integer(7)) {
    case 0:
    case 1: {
      const settings = JSON.parse(metadata.settings as string) as Record<string, unknown>;
      const key = any(['ways', any([...Object.keys(settings), 'wayz', 'constructor'])]);
      settings[key] = any([any(strangeValues), 3, 1e6, 2 ** 40]);
      metadata.settings = JSON.stringify(settings);
      break;
    }
    case 2:
      metadata[any(Object.keys(metadata))] = JSON.stringify(any(strangeValues)) ?? '';
      break;
    case 3:
      tensor.dtype = 'I32'; // as wide as F32
      break;
    case 4:
      tensor.shape = any([(tensor.shape as number[]).toReversed(), [1, ...(tensor.shape as number[])]]);
      break;
    case 5: {
      const from = any(Object.keys(tensors));
      header[any(['constructor', 'inner/x', `${from}0`])] = header[from]!;
      delete header[from];
      break;
    }
    default:
      new DataView(data.buffer).setFloat32(
        4 * random.integer(data.length / 4),
        any([Number.NaN, Number.NEGATIVE_INFINITY, 1e30, -0]),
        true,
      );
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  return joined(length, text, data);
}

function hostile(random: Random, original: Uint8Array): Uint8Array {
  return random.integer(2) === 0 ? damaged(random, original) : misleading(random, original);
}

function weightsOf(settings: Settings): Uint8Array {
  const { parameters, innerState } = initialState({ ...layoutFor(settings), seed: 0 });
  return encodeWeights({ settings, start: { parameters, innerState }, made: { metaIterations: 10 } });
}

const weights = [weightsOf(sine), weightsOf(glyphs)] as const;

fuzz('shipped weights', {
  inputs: 10_000,
  least: [200, 5_000],
  read(random) {
    const bytes = hostile(random, pick(random, ...weights));
    const { settings, start } = decodeWeights(bytes, name);
    assert.equal(start.parameters.length, layoutFor(settings).model.layout.size);
    for (const vector of [start.parameters, ...Object.values(start.innerState)]) {
      assert.ok(vector.every(Number.isFinite));
    }
    return bytes.length;
  },
});

function adaptedOf(settings: Settings, labels: readonly string[]): Uint8Array {
  const { model } = layoutFor(settings);
  const support = new Float32Array(labels.length * size(model.inputShape)).fill(0.5);
  const { parameters } = initialState({ ...layoutFor(settings), seed: 0 });
  return encodeAdapted({ settings, parameters, labels, support, made: { steps: 50 } });
}

const adapted = [adaptedOf(sine, []), adaptedOf(glyphs, ['cat', 'dog'])] as const;

fuzz('adapted models', {
  inputs: 10_000,
  least: [200, 5_000],
  read(random) {
    const bytes = hostile(random, pick(random, ...adapted));
    const { model, parameters, labels, support } = decodeAdapted(bytes, name);
    assert.equal(parameters.length, model.layout.size);
    assert.equal(support.length % size(model.inputShape), 0);
    assert.ok(parameters.every(Number.isFinite) && support.every(Number.isFinite));
    assert.ok(labels.every((label) => typeof label === 'string') && support.length >= labels.length);
    return bytes.length;
  },
});
