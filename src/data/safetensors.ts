/**
 * Reading and writing safetensors, the file format of every set of weights the project saves
 * (https://huggingface.co/docs/safetensors). A file is
 *
 *     8 bytes   N, the length of the header, little-endian
 *     N bytes   JSON {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …,
 *               "__metadata__": {"key": "value"}}, padded with spaces
 *     the rest  the tensors' bytes, row-major, little-endian; offsets count from here
 *
 * Loading runs no code, and what is loaded is checked to the last byte: files come from strangers.
 * Typed arrays are little-endian on every machine JavaScript meets today, so bytes are copied as they are.
 */
import { DataError, OptionError, ShapeError } from '../errors.ts';
import { isObject } from './json.ts';

/** The dtypes JavaScript has a typed array for: the name in a file and the array. */
const formats = {
  float64: { code: 'F64', array: Float64Array },
  float32: { code: 'F32', array: Float32Array },
  int64: { code: 'I64', array: BigInt64Array },
  int32: { code: 'I32', array: Int32Array },
  int16: { code: 'I16', array: Int16Array },
  int8: { code: 'I8', array: Int8Array },
  uint64: { code: 'U64', array: BigUint64Array },
  uint32: { code: 'U32', array: Uint32Array },
  uint16: { code: 'U16', array: Uint16Array },
  uint8: { code: 'U8', array: Uint8Array },
} as const;

type Formats = typeof formats;
export type StoredDtype = keyof Formats;

/** A named array of a file: `data` is row-major and has as many elements as `shape` says. */
export type StoredTensor = {
  [D in StoredDtype]: {
    readonly dtype: D;
    readonly shape: readonly number[];
    readonly data: InstanceType<Formats[D]['array']>;
  };
}[StoredDtype];

/** What a safetensors file holds. */
export interface Safetensors {
  readonly tensors: Record<string, StoredTensor>;
  readonly metadata: Record<string, string>;
}

const dtypes = Object.keys(formats) as StoredDtype[];
const metadataKey = '__metadata__';

/**
 * The bytes of a safetensors file. Equal arguments give equal bytes.
 * @throws {ShapeError} when a tensor's data and shape differ in size.
 * @throws {OptionError} when a tensor has a name the format reserves.
 */
export function encodeSafetensors(
  tensors: Record<string, StoredTensor>,
  metadata: Record<string, string> = {},
): Uint8Array {
  // Wide elements first, so that every tensor lies aligned for readers that map the file.
  const entries = Object.entries(tensors).sort(
    ([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT,
  );
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header[metadataKey] = metadata;
  let end = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    if (name === metadataKey || name === '__proto__') {
      throw new OptionError(`encodeSafetensors: "${name}" can not name a tensor: choose another name`);
    }
    if (!isSizes(shape) || data.length !== sizeOf(shape)) {
      const found = `${data.length} elements`;
      throw new ShapeError(`encodeSafetensors: "${name}" is ${dtype}[${shape}] but its data has ${found}`);
    }
    const begin = end;
    end += data.byteLength;
    header[name] = { dtype: formats[dtype].code, shape, data_offsets: [begin, end] };
  }

  const json = new TextEncoder().encode(JSON.stringify(header));
  const start = 8 + Math.ceil(json.length / 8) * 8; // where the data begins: a multiple of 8
  const bytes = new Uint8Array(start + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.fill(0x20, 8, start).set(json, 8);
  let offset = start;
  for (const [, { data }] of entries) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return bytes;
}

/**
 * The tensors and metadata of a safetensors file; the arrays are copies, independent of `bytes`.
 * @param name the file's name, for messages.
 * @throws {DataError} for anything the format does not allow, and for dtypes without a typed array.
 */
export function decodeSafetensors(bytes: Uint8Array, name: string): Safetensors {
  const { header, data } = splitFile(bytes, name);
  const { [metadataKey]: metadata = {}, ...entries } = header;
  if (!isObject(metadata) || !Object.values(metadata).every((value) => typeof value === 'string')) {
    throw damaged(name, `${metadataKey} is not an object of strings`);
  }

  const found = Object.entries(entries).map(([tensor, entry]) => ({
    tensor,
    ...readEntry(entry, data.length, `${name}: tensor ${quote(tensor)}`),
  }));

  // Together the tensors cover the data once, without holes; so they are no larger than the file either.
  found.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { tensor, begin, end } of found) {
    if (begin !== covered) {
      const fault = begin < covered ? 'overlaps the tensor before it' : 'leaves a hole before it';
      throw damaged(name, `tensor ${quote(tensor)} begins at byte ${begin}, not ${covered}, so it ${fault}`);
    }
    covered = end;
  }
  if (covered !== data.length) {
    throw damaged(name, `its tensors end at byte ${covered} of ${data.length} bytes of data`);
  }

  const tensors: Record<string, StoredTensor> = {};
  for (const { tensor, dtype, shape, begin, end } of found) {
    const copy = new Uint8Array(data.subarray(begin, end)).buffer; // at offset 0, so aligned
    tensors[tensor] = { dtype, shape, data: new formats[dtype].array(copy) } as StoredTensor;
  }
  return { tensors, metadata: metadata as Record<string, string> };
}

/** The parsed header, known to be an object without repeated or dangerous names, and the data after it. */
function splitFile(bytes: Uint8Array, name: string): { header: Record<string, unknown>; data: Uint8Array } {
  if (bytes.length < 8) {
    throw damaged(name, `it has ${bytes.length} bytes, and 8 are needed to give the length of the header`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > bytes.length - 8) {
    const cut = length < 1_000_000_000n; // of a header; other files say anything there
    const fault = `its header should have ${length} bytes, but ${bytes.length - 8} follow`;
    throw damaged(name, cut ? fault : 'it begins as no such file does');
  }
  const start = 8 + Number(length);
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, start));
    header = JSON.parse(text);
  } catch (cause) {
    throw damaged(name, `its header is not JSON in UTF-8 (${(cause as Error).message})`, cause);
  }
  if (!text.startsWith('{') || !isObject(header)) {
    throw damaged(name, `its header is not a JSON object: it begins with ${quote(text.slice(0, 10))}`);
  }
  const fault = hiddenFault(text);
  if (fault !== undefined) throw damaged(name, fault);
  return { header, data: bytes.subarray(start) };
}

