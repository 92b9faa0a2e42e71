/** A picture of one few-shot task: what was shown, what was asked, and what the model answered. */
import { encode } from 'fast-png';
import { OptionError } from '../errors.ts';
import { colors, heading, padding, page, round, tag, text, width } from './svg.ts';

export interface Glyph {
  /** A square image in gray or colour, row-major, values in [0, 1]. */
  readonly image: Float32Array;
  /** Its class in 0 … ways − 1. */
  readonly label: number;
}

export interface GlyphQuery extends Glyph {
  /** The model's class probabilities [ways], before and after adaptation. */
  readonly before: ArrayLike<number>;
  readonly after: ArrayLike<number>;
}

export interface GlyphTaskOptions {
  readonly title: string;
  /** @default no line besides the count of right answers */
  readonly subtitle?: string;
  readonly ways: number;
  /** At least one image a class; the first five of each are drawn. */
  readonly support: readonly Glyph[];
  /** The first five of each class are drawn; all are counted. */
  readonly query: readonly GlyphQuery[];
}

/**
 * A column a class: its support images, then its query images, each over the classes the model took it
 * for before and after adaptation, shown by that class's first support image and the probability.
 * @throws {OptionError} when images, labels or probabilities do not fit `ways`.
 */
export function glyphTask(options: GlyphTaskOptions): string {
  const { ways, support, query } = options;
  checkGlyphs(options);
  const rightBefore = query.filter(({ before, label }) => argmax(before) === label).length;
  const rightAfter = query.filter(({ after, label }) => argmax(after) === label).length;
  const share = (count: number) =>
    `${count} of ${query.length} (${Math.round((100 * count) / query.length)}%)`;
  const summary = `Query images classified right: ${share(rightBefore)} before adaptation, ${share(rightAfter)} after.`;
  const header = heading(options.title, options.subtitle, width, summary);

  const drawnRows = 5;
  const ofClass = <T extends Glyph>(glyphs: readonly T[], label: number) =>
    glyphs.filter((glyph) => glyph.label === label).slice(0, drawnRows);
  const bands = Math.ceil(ways / 8); // of at most eight columns
  const columns = Math.ceil(ways / bands);
  const left = 84;
  const columnWidth = Math.min(124, (width - left - padding) / columns);
  const size = 48;
  const small = 22;

  const parts: string[] = [];
  let top = header.height + 8;
  const rowLabel = (label: string, center: number) =>
    parts.push(text(padding, center + 4, label, { fill: colors.muted }));
  for (let first = 0; first < ways; first += columns) {
    const classes = Array.from({ length: Math.min(columns, ways - first) }, (_, i) => first + i);
    const center = (label: number) => left + (label - first + 0.5) * columnWidth;
    const rows = <T extends Glyph>(glyphs: readonly T[]) =>
      Math.max(...classes.map((label) => ofClass(glyphs, label).length));

    for (const label of classes) {
      const middle = { 'text-anchor': 'middle', fill: colors.muted };
      parts.push(text(center(label), top + 6, `class ${label + 1}`, middle));
    }
    top += 16;
    for (let row = 0; row < rows(support); row++, top += size + 6) {
      if (row === 0) rowLabel('support', top + size / 2);
      for (const label of classes) {
        const glyph = ofClass(support, label)[row];
        if (glyph) parts.push(picture(glyph.image, center(label) - size / 2, top, size));
      }
    }
    top += 6;
    for (let row = 0; row < rows(query); row++) {
      parts.push(tag('path', { d: `M${padding},${round(top)}H${width - padding}`, stroke: colors.grid }));
      top += 12;
      rowLabel('query', top + size / 2);
      rowLabel('before', top + size + 10 + small / 2);
      rowLabel('after', top + size + 16 + small * 1.5);
      for (const label of classes) {
        const glyph = ofClass(query, label)[row];
        if (!glyph) continue;
        parts.push(picture(glyph.image, center(label) - size / 2, top, size));
        [glyph.before, glyph.after].forEach((probabilities, i) => {
          const guess = argmax(probabilities);
          const thumbnail = ofClass(support, guess)[0]!.image;
          const y = top + size + 10 + i * (small + 6);
          parts.push(
            picture(thumbnail, center(label) - small / 2, y, small),
            verdict(guess === label, probabilities[guess]!, center(label), y + small / 2),
          );
        });
      }
      top += size + 2 * small + 28;
    }
    top += 14;
  }
  return page(options.title, top, [header.svg, ...parts]);
}

