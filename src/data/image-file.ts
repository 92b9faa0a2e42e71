/** The pixels of an encoded image. Node only. */
import { decode } from 'fast-png';
import { DataError } from '../errors.ts';

/** Largest picture decoded, in pixels: 8192 x 8192. */
const maxPixels = 2 ** 26;
const pngSignature = '\x89PNG\r\n\x1a\n';

/** RGBA, 8 bits each. */
export interface DecodedImage {
  readonly width: number;
  readonly height: number;
  /** [height, width, 4]. */
  readonly data: Uint8Array;
}

/**
 * Decodes a PNG.
 * @param name the file's, for messages
 * @throws {DataError} when it is no whole PNG, or larger than 8192 × 8192 pixels
 */
export function readImageFile(bytes: Uint8Array, name: string): DecodedImage {
  if (String.fromCharCode(...bytes.subarray(0, 8)) !== pngSignature) {
    throw new DataError(`${name}: expected a PNG file, its content is another: convert it`);
  }
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length >= 24 && header.getUint32(16) * header.getUint32(20) > maxPixels) {
    const [width, height] = [header.getUint32(16), header.getUint32(20)];
    throw new DataError(`${name}: ${width} × ${height} pixels are more than ${maxPixels}: make it smaller`);
  }
  try {
    return toRgba(decode(bytes, { checkCrc: true }));
  } catch (cause) {
    throw new DataError(`${name}: not a whole PNG (${(cause as Error).message}): save it again`, { cause });
  }
}

type DecodedPng = ReturnType<typeof decode>;

function toRgba({ width, height, depth, channels, data, palette }: DecodedPng): DecodedImage {
  const out = new Uint8Array(width * height * 4);
  const rowBytes = Math.ceil((width * channels * depth) / 8);
  const most = 2 ** depth - 1;
  /** Value c of the pixel at (row, column): 0 … 2^depth − 1. */
  const at = (row: number, column: number, c: number): number => {
    if (depth >= 8) return data[(row * width + column) * channels + c]!;
    const bit = column * depth;
    return (data[row * rowBytes + (bit >> 3)]! >> (8 - depth - (bit & 7))) & most;
  };
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const pixel = 4 * (row * width + column);
      if (palette !== undefined) {
        const [red, green, blue, alpha = 255] = palette[at(row, column, 0)] ?? [0, 0, 0];
        out.set([red!, green!, blue!, alpha], pixel);
        continue;
      }
      const value = (c: number) => Math.round((255 * at(row, column, c)) / most);
      const isGray = channels < 3;
      for (let c = 0; c < 3; c++) out[pixel + c] = value(isGray ? 0 : c);
      out[pixel + 3] = channels % 2 === 0 ? value(channels - 1) : 255;
    }
  }
  return { width, height, data: out };
}