/** One tensor's header entry, checked against the `available` bytes of data. */
function readEntry(entry: unknown, available: number, where: string) {
  if (!isObject(entry)) throw damaged(where, 'expected an object of dtype, shape and data_offsets');
  const { dtype: code, shape, data_offsets: offsets } = entry;
  const dtype = dtypes.find((candidate) => formats[candidate].code === code);
  if (dtype === undefined) {
    const known = dtypes.map((candidate) => formats[candidate].code).join(', ');
    throw new DataError(`${where}: expected a dtype of ${known}, got ${quote(code)}: convert it, say to F32`);
  }
  if (!isSizes(shape)) throw damaged(where, `expected a shape of whole numbers, got ${quote(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw damaged(where, `expected data_offsets [begin, end], got ${quote(offsets)}`);
  }
  const [begin, end] = offsets as readonly [number, number];
  if (begin > end || end > available) {
    throw damaged(where, `data_offsets [${begin}, ${end}] do not lie in the ${available} bytes of data`);
  }
  const expected = sizeOf(shape) * formats[dtype].array.BYTES_PER_ELEMENT;
  if (end - begin !== expected) {
    const declared = quote(shape);
    throw damaged(where, `${code} of shape ${declared} takes ${expected} bytes, but it has ${end - begin}`);
  }
  return { dtype, shape, begin, end };
}

/**
 * What is wrong with the well-formed `json` that its value does not show, if anything: `JSON.parse` keeps
 * the last of two equal keys in silence, `__proto__` is a trap for whoever copies the object, and deep
 * nesting for whoever walks it.
 */
function hiddenFault(json: string): string | undefined {
  const open: Set<string>[] = []; // the keys so far of each object that is open; nothing for an array
  let quoteAt = -1; // where the string began that we are in, or -1
  let lastString = '';
  for (const { 0: token, index } of json.matchAll(/[{}[\]:"]|\\./g)) {
    if (token === '"') {
      if (quoteAt >= 0) lastString = json.slice(quoteAt, index + 1);
      quoteAt = quoteAt >= 0 ? -1 : index;
    } else if (quoteAt >= 0) {
      // Brackets, colons and escapes inside a string mean nothing.
    } else if (token === '{' || token === '[') {
      open.push(new Set());
      if (open.length > 3) return 'its header nests deeper than the format';
    } else if (token === '}' || token === ']') {
      open.pop();
    } else {
      const key: string = JSON.parse(lastString); // token is the colon after a key
      if (open.at(-1)!.has(key)) return `its header has the name ${quote(key)} twice`;
      if (key === '__proto__') return 'its header uses the name "__proto__"';
      open.at(-1)!.add(key);
    }
  }
  return undefined;
}

function damaged(where: string, fault: string, cause?: unknown): DataError {
  return new DataError(`${where}: not a sound safetensors file, ${fault}: fetch or save it again`, { cause });
}

function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A value from the file as JSON, short enough for a message. */
function quote(value: unknown): string {
  const json = JSON.stringify(value) ?? 'nothing';
  return json.length > 60 ? `${json.slice(0, 59)}…` : json;
}
