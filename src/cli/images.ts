/** The images of a run, and what is to be known of one's own before training on them. */
import { type ImageFolder, imageFolder } from '../data/image-folder.ts';
import { loadMiniImagenet } from '../data/mini-imagenet.ts';
import { loadOmniglot, omniglotSplit } from '../data/omniglot.ts';
import type { ImageClasses } from '../data/task.ts';
import { OptionError } from '../errors.ts';
import type { Settings } from '../experiments/settings.ts';
import type { ImageSplit } from '../experiments/setup.ts';
import { aligned, count } from './format.ts';
import type { Progress } from './progress.ts';

/** Reads the images of a task by its settings; sine waves and glyphs have none. */
export async function readImages(
  settings: Pick<Settings, 'task' | 'seed'> & Partial<Settings>,
  { data, progress }: { readonly data: string | undefined; readonly progress: Progress },
): Promise<ImageSplit | undefined> {
  const { task, seed, ways } = settings;
  try {
    if (task === 'omniglot') return omniglotSplit(await loadOmniglot({ data }), seed);
    if (task === 'mini-imagenet') return await readMiniImagenet(data, progress);
    if (task !== 'images') return undefined;
    if (data === undefined) {
      throw new OptionError('data: give the folder or zip of class folders, as --data DIR');
    }
    const { imageSize: size, gray, minImages } = settings;
    const onProgress = decoding(progress, data);
    return await imageFolder({ path: data, size, gray, minImages, seed, ways, onProgress });
  } finally {
    progress.stop();
  }
}

async function readMiniImagenet(data: string | undefined, progress: Progress): Promise<ImageSplit> {
  const read = (split: 'train' | 'test') =>
    loadMiniImagenet(split, { data, onProgress: decoding(progress, `Mini-ImageNet ${split}`) });
  return { train: await read('train'), test: await read('test') };
}

/** Shows how far decoding is, from the first image on. */
export function decoding(progress: Progress, what: string) {
  let begun = false;
  return ({ done, total }: { readonly done: number; readonly total: number }): void => {
    if (!begun) progress.start(`decoding ${what}`, total);
    begun = true;
    progress.update(done);
  };
}

export function isImageFolder(images: ImageSplit | undefined): images is ImageFolder {
  return images !== undefined && 'splitBy' in images;
}

/** One's own images as a line of `--json`. */
export function imagesEvent(images: ImageFolder) {
  const { path, splitBy, leftOut, train, val, test } = images;
  const part = (classes: ImageClasses | undefined) =>
    classes && { classes: countsOf(classes).map(({ name, images: n }) => ({ name, images: n })) };
  return {
    event: 'images' as const,
    ...{ data: path, imageShape: train.imageShape, splitBy },
    ...{ train: part(train), val: part(val), test: part(test), leftOut },
  };
}

/** One's own images for people: how many there are, which class has the fewest, and how they are split. */
export function describeImages(images: ImageFolder): string {
  const { path, splitBy, leftOut, train, val, test } = images;
  const [height, width, channels] = train.imageShape;
  const parts = { train, ...(val && { val }), test };
  const all = Object.values(parts).flatMap(countsOf);
  const smallest = all.reduce((a, b) => (b.images < a.images ? b : a));
  const total = all.reduce((sum, one) => sum + one.images, 0);
  const by = splitBy === 'seed' ? 'split by class and seed' : 'split by folders';
  return [
    `${path}: ${count(all.length)} classes, ${count(total)} images, ` +
      `read as ${width}x${height} ${channels === 1 ? 'gray' : 'colour'}, ${by}`,
    '',
    aligned([
      ...Object.entries(parts).map(([name, classes]) => [name, partLine(countsOf(classes))] as const),
      ['smallest', `class "${smallest.name}" with ${count(smallest.images)} images`],
      ...(leftOut.length === 0 ? [] : [['left out', partLine(leftOut)] as const]),
    ]),
    '',
  ].join('\n');
}

interface Counted {
  readonly name: string;
  readonly images: number;
}

function countsOf(classes: ImageClasses): Counted[] {
  return Array.from({ length: classes.classCount }, (_, index) => ({
    name: classes.className(index),
    images: classes.imageCount(index),
  }));
}

const shown = 8; // classes named on a line

function partLine(classes: readonly Counted[]): string {
  const total = classes.reduce((sum, { images }) => sum + images, 0);
  const names = classes.slice(0, shown).map(({ name, images }) => `${name} ${count(images)}`);
  const more = classes.length > shown ? `, and ${count(classes.length - shown)} more` : '';
  return `${count(classes.length)} classes, ${count(total)} images: ${names.join(', ')}${more}`;
}
