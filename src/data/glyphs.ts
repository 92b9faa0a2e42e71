/**
 * Procedurally drawn characters in the spirit of Omniglot, so that everything here can be learned, tried
 * and tested without any data. A class is a seeded character of one to four pen strokes; each of its
 * drawings is the same strokes by an unsteady hand. Ours, not the paper's: numbers measured on glyphs
 * compare with each other, never with Table 1.
 */
import { checkCount } from '../errors.ts';
import { selectClasses } from './few-shot.ts';
import { Random } from './random.ts';
import type { ImageClasses } from './task.ts';

export interface GlyphOptions {
  /** How many characters. @default 1000 */
  readonly classes?: number;
  /** Drawings of each character. @default 20, like Omniglot */
  readonly drawings?: number;
  /** Another seed is another set of characters. @default 0 */
  readonly seed?: number;
}

/** Positions in the unit square, y pointing down. */
type Point = readonly [x: number, y: number];
/** The points a stroke passes through. */
type Stroke = readonly Point[];

const imageSide = 28;
const inkHalfWidth = 0.7; // pixels; gives the ink of a 28x28 Omniglot drawing, about 60 pixels

/**
 * Images [28, 28, 1] of drawn characters, ink 0 on paper 1. An image depends on (seed, class, drawing)
 * alone, not on the order of reading nor on the number of classes. Each is drawn on first use and kept
 * as 784 bytes.
 *
 * @throws {OptionError} when a count is not a positive whole number.
 */
export function glyphs({ classes = 1000, drawings = 20, seed = 0 }: GlyphOptions = {}): ImageClasses {
  checkCount('glyphs: classes', classes);
  checkCount('glyphs: drawings', drawings);
  const characters = new Map<number, Stroke[]>();
  const images = new Map<number, Uint8Array>();

  const character = (classIndex: number): Stroke[] => {
    const known = characters.get(classIndex);
    if (known) return known;
    const strokes = inventCharacter(Random.stream(seed, `glyph ${classIndex}`));
    characters.set(classIndex, strokes);
    return strokes;
  };
  const image = (classIndex: number, drawing: number): Uint8Array => {
    const key = classIndex * drawings + drawing;
    const known = images.get(key);
    if (known) return known;
    const hand = Random.stream(seed, `glyph ${classIndex} drawing ${drawing}`);
    const pixels = rasterize(drawByHand(character(classIndex), hand));
    images.set(key, pixels);
    return pixels;
  };

  return {
    imageShape: [imageSide, imageSide, 1],
    classCount: classes,
    className: (classIndex) => `glyph ${classIndex}`,
    imageCount: () => drawings,
    read: (classIndex, imageIndex, out, offset) => out.set(image(classIndex, imageIndex), offset),
  };
}

/**
 * Glyphs for meta-training and characters never seen there for testing.
 * @param seed of the characters. @default 0
 */
export function glyphsSplit(seed = 0): { train: ImageClasses; test: ImageClasses } {
  const all = glyphs({ classes: 1200, seed });
  const indices = Array.from({ length: all.classCount }, (_, i) => i);
  return { train: selectClasses(all, indices.slice(0, 1000)), test: selectClasses(all, indices.slice(1000)) };
}

/**
 * A new character: strokes that mostly start where the pen has been, fitted into the square. Draws again
 * while it is little more than a line, which many classes would share.
 */
function inventCharacter(random: Random): Stroke[] {
  for (;;) {
    const strokes: Point[][] = [];
    const strokeCount = 1 + [0.2, 0.5, 0.82].filter((share) => random.uniform() > share).length;
    for (let i = 0; i < strokeCount; i++) {
      const earlier = strokes.flat();
      const touches = earlier.length > 0 && random.uniform() < 0.7;
      const start: Point = touches
        ? earlier[random.integer(earlier.length)]!
        : [random.uniform(0.1, 0.9), random.uniform(0.1, 0.9)];
      strokes.push(penWalk(start, strokeCount === 1 ? 4 + random.integer(4) : 1 + random.integer(5), random));
    }
    const { width, height } = extent(strokes);
    const longer = Math.max(width, height);
    const tooPlain = Math.min(width, height) < 0.35 * longer || inkLength(strokes) < 1.6 * longer;
    if (!tooPlain) return fit(strokes, random.uniform(0.5, 0.66));
  }
}

/** A stroke as a walk with a steady turn: straight, bent, curled or zigzag. */
function penWalk([startX, startY]: Point, steps: number, random: Random): Point[] {
  const turn = [0, 0.7, 1.2, 1.7][random.integer(4)]! * (random.uniform() < 0.5 ? -1 : 1);
  const zigzag = random.uniform() < 0.3 ? -1 : 1;
  const step = random.uniform(0.25, 0.6) / Math.sqrt(steps);
  let heading =
    (random.integer(4) * Math.PI) / 2 + (random.uniform() < 0.3 ? Math.PI / 4 : 0) + random.normal(0, 0.15);
  const points: Point[] = [[startX, startY]];
  let [x, y] = [startX, startY];
  for (let i = 0; i < steps; i++) {
    const length = step * random.uniform(0.7, 1.3);
    x += length * Math.cos(heading);
    y += length * Math.sin(heading);
    points.push([x, y]);
    heading += turn * zigzag ** i + random.normal(0, 0.25);
  }
  return points;
}

