/** Small image files for tests, each of its own seed, and folders and zips of them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { zipSync } from 'fflate';
import sharp from 'sharp';
import { Random } from '../../src/data/random.ts';

export interface PictureOptions {
  /** @default 12 */
  readonly width?: number;
  /** @default 12 */
  readonly height?: number;
  /** @default 'png' */
  readonly format?: 'png' | 'jpeg' | 'webp';
}

/** Noise in colour: no two seeds give the same bytes. */
export async function picture(seed: number, options: PictureOptions = {}): Promise<Uint8Array> {
  const { width = 12, height = 12, format = 'png' } = options;
  const random = Random.stream(seed, 'a picture');
  const pixels = Uint8Array.from({ length: width * height * 3 }, () => random.integer(256));
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .toFormat(format)
    .toBuffer();
}

export type Files = Readonly<Record<string, Uint8Array | string>>;

/** `count` pictures for each class, named `<class>/0.png` and so on. */
export async function classesOf(
  counts: Readonly<Record<string, number>>,
  options: PictureOptions = {},
): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  for (const [name, count] of Object.entries(counts)) {
    for (let i = 0; i < count; i++) {
      files[`${name}/${i}.${options.format ?? 'png'}`] = await picture(Object.keys(files).length, options);
    }
  }
  return files;
}

/** Writes files into a folder; a name that ends with `/` becomes an empty folder. */
export function writeFolder(folder: string, files: Files): string {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(name.endsWith('/') ? path : dirname(path), { recursive: true });
    if (!name.endsWith('/')) writeFileSync(path, content);
  }
  return folder;
}

/** Writes files as a zip, images stored, the rest deflated. */
export function writeZip(path: string, files: Files): string {
  const entries = Object.entries(files).map(([name, content]) => {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    return [name, [bytes, { level: /\.(png|jpe?g|webp)$/.test(name) ? 0 : 6 }]] as const;
  });
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, zipSync(Object.fromEntries(entries) as Parameters<typeof zipSync>[0]));
  return path;
}
