/**
 * Writing NumPy's archives, for `numpy.load`: a zip of one `.npy` file an array. The `.npy` format
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), version 1.0, is
 *
 *     6 bytes   \x93NUMPY
 *     2 bytes   1, 0
 *     2 bytes   length of the header, little-endian
 *     header    {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } padded with spaces to a newline,
 *               so that the data begins at a multiple of 64
 *     the rest  the numbers, row-major, little-endian
 */
import { zipSync } from 'fflate';
import { OptionError, ShapeError } from '../errors.ts';
import type { StoredDtype, StoredTensor } from './safetensors.ts';

const descriptors: Readonly<Record<StoredDtype, string>> = {
  float64: '<f8',
  float32: '<f4',
  int64: '<i8',
  int32: '<i4',
  int16: '<i2',
  int8: '|i1',
  uint64: '<u8',
  uint32: '<u4',
  uint16: '<u2',
  uint8: '|u1',
};

/**
 * The bytes of an `.npz` file, not compressed, as `numpy.savez` writes it. Equal arguments give equal bytes.
 * @throws {OptionError} when a name can not be that of a file in a zip
 * @throws {ShapeError} when a tensor's data and shape differ in size
 */
export function encodeNpz(tensors: Readonly<Record<string, StoredTensor>>): Uint8Array {
  const files: Record<string, Uint8Array> = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    if (name === '' || name.startsWith('/') || name.split('/').includes('..')) {
      throw new OptionError(`encodeNpz: "${name}" can not name an array: choose another name`);
    }
    files[`${name}.npy`] = encodeNpy(tensor, name);
  }
  return zipSync(files, { level: 0, mtime: new Date(1980, 0, 1) }); // the first day a zip can tell
}

function encodeNpy({ dtype, shape, data }: StoredTensor, name: string): Uint8Array {
  const expected = shape.reduce((product, length) => product * length, 1);
  if (data.length !== expected) {
    throw new ShapeError(
      `encodeNpz: "${name}" is ${dtype}[${shape}] but its data has ${data.length} elements, not ${expected}`,
    );
  }
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const fields = `{'descr': '${descriptors[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const start = 10;
  const end = Math.ceil((start + fields.length + 1) / 64) * 64;
  const header = `${fields.padEnd(end - start - 1)}\n`;
  const bytes = new Uint8Array(end + data.byteLength);
  bytes.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0]);
  new DataView(bytes.buffer).setUint16(8, header.length, true);
  bytes.set(new TextEncoder().encode(header), start);
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), end);
  return bytes;
}