/** Scales strokes so that their longer side is `side`, and moves them to the middle. */
function fit(strokes: readonly Stroke[], side: number): Stroke[] {
  const { left, top, width, height } = extent(strokes);
  const scale = side / Math.max(width, height);
  return strokes.map((stroke) =>
    stroke.map(
      ([x, y]): Point => [0.5 + scale * (x - left - width / 2), 0.5 + scale * (y - top - height / 2)],
    ),
  );
}

function extent(strokes: readonly Stroke[]): { left: number; top: number; width: number; height: number } {
  const xs = strokes.flat().map(([x]) => x);
  const ys = strokes.flat().map(([, y]) => y);
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return { left, top, width: Math.max(...xs) - left, height: Math.max(...ys) - top };
}

function inkLength(strokes: readonly Stroke[]): number {
  let length = 0;
  for (const stroke of strokes) {
    for (let i = 1; i < stroke.length; i++) {
      length += Math.hypot(stroke[i]![0] - stroke[i - 1]![0], stroke[i]![1] - stroke[i - 1]![1]);
    }
  }
  return length;
}

/** One drawing: every point trembles, and the whole is turned, stretched, slanted and moved a little. */
function drawByHand(strokes: readonly Stroke[], random: Random): Stroke[] {
  const angle = random.normal(0, 0.13);
  const slant = random.normal(0, 0.15);
  const size = Math.exp(random.normal(0, 0.15));
  const [scaleX, scaleY] = [size * Math.exp(random.normal(0, 0.1)), size * Math.exp(random.normal(0, 0.1))];
  const [moveX, moveY] = [random.normal(0.5, 0.05), random.normal(0.5, 0.05)];
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return strokes.map((stroke) => {
    const [shiftX, shiftY] = [random.normal(0, 0.015), random.normal(0, 0.015)];
    return stroke.map(([pointX, pointY]): Point => {
      const y = scaleY * (pointY - 0.5 + shiftY + random.normal(0, 0.022));
      const x = scaleX * (pointX - 0.5 + shiftX + random.normal(0, 0.022)) + slant * y;
      return [moveX + cos * x - sin * y, moveY + sin * x + cos * y];
    });
  });
}

/** Strokes to pixels uint8 [28, 28], 0 where a pixel's middle lies under the pen and 1 elsewhere. */
function rasterize(strokes: readonly Stroke[]): Uint8Array {
  const pixels = new Uint8Array(imageSide * imageSide).fill(1);
  for (const stroke of strokes) {
    const line = smooth(stroke);
    for (let i = 1; i < line.length; i++) inkSegment(pixels, line[i - 1]!, line[i]!);
  }
  return pixels;
}

/** The Catmull-Rom spline through the points of a stroke, as a polyline of 6 pieces a segment. */
function smooth(points: Stroke): Point[] {
  const at = (i: number): Point => points[Math.min(Math.max(i, 0), points.length - 1)]!;
  const line: Point[] = [at(0)];
  for (let i = 0; i + 1 < points.length; i++) {
    const [before, from, to, after] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    for (let piece = 1; piece <= 6; piece++) {
      const t = piece / 6;
      const along = (axis: 0 | 1): number =>
        from[axis] +
        0.5 *
          t *
          (to[axis] -
            before[axis] +
            t *
              (2 * before[axis] -
                5 * from[axis] +
                4 * to[axis] -
                after[axis] +
                t * (3 * (from[axis] - to[axis]) + after[axis] - before[axis])));
      line.push([along(0), along(1)]);
    }
  }
  return line;
}

/** Inks the pixels whose middle is within the pen's half width of the segment. */
function inkSegment(pixels: Uint8Array, from: Point, to: Point): void {
  const [fromX, fromY] = [from[0] * imageSide, from[1] * imageSide];
  const [alongX, alongY] = [to[0] * imageSide - fromX, to[1] * imageSide - fromY];
  const lengthSquared = alongX * alongX + alongY * alongY || 1;
  const first = (a: number, along: number) => Math.max(0, Math.floor(Math.min(a, a + along) - 1));
  const last = (a: number, along: number) => Math.min(imageSide - 1, Math.ceil(Math.max(a, a + along) + 1));
  for (let row = first(fromY, alongY); row <= last(fromY, alongY); row++) {
    for (let column = first(fromX, alongX); column <= last(fromX, alongX); column++) {
      const [x, y] = [column + 0.5 - fromX, row + 0.5 - fromY];
      const t = Math.min(1, Math.max(0, (x * alongX + y * alongY) / lengthSquared));
      const [awayX, awayY] = [x - t * alongX, y - t * alongY];
      if (awayX * awayX + awayY * awayY <= inkHalfWidth * inkHalfWidth) pixels[row * imageSide + column] = 0;
    }
  }
}
