/**
 * Images sorted by class in one block of bytes, and the file they are cached in. Safe in a browser.
 *
 * The file: `ANOLEIMG`, the header's length as uint32, the header as JSON, the pixels, and the CRC-32 of
 * all before as uint32; numbers are little-endian. Pixels of black and white images take one bit each (the
 * first in the highest bit), others one byte.
 */
import { DataError } from '../errors.ts';
import { crc32 } from './crc32.ts';
import type { ImageClasses } from './task.ts';

/** A class of a packed set: its name and how many images it has. */
export interface PackedClass {
  readonly name: string;
  readonly count: number;
}

/** What a packed set is made of. */
export interface PackedContent {
  /** [height, width, channels]. */
  readonly imageShape: readonly [number, number, number];
  readonly classes: readonly PackedClass[];
  /**
   * uint8 [all images, height, width, channels], class by class, values 0 … white. Not copied. A function is
   * called when the first image is read.
   */
  readonly pixels: Uint8Array | (() => Uint8Array);
  /** The value that reads as 1: 1 for black and white images, which then read and cache faster. */
  readonly white: 1 | 255;
}

const magic = 'ANOLEIMG';
const version = 1;

/** Images of one size, bytes in memory, class by class: a quarter of what float32 takes. */
export class PackedImages implements ImageClasses {
  readonly imageShape: readonly [number, number, number];
  readonly #classes: readonly PackedClass[];
  readonly #white: 1 | 255;
  readonly #imageSize: number;
  readonly #imageCount: number;
  readonly #starts: number[] = []; // index of the first image of each class
  readonly #load: () => Uint8Array;
  #loaded: Uint8Array | undefined;

  /** @throws {DataError} when there are more or fewer pixels than the classes need. */
  constructor({ imageShape, classes, pixels, white }: PackedContent) {
    this.imageShape = imageShape;
    this.#classes = classes;
    this.#white = white;
    this.#imageSize = imageShape[0] * imageShape[1] * imageShape[2];
    let images = 0;
    for (const { count } of classes) {
      this.#starts.push(images);
      images += count;
    }
    this.#imageCount = images;
    this.#load = typeof pixels === 'function' ? pixels : () => pixels;
    if (typeof pixels !== 'function') this.#pixels();
  }

  get classCount(): number {
    return this.#classes.length;
  }

  className(classIndex: number): string {
    return this.#class(classIndex).name;
  }

  imageCount(classIndex: number): number {
    return this.#class(classIndex).count;
  }

