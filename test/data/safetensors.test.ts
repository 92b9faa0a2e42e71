import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { describe, it } from 'node:test';
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from '../../src/data/safetensors.ts';
import { DataError, OptionError, ShapeError } from '../../src/errors.ts';

/** A file of this header text and this data, whatever the header says. */
function file(header: string | Uint8Array, data: readonly number[] = []): Uint8Array {
  const text = typeof header === 'string' ? Buffer.from(header, 'utf8') : header;
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return new Uint8Array([...length, ...text, ...data]);
}

const sample: Record<string, StoredTensor> = {
  'conv1/weight': {
    dtype: 'float32',
    shape: [2, 3],
    data: Float32Array.of(0, -0, 1.5, NaN, Infinity, 1e-45),
  },
  mask: { dtype: 'uint8', shape: [3], data: Uint8Array.of(1, 0, 255) },
  step: { dtype: 'int32', shape: [], data: Int32Array.of(-7) },
  empty: { dtype: 'float32', shape: [0, 4], data: new Float32Array(0) },
  moment: { dtype: 'float64', shape: [1, 2], data: Float64Array.of(Math.PI, -1e300) },
  'Übung "1"': { dtype: 'int64', shape: [1], data: BigInt64Array.of(-(2n ** 63n)) },
};
const settings = { settings: '{"ways":5}', 'note "π"': 'line\nline' };

