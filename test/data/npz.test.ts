/** NumPy's archives, as NumPy itself reads them where there is one. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { unzipSync } from 'fflate';
import { encodeNpz } from '../../src/data/npz.ts';
import type { StoredTensor } from '../../src/data/safetensors.ts';
import { OptionError, ShapeError } from '../../src/errors.ts';

const tensors: Record<string, StoredTensor> = {
  'conv1/filter': { dtype: 'float32', shape: [2, 3], data: Float32Array.of(0, -1.5, 1e-40, 3, Infinity, 5) },
  vector: { dtype: 'float64', shape: [3], data: Float64Array.of(0.1, -0, Math.PI) },
  scalar: { dtype: 'int32', shape: [], data: Int32Array.of(-7) },
  wide: { dtype: 'int64', shape: [1, 1, 2], data: BigInt64Array.of(-1n, 2n ** 62n) },
  bytes: { dtype: 'uint8', shape: [4], data: Uint8Array.of(0, 1, 128, 255) },
  empty: { dtype: 'float32', shape: [0, 2], data: new Float32Array() },
};

describe('an npz file', () => {
  it('has an npy file for each array, with the data at a multiple of 64', () => {
    const files = unzipSync(encodeNpz(tensors));
    assert.deepEqual(
      Object.keys(files),
      Object.keys(tensors).map((name) => `${name}.npy`),
    );
    const file = Buffer.from(files['conv1/filter.npy']!);
    assert.equal(file.toString('latin1', 0, 6), '\x93NUMPY');
    assert.deepEqual([...file.subarray(6, 8)], [1, 0]);
    const end = 10 + file.readUInt16LE(8);
    assert.equal(end % 64, 0);
    const header = file.toString('latin1', 10, end);
    assert.match(header, /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(2, 3\), \} *\n$/);
    assert.deepEqual(
      new Float32Array(Uint8Array.from(file.subarray(end)).buffer),
      tensors['conv1/filter']!.data,
    );
    assert.match(Buffer.from(files['vector.npy']!).toString('latin1', 10, 128), /'shape': \(3,\), \}/);
    assert.match(Buffer.from(files['scalar.npy']!).toString('latin1', 10, 128), /'shape': \(\), \}/);
  });

  it('is the same bytes at any time', () => {
    assert.deepEqual(encodeNpz(tensors), encodeNpz(tensors));
  });

  it('is refused for names that leave a folder, and for data of another size', () => {
    for (const name of ['', '/absolute', 'a/../../b']) {
      assert.throws(() => encodeNpz({ [name]: tensors.scalar! }), OptionError);
    }
    const short: StoredTensor = { dtype: 'float32', shape: [2], data: new Float32Array(1) };
    assert.throws(() => encodeNpz({ short }), ShapeError);
  });

  const hasNumpy = spawnSync('python3', ['-c', 'import numpy']).status === 0;
  it('is read by NumPy', { skip: hasNumpy ? false : 'there is no numpy' }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'anole-npz-'));
    try {
      writeFileSync(join(folder, 'a.npz'), encodeNpz(tensors));
      const script = [
        'import json, sys, numpy',
        'arrays = numpy.load(sys.argv[1])',
        'print(json.dumps({n: [str(a.dtype), list(a.shape), a.tobytes().hex()] for n, a in arrays.items()}))',
      ].join('\n');
      const { stdout, stderr } = spawnSync('python3', ['-c', script, join(folder, 'a.npz')], {
        encoding: 'utf8',
      });
      const expected = Object.entries(tensors).map(([name, { dtype, shape, data }]) => [
        name,
        [dtype, shape, Buffer.from(data.buffer).toString('hex')],
      ]);
      assert.deepEqual(JSON.parse(stdout || stderr), Object.fromEntries(expected));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