  read(classIndex: number, imageIndex: number, out: Float32Array, offset: number): void {
    const { name, count } = this.#class(classIndex);
    if (!(imageIndex >= 0 && imageIndex < count)) {
      throw new DataError(
        `class "${name}" has images 0 to ${count - 1}, but image ${imageIndex} is asked for`,
      );
    }
    const size = this.#imageSize;
    const start = (this.#starts[classIndex]! + imageIndex) * size;
    const pixels = this.#pixels().subarray(start, start + size);
    copyScaled(pixels, out.subarray(offset, offset + size), 1 / this.#white);
  }

  /** The bytes of a file that `decode` reads. */
  encode(): Uint8Array {
    const parts = this.encodeParts();
    const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  /** The same bytes in parts, of which the one with the pixels is no copy unless they take one bit each. */
  encodeParts(): Uint8Array[] {
    const content = { imageShape: this.imageShape, white: this.#white, classes: this.#classes };
    const json = new TextEncoder().encode(JSON.stringify({ version, ...content }));
    const header = new Uint8Array(packedPrefix + json.length);
    header.set(new TextEncoder().encode(magic));
    new DataView(header.buffer).setUint32(magic.length, json.length, true);
    header.set(json, packedPrefix);
    const pixels = this.#white === 1 ? packBits(this.#pixels()) : this.#pixels();
    const checksum = new Uint8Array(4);
    new DataView(checksum.buffer).setUint32(0, crc32(pixels, crc32(header)), true);
    return [header, pixels, checksum];
  }

  /** @throws {DataError} when the bytes are damaged, cut short or of another format. */
  static decode(bytes: Uint8Array): PackedImages {
    return new PackedImages(decodePacked(bytes));
  }

  #pixels(): Uint8Array {
    if (this.#loaded === undefined) {
      const pixels = this.#load();
      const needed = this.#imageCount * this.#imageSize;
      if (pixels.length !== needed) {
        throw new DataError(
          `packed images: ${this.#imageCount} images of ${this.imageShape.join('x')} need ${needed} bytes, ` +
            `got ${pixels.length}`,
        );
      }
      this.#loaded = pixels;
    }
    return this.#loaded;
  }

  #class(classIndex: number): PackedClass {
    const found = this.#classes[classIndex];
    if (!found) throw new DataError(`no class ${classIndex}: there are ${this.#classes.length}`);
    return found;
  }
}

/** What stands before the pixels of a file. */
export type PackedHeader = Omit<PackedContent, 'pixels'>;

/** The whole of a file. @throws {DataError} as `PackedImages.decode` does. */
export function decodePacked(bytes: Uint8Array): PackedHeader & { readonly pixels: Uint8Array } {
  const start = packedHeaderSize(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < start + 4 || crc32(bytes.subarray(0, -4)) !== view.getUint32(bytes.length - 4, true)) {
    throw new DataError('packed images: the file is damaged (its checksum differs); make it anew');
  }
  const header = decodePackedHeader(bytes.subarray(0, start));
  const expected = packedFileSize(header, start);
  if (bytes.length !== expected) {
    throw new DataError(`packed images: expected ${expected} bytes, got ${bytes.length}; make the file anew`);
  }
  const stored = bytes.subarray(start, -4);
  return { ...header, pixels: header.white === 1 ? unpackBits(stored, valueCount(header)) : stored };
}

/** Bytes before the pixels, from the first `packedPrefix` bytes of a file. */
export function packedHeaderSize(bytes: Uint8Array): number {
  if (bytes.length < packedPrefix || new TextDecoder().decode(bytes.subarray(0, magic.length)) !== magic) {
    throw new DataError(`not a file of packed images: it does not start with ${magic}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return packedPrefix + view.getUint32(magic.length, true);
}
export const packedPrefix = magic.length + 4;

/** The header from the bytes before the pixels, without the checksum that only the whole file has. */
export function decodePackedHeader(bytes: Uint8Array): PackedHeader {
  const content = parseHeader(bytes.subarray(packedPrefix));
  if (content.version !== version) {
    throw new DataError(
      `packed images: expected version ${version}, got ${content.version}; make the file anew`,
    );
  }
  const { imageShape, classes, white } = content;
  const isShape = Array.isArray(imageShape) && imageShape.length === 3 && imageShape.every(isCount);
  if (!isShape || (white !== 1 && white !== 255) || !Array.isArray(classes) || !classes.every(isClass)) {
    throw new DataError('packed images: the header is damaged; make the file anew');
  }
  return { imageShape: imageShape as unknown as PackedHeader['imageShape'], classes, white };
}

function parseHeader(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const content: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof content === 'object' && content !== null) return { ...content };
  } catch {
    // told below
  }
  throw new DataError('packed images: the header is no JSON object; make the file anew');
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isClass(value: unknown): value is PackedClass {
  if (typeof value !== 'object' || value === null) return false;
  const { name, count } = value as Partial<Record<keyof PackedClass, unknown>>;
  return typeof name === 'string' && isCount(count);
}

/** Bytes of a whole file with this header of `headerSize` bytes. */
export function packedFileSize(header: PackedHeader, headerSize: number): number {
  const values = valueCount(header);
  return headerSize + (header.white === 1 ? Math.ceil(values / 8) : values) + 4;
}

function valueCount({ imageShape: [height, width, channels], classes }: PackedHeader): number {
  return height * width * channels * classes.reduce((sum, { count }) => sum + count, 0);
}

/** Four values a turn, which takes half the time: this is what drawing a task of large images consists of. */
function copyScaled(from: Uint8Array, to: Float32Array, scale: number): void {
  const { length } = from;
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) {
    to[i] = from[i]! * scale; // as float32 equal to from[i] / 255
    to[i + 1] = from[i + 1]! * scale;
    to[i + 2] = from[i + 2]! * scale;
    to[i + 3] = from[i + 3]! * scale;
  }
  for (let i = whole; i < length; i++) to[i] = from[i]! * scale;
}

function packBits(pixels: Uint8Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil(pixels.length / 8));
  for (let i = 0; i < pixels.length; i++) packed[i >> 3]! |= pixels[i]! << (7 - (i & 7));
  return packed;
}

function unpackBits(packed: Uint8Array, count: number): Uint8Array {
  const pixels = new Uint8Array(count);
  for (let i = 0; i < count; i++) pixels[i] = (packed[i >> 3]! >> (7 - (i & 7))) & 1;
  return pixels;
}
