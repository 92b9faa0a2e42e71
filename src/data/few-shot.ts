/**
 * Few-shot classification tasks from images sorted by class (§6.1), and views that choose,
 * split and rotate classes without copying an image.
 */
import { checkCount, DataError, OptionError } from '../errors.ts';
import { Random } from './random.ts';
import {
  checkTaskSize,
  type Examples,
  type ImageClasses,
  type Task,
  type TaskSize,
  type TaskSource,
} from './task.ts';

export interface FewShotOptions {
  /** Classes in a task, at least 2. */
  readonly ways: number;
}

/**
 * Tasks that tell `ways` classes apart. A task draws different classes, labels them 0 … ways − 1 in
 * random order, and draws `size.support + size.query` different images of each, so support and query
 * share none. Examples come class by class: all of label 0 first.
 *
 * @throws {OptionError} when `ways` is no whole number of at least 2, or `images` has fewer classes.
 */
export function fewShotTasks(images: ImageClasses, { ways }: FewShotOptions): TaskSource {
  checkCount('fewShotTasks: ways', ways, { from: 2 });
  if (ways > images.classCount) {
    throw new OptionError(
      `fewShotTasks: ${ways} ways need ${ways} classes, but there are ${images.classCount}: lower the ways`,
    );
  }
  const [height, width, channels] = images.imageShape;
  const pixels = height * width * channels;

  /** Examples to be written: those given, if they are as many. */
  const blank = (perClass: number, spent: Examples | undefined): Examples => {
    const count = ways * perClass;
    if (spent?.inputs.length === count * pixels) return spent;
    // [ways*shots, height, width, channels]
    return { count, inputs: new Float32Array(count * pixels), targets: new Int32Array(count) };
  };

  const sample = (random: Random, size: TaskSize, spent?: Task): Task => {
    checkTaskSize(size);
    const task = { support: blank(size.support, spent?.support), query: blank(size.query, spent?.query) };
    const classes = random.choose(images.classCount, ways);
    for (const [label, classIndex] of classes.entries()) {
      const available = images.imageCount(classIndex);
      const needed = size.support + size.query;
      if (needed > available) {
        throw new DataError(
          `class "${images.className(classIndex)}" has ${available} images, but ${size.support} support + ` +
            `${size.query} query needs ${needed}: lower the shots`,
        );
      }
      const chosen = random.choose(available, needed);
      for (let i = 0; i < needed; i++) {
        const [set, shot, shots] =
          i < size.support ? [task.support, i, size.support] : [task.query, i - size.support, size.query];
        const example = label * shots + shot;
        set.targets[example] = label;
        images.read(classIndex, chosen[i]!, set.inputs, example * pixels);
      }
    }
    return task;
  };
  return { inputShape: images.imageShape, targets: 'classes', outputs: ways, sample };
}

/**
 * The classes `indices` of `images`, in that order.
 * @throws {OptionError} when an index is out of range or comes twice (two labels for one class).
 */
export function selectClasses(images: ImageClasses, indices: readonly number[]): ImageClasses {
  const seen = new Set<number>();
  for (const index of indices) {
    if (!Number.isInteger(index) || index < 0 || index >= images.classCount) {
      throw new OptionError(`selectClasses: no class ${index}, there are ${images.classCount}`);
    }
    if (seen.has(index)) throw new OptionError(`selectClasses: class ${index} is chosen twice`);
    seen.add(index);
  }
  const chosen = [...indices];
  return {
    imageShape: images.imageShape,
    classCount: chosen.length,
    className: (classIndex) => images.className(chosen[classIndex]!),
    imageCount: (classIndex) => images.imageCount(chosen[classIndex]!),
    read: (classIndex, imageIndex, out, offset) => images.read(chosen[classIndex]!, imageIndex, out, offset),
  };
}

export interface SplitOptions {
  /** How many classes go to `train`; the others go to `test`. */
  readonly train: number;
  /** Which classes: another seed is another split. */
  readonly seed: number;
}

/**
 * Shuffles the classes by `seed` and parts them, so that no class is in both.
 * @throws {OptionError} unless both parts get at least one class.
 */
export function splitClasses(
  images: ImageClasses,
  { train, seed }: SplitOptions,
): { train: ImageClasses; test: ImageClasses } {
  const { classCount } = images;
  const remedy = `there are ${classCount} classes, and some must be left to test on`;
  checkCount('splitClasses: train', train, { to: classCount - 1, remedy });
  const order = Random.stream(seed, 'class split').choose(classCount, classCount);
  return {
    train: selectClasses(images, order.slice(0, train)),
    test: selectClasses(images, order.slice(train)),
  };
}

/**
 * Every class four times: as it is and rotated by 90, 180 and 270 degrees counterclockwise, each a class
 * of its own (§6.1). Class `4 * c + turns` is class `c` after `turns` quarter turns; the
 * pixels are moved when read.
 *
 * @throws {DataError} when the images are not square.
 */
export function withRotations(images: ImageClasses): ImageClasses {
  const [side, width, channels] = images.imageShape;
  if (side !== width) {
    throw new DataError(
      `withRotations: images must be square, got ${side}x${width}: crop or resize them first`,
    );
  }
  const sources = [0, 1, 2, 3].map((turns) => rotationSources(side, channels, turns));
  const scratch = new Float32Array(side * side * channels);
  return {
    imageShape: images.imageShape,
    classCount: 4 * images.classCount,
    className: (classIndex) => {
      const turns = classIndex % 4;
      return images.className(classIndex >> 2) + (turns === 0 ? '' : ` rotated ${90 * turns}°`);
    },
    imageCount: (classIndex) => images.imageCount(classIndex >> 2),
    read: (classIndex, imageIndex, out, offset) => {
      const turns = classIndex % 4;
      if (turns === 0) return images.read(classIndex >> 2, imageIndex, out, offset);
      images.read(classIndex >> 2, imageIndex, scratch, 0);
      const source = sources[turns]!;
      for (let i = 0; i < source.length; i++) out[offset + i] = scratch[source[i]!]!;
    },
  };
}

/** For every value of the rotated image, row-major HWC, where it is in the upright one. */
function rotationSources(side: number, channels: number, turns: number): Int32Array {
  const sources: number[] = [];
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      let [sourceRow, sourceColumn] = [row, column];
      for (let turn = 0; turn < turns; turn++) {
        [sourceRow, sourceColumn] = [sourceColumn, side - 1 - sourceRow];
      }
      const pixel = sourceRow * side + sourceColumn;
      for (let channel = 0; channel < channels; channel++) sources.push(pixel * channels + channel);
    }
  }
  return Int32Array.from(sources);
}