function checkGlyphs({ ways, support, query }: GlyphTaskOptions): void {
  const fail = (fault: string) => {
    throw new OptionError(`glyphTask: ${fault}`);
  };
  if (query.length === 0) fail('no query images to draw: give at least one');
  for (const { image, label } of [...support, ...query]) {
    const { side } = measuresOf(image);
    if (side === 0 || !Number.isInteger(side)) {
      fail(`expected square images such as 28 × 28 = 784 values, got ${image.length} values`);
    }
    if (!Number.isInteger(label) || label < 0 || label >= ways) {
      fail(`expected labels in 0 … ${ways - 1} for ${ways} ways, got ${label}`);
    }
  }
  for (let label = 0; label < ways; label++) {
    if (!support.some((glyph) => glyph.label === label))
      fail(`class ${label} has no support image: give at least one`);
  }
  for (const { before, after } of query) {
    for (const probabilities of [Array.from(before), Array.from(after)]) {
      if (probabilities.length === ways && probabilities.every(Number.isFinite)) continue;
      fail(`expected ${ways} class probabilities for ${ways} ways, got [${probabilities.join(', ')}]`);
    }
  }
}

/** Side and channels of a square image: s² = 3t² has no whole solution but 0, so its length tells both. */
function measuresOf({ length }: Float32Array): { readonly side: number; readonly channels: 1 | 3 } {
  const gray = Math.sqrt(length);
  return Number.isInteger(gray) ? { side: gray, channels: 1 } : { side: Math.sqrt(length / 3), channels: 3 };
}

/** Halves large images until they are not much larger than drawn: colour photographs make large files. */
function reduced(image: Float32Array): Float32Array {
  const { side, channels } = measuresOf(image);
  if (side < 64 || side % 2 === 1) return image;
  const half = new Float32Array(image.length / 4);
  const row = side * channels;
  for (let i = 0; i < half.length; i++) {
    const channel = i % channels;
    const column = Math.floor(i / channels) % (side / 2);
    const at = Math.floor(i / (row / 2)) * 2 * row + 2 * column * channels + channel;
    half[i] = (image[at]! + image[at + channels]! + image[at + row]! + image[at + row + channels]!) / 4;
  }
  return reduced(half);
}

/** An image as an embedded PNG with a hairline frame. */
function picture(original: Float32Array, x: number, y: number, size: number): string {
  const image = reduced(original);
  const { side, channels } = measuresOf(image);
  const data = Uint8Array.from(image, (value) => Math.round(255 * Math.min(1, Math.max(0, value))));
  const png = encode({ width: side, height: side, data, channels, depth: 8 });
  const href = `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
  const box = { x, y, width: size, height: size };
  return (
    tag('image', { ...box, href, style: 'image-rendering:pixelated' }) +
    tag('rect', { ...box, fill: 'none', stroke: colors.truth })
  );
}

/** Around a thumbnail at (x, y): a tick or a cross, drawn because not every font has them, and a percentage. */
function verdict(right: boolean, probability: number, x: number, y: number): string {
  const color = right ? colors.right : colors.wrong;
  const shape = right ? 'l3.5,3.5l6,-7.5' : 'm0.5,-4l8,8m0,-8l-8,8';
  const line = { fill: 'none', stroke: color, 'stroke-width': 2, 'stroke-linecap': 'round' };
  return (
    tag('path', { class: right ? 'right' : 'wrong', d: `M${round(x - 30)},${round(y)}${shape}`, ...line }) +
    text(x + 15, y + 4, `${Math.round(100 * probability)}%`, { fill: color })
  );
}

function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