describe('safetensors', () => {
  it('decodes what it encoded, from a buffer at any alignment', () => {
    const bytes = encodeSafetensors(sample, settings);
    for (const shift of [0, 1, 3]) {
      const shifted = Buffer.alloc(bytes.length + shift);
      shifted.set(bytes, shift);
      assert.deepEqual(decodeSafetensors(shifted.subarray(shift), 'a'), {
        tensors: sample,
        metadata: settings,
      });
    }
    assert.deepEqual(decodeSafetensors(encodeSafetensors({}), 'a'), { tensors: {}, metadata: {} });
  });

  it('copies: neither the file nor a view it was made from is shared', () => {
    const weights = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const bytes = encodeSafetensors({ w: { dtype: 'float32', shape: [2], data: weights } });
    const { tensors } = decodeSafetensors(bytes, 'a');
    bytes.fill(0);
    assert.deepEqual(tensors.w!.data, Float32Array.of(1, 2));
  });

  it('writes and reads the known bytes of a tiny file', () => {
    const header = '{"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} ';
    assert.equal(header.length, 80); // with its padding, so that the data starts at byte 88 = 11 × 8
    const bytes = Uint8Array.from([
      ...[80, 0, 0, 0, 0, 0, 0, 0],
      ...Buffer.from(header),
      ...[0, 0, 0x80, 0x3f], // 1 in float32
      ...[0, 0, 0x20, 0xc0], // -2.5
    ]);
    const tensors = { b: { dtype: 'float32', shape: [2], data: Float32Array.of(1, -2.5) } } as const;
    assert.deepEqual(encodeSafetensors(tensors, { k: 'v' }), bytes);
    assert.deepEqual(decodeSafetensors(bytes, 'a'), { tensors, metadata: { k: 'v' } });
  });

  it('lays every tensor out aligned to its element size', () => {
    const bytes = encodeSafetensors(sample, settings);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    assert.equal(length % 8, 0);
    const header = JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)).toString());
    for (const [name, { data }] of Object.entries(sample)) {
      assert.equal(header[name].data_offsets[0] % data.BYTES_PER_ELEMENT, 0, name);
    }
  });

  it('refuses to write what it could not read', () => {
    const two = { dtype: 'float32', data: new Float32Array(2) } as const;
    assert.throws(() => encodeSafetensors({ w: { ...two, shape: [3] } }), ShapeError);
    assert.throws(() => encodeSafetensors({ w: { ...two, shape: [-1, -2] } }), ShapeError);
    assert.throws(() => encodeSafetensors({ __metadata__: { ...two, shape: [2] } }), OptionError);
    assert.throws(() => encodeSafetensors({ ['__proto__']: { ...two, shape: [2] } }), OptionError);
  });

  const one = (entry: string) => file(`{"w":${entry}}`, [0, 0, 0, 0, 0, 0, 0, 0]);
  const u8 = (begin: number, end: number) =>
    `{"dtype":"U8","shape":[${end - begin}],"data_offsets":[${begin},${end}]}`;
  const hostile: Record<string, [Uint8Array, RegExp]> = {
    'an empty file': [new Uint8Array(0), /it has 0 bytes, and 8 are needed/],
    'a file cut in the header': [file(`{"w":${u8(0, 8)}}`).subarray(0, 20), /should have 53 bytes, but 12/],
    'a header of 2^64 - 1 bytes': [new Uint8Array(16).fill(255), /it begins as no such file does/],
    'a header that is not UTF-8': [
      file(Buffer.from('{"__metadata__":{"a":"\u00ff"}}', 'latin1')),
      /not JSON in UTF-8/,
    ],
    'a header that is not JSON': [file('{"w":'), /not JSON/],
    'an empty header': [file(''), /not JSON/],
    'a header that is an array': [file('[]'), /not a JSON object: it begins with "\[\]"/],
    'a header that is null': [file('null'), /not a JSON object/],
    'a header after a blank': [file(' {}'), /not a JSON object/],
    'an entry that is a number': [one('7'), /w": .*expected an object of dtype/],
    'an entry that is an array': [one('[]'), /expected an object of dtype/],
    'no dtype': [one('{"shape":[8],"data_offsets":[0,8]}'), /expected a dtype of F64, .*got nothing/],
    'a dtype without a typed array': [one('{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}'), /got "BF16"/],
    'a dtype named like an inherited key': [
      one('{"dtype":"toString","shape":[8],"data_offsets":[0,8]}'),
      /dtype/,
    ],
    'no shape': [one('{"dtype":"U8","data_offsets":[0,8]}'), /expected a shape .*got nothing/],
    'a negative size': [one('{"dtype":"U8","shape":[-2,-4],"data_offsets":[0,8]}'), /got \[-2,-4\]/],
    'a fractional size': [one('{"dtype":"U8","shape":[1.5],"data_offsets":[0,8]}'), /got \[1.5\]/],
    'an unsafe size': [one('{"dtype":"U8","shape":[1e300],"data_offsets":[0,8]}'), /got \[1e\+300\]/],
    'a size in a string': [one('{"dtype":"U8","shape":["8"],"data_offsets":[0,8]}'), /got \["8"\]/],
    'sizes whose product overflows': [
      one('{"dtype":"U8","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}'),
      /takes 7.9\S+ bytes, but it has 8/,
    ],
    'a shape larger than its bytes': [
      one('{"dtype":"F32","shape":[3],"data_offsets":[0,8]}'),
      /F32 of shape \[3\] takes 12 bytes, but it has 8/,
    ],
    'one offset': [one('{"dtype":"U8","shape":[8],"data_offsets":[8]}'), /expected data_offsets.*\[8\]/],
    'offsets past the end': [one(u8(1, 9)), /\[1, 9\] do not lie in the 8 bytes/],
    'offsets in reverse': [one('{"dtype":"U8","shape":[8],"data_offsets":[8,0]}'), /\[8, 0\] do not lie/],
    'negative offsets': [one('{"dtype":"U8","shape":[8],"data_offsets":[-8,0]}'), /got \[-8,0\]/],
    'a hole before a tensor': [one(u8(2, 8)), /begins at byte 2, not 0, so it leaves a hole/],
    'an overlap': [file(`{"a":${u8(0, 3)},"b":${u8(2, 4)}}`, [1, 2, 3, 4]), /"b" begins.*so it overlaps/],
    'two tensors in one place': [file(`{"a":${u8(0, 2)},"b":${u8(0, 2)}}`, [1, 2]), /so it overlaps/],
    'a thousand tensors over one megabyte': [
      Buffer.concat([
        file(`{${Array.from({ length: 1000 }, (_, i) => `"${i}":${u8(0, 1 << 20)}`)}}`),
        Buffer.alloc(1 << 20),
      ]),
      /so it overlaps/,
    ],
    'trailing bytes': [one(u8(0, 7)), /end at byte 7 of 8/],
    'data without tensors': [file('{}', [1]), /end at byte 0 of 1/],
    'a name twice': [file(`{"a":${u8(0, 2)},"a":${u8(0, 2)}}`, [1, 2]), /the name "a" twice/],
    'a name twice, once escaped': [
      file(`{"a":${u8(0, 2)},"\\u0061" :${u8(0, 2)}}`, [1, 2]),
      /the name "a" twice/,
    ],
    'a key twice in an entry': [
      one('{"dtype":"F32","dtype":"U8","shape":[8],"data_offsets":[0,8]}'),
      /"dtype" twice/,
    ],
    'the name __proto__': [file(`{"__proto__":${u8(0, 2)}}`, [1, 2]), /uses the name "__proto__"/],
    '__proto__ in the metadata': [file('{"__metadata__":{"\\u005f_proto__":"x"}}'), /uses the name/],
    'metadata that is a string': [file('{"__metadata__":"x"}'), /__metadata__ is not an object of strings/],
    'metadata of numbers': [file('{"__metadata__":{"ways":5}}'), /__metadata__ is not an object of strings/],
    'bottomless nesting': [file(`{"w":${'['.repeat(1e5)}${']'.repeat(1e5)}}`), /nests deeper/],
  };
  for (const [title, [bytes, message]] of Object.entries(hostile)) {
    it(`rejects ${title}`, () => {
      assert.throws(
        () => decodeSafetensors(bytes, 'weights.safetensors'),
        (error) => {
          assert.ok(error instanceof DataError, String(error));
          assert.match(error.message, message);
          assert.match(error.message, /^weights\.safetensors: .*: (fetch or save it again|convert it)/s);
          return true;
        },
      );
    });
  }

  it('accepts names and strings that only look like trouble', () => {
    const header = `{"__metadata__":{"a":"}{][\\"a\\":\\\\","constructor":":"},"constructor":${u8(0, 1)}}`;
    const { tensors, metadata } = decodeSafetensors(file(header, [3]), 'a');
    assert.deepEqual(metadata, { a: '}{]["a":\\', constructor: ':' });
    assert.deepEqual(tensors, { constructor: { dtype: 'uint8', shape: [1], data: Uint8Array.of(3) } });
  });

  it('reads tensors in any order', () => {
    const { tensors } = decodeSafetensors(file(`{"a":${u8(2, 3)},"b":${u8(0, 2)}}`, [1, 2, 3]), 'a');
    assert.deepEqual([...tensors.a!.data, ...tensors.b!.data], [3, 1, 2]);
  });
});
