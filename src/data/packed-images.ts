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

export interface PackedContent {
  /** [height, width, channels]. */
  readonly imageShape: readonly [number, number, number];
  readonly classes: readonly PackedClass[];
  /** uint8 [all images, height, width, channels], class by class, values 0 … white. Not copied. */
  readonly pixels: Uint8Array;
  /** The value that reads as 1: 1 for black and white images, which then read and cache faster. */
  readonly white: 1 | 255;
}

const magic = 'ANOLEIMG';
const version = 1;

export class PackedImages implements ImageClasses {
  readonly imageShape: readonly [number, number, number];
  readonly #classes: readonly PackedClass[];
  readonly #pixels: Uint8Array;
  readonly #white: 1 | 255;
  readonly #imageSize: number;
  readonly #starts: number[] = []; // index of the first image of each class

  /** @throws {DataError} when there are more or fewer pixels than the classes need. */
  constructor({ imageShape, classes, pixels, white }: PackedContent) {
    this.imageShape = imageShape;
    this.#classes = classes;
    this.#pixels = pixels;
    this.#white = white;
    this.#imageSize = imageShape[0] * imageShape[1] * imageShape[2];
    let images = 0;
    for (const { count } of classes) {
      this.#starts.push(images);
      images += count;
    }
    if (pixels.length !== images * this.#imageSize) {
      throw new DataError(
        `packed images: ${images} images of ${imageShape.join('x')} need ${images * this.#imageSize} bytes, ` +
          `got ${pixels.length}`,
      );
    }
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
    const start = (this.#starts[classIndex]! + imageIndex) * this.#imageSize;
    out.set(this.#pixels.subarray(start, start + this.#imageSize), offset);
    if (this.#white === 1) return;
    for (let i = offset; i < offset + this.#imageSize; i++) out[i]! *= 1 / 255; // as float32 equal to / 255
  }

  /** The bytes of a file that `decode` reads. */
  encode(): Uint8Array {
    const content = { imageShape: this.imageShape, white: this.#white, classes: this.#classes };
    const header = new TextEncoder().encode(JSON.stringify({ version, ...content }));
    const pixels = this.#white === 1 ? packBits(this.#pixels) : this.#pixels;
    const start = magic.length + 4 + header.length;
    const bytes = new Uint8Array(start + pixels.length + 4);
    const view = new DataView(bytes.buffer);
    bytes.set(new TextEncoder().encode(magic));
    view.setUint32(magic.length, header.length, true);
    bytes.set(header, magic.length + 4);
    bytes.set(pixels, start);
    view.setUint32(bytes.length - 4, crc32(bytes.subarray(0, -4)), true);
    return bytes;
  }

  /** @throws {DataError} when the bytes are damaged, cut short or of another format. */
  static decode(bytes: Uint8Array): PackedImages {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const text = (from: number, to: number) => new TextDecoder().decode(bytes.subarray(from, to));
    if (bytes.length < magic.length + 8 || text(0, magic.length) !== magic) {
      throw new DataError(`not a file of packed images: it does not start with ${magic}`);
    }
    if (crc32(bytes.subarray(0, -4)) !== view.getUint32(bytes.length - 4, true)) {
      throw new DataError('packed images: the file is damaged (its checksum differs); make it anew');
    }
    const start = magic.length + 4 + view.getUint32(magic.length, true);
    const header = JSON.parse(text(magic.length + 4, start)) as PackedHeader;
    if (header.version !== version) {
      throw new DataError(
        `packed images: expected version ${version}, got ${header.version}; make the file anew`,
      );
    }
    const stored = bytes.subarray(start, -4);
    const pixels = header.white === 1 ? unpackBits(stored, pixelCount(header)) : stored;
    return new PackedImages({ ...header, pixels });
  }

  #class(classIndex: number): PackedClass {
    const found = this.#classes[classIndex];
    if (!found) throw new DataError(`no class ${classIndex}: there are ${this.#classes.length}`);
    return found;
  }
}

interface PackedHeader extends Omit<PackedContent, 'pixels'> {
  readonly version: number;
}

function pixelCount({ imageShape: [height, width, channels], classes }: PackedHeader): number {
  return height * width * channels * classes.reduce((sum, { count }) => sum + count, 0);
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
