/**
 * Charts as standalone SVG files: learning curves, the paper's Figure 1, a picture of a few-shot task.
 * Axes, lines and bands are drawn by Observable Plot into a linkedom document; titles and labels here,
 * because Plot puts those in HTML around the picture. Any browser and librsvg show the result alike.
 */
import * as Plot from '@observablehq/plot';
import { encode } from 'fast-png';
import { parseHTML } from 'linkedom';
import { OptionError } from '../errors.ts';

const width = 720;
const padding = 16;
const font = 'Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans Condensed, sans-serif';

const colors = {
  ink: '#1f2328',
  muted: '#656d76',
  grid: '#e6e8eb',
  truth: '#c3c8ce',
  before: '#c2571a',
  after: '#1d6fb8',
  right: '#1a7f37',
  wrong: '#cf222e',
  /** One after the other for the series of a chart; all are dark enough for text on white. */
  series: [
    ...['#1d6fb8', '#c2571a', '#1a7f5a', '#8250c4', '#b3326b'],
    ...['#806000', '#0e7c86', '#7a4a2b', '#3f4a8a', '#656d76'],
  ],
} as const;

const { document } = parseHTML('<!DOCTYPE html><html></html>');

// ---------------------------------------------------------------------------- learning curves

export interface LearningPoint {
  readonly iteration: number;
  /** Accuracy as a fraction of 1, or a loss. */
  readonly value: number;
  /** Ends of the 95% interval of `value`. @default no band at this point */
  readonly low?: number;
  readonly high?: number;
}

export interface LearningSeries {
  /** Printed at the end of the line, before the last value, such as `test tasks`. */
  readonly name: string;
  readonly points: readonly LearningPoint[];
}

export interface LearningCurveOptions {
  readonly title: string;
  /** @default no second line */
  readonly subtitle?: string;
  readonly series: readonly LearningSeries[];
  /** Accuracies are drawn in percent; losses on a log axis when they span more than a factor of 20. */
  readonly measure: 'accuracy' | 'loss';
  /** @default `accuracy` or `loss` */
  readonly yLabel?: string;
  /** @default `meta-iteration` */
  readonly xLabel?: string;
}

/**
 * One line a series against the iteration, with a light band where intervals are given.
 * @throws {OptionError} when there is nothing to draw, or a value is not finite or no accuracy.
 */
export function learningCurve(options: LearningCurveOptions): string {
  const { series, measure, yLabel = measure, xLabel = 'meta-iteration' } = options;
  checkSeries(series, measure);
  const band = (points: readonly LearningPoint[]) =>
    points.filter(({ low, high }) => low !== undefined && high !== undefined);
  const banded = series.some(({ points }) => band(points).length > 0);

  const axis = valueAxis(series, measure);
  const iterations = series.flatMap(({ points }) => points.map(({ iteration }) => iteration));
  const ticks = Math.min(6, Math.max(1, max(iterations) - min(iterations))); // never between two iterations
  const within = (value: number) => Math.min(Math.max(value, axis.domain[0]), axis.domain[1]);
  const ends = series.map(({ points }) => points.reduce((a, b) => (b.iteration >= a.iteration ? b : a)));
  const labels = series.map(({ name }, i) => {
    const shown = (measure === 'accuracy' ? percent : significant)(ends[i]!.value);
    return `${shorten(name, 28)} ${shown}`.trim();
  });

  const header = heading(options.title, options.subtitle);
  const [marginLeft, marginTop, marginBottom] = [56, 30, 48];
  const marginRight = padding + 26 + Math.ceil(max(labels.map((label) => textWidth(label, 13))));
  const height = Math.max(360, marginTop + marginBottom + labelHeight * labels.length);
  const plot = Plot.plot({
    document,
    width,
    height,
    marginLeft,
    marginTop,
    marginBottom,
    marginRight,
    x: { label: null },
    y: { label: null, type: axis.type, domain: axis.domain, nice: axis.type === 'linear' },
    marks: [
      Plot.gridY({ stroke: colors.grid, strokeOpacity: 1, ticks: axis.ticks }),
      Plot.axisY({ tickSize: 0, color: colors.muted, ticks: axis.ticks, text: axis.format }),
      Plot.axisX({
        tickSize: 4,
        color: colors.muted,
        ticks,
        text: (tick: number) => tick.toLocaleString('en-US'),
      }),
      Plot.frame({ anchor: 'bottom', stroke: colors.truth }),
      series.map(({ points }, i) =>
        Plot.areaY(band(points), {
          x: 'iteration',
          y1: (point: LearningPoint) => within(point.low!),
          y2: (point: LearningPoint) => within(point.high!),
          sort: 'iteration',
          fill: seriesColor(i),
          fillOpacity: 0.14,
        }),
      ),
      series.map(({ points }, i) =>
        Plot.line(points, {
          x: 'iteration',
          y: 'value',
          sort: 'iteration',
          stroke: seriesColor(i),
          strokeWidth: 2,
        }),
      ),
    ],
  });

  const pixels = ends.map(({ iteration, value }): [number, number] => [
    plot.scale('x')!.apply(iteration),
    plot.scale('y')!.apply(value),
  ]);
  const right = width - marginRight;
  const foot = height - 10;
  return page(options.title, header.height + height, [
    header.svg,
    tag(
      'g',
      { transform: `translate(0,${header.height})` },
      drawn(plot),
      endLabels(labels, pixels, right, [marginTop, height - marginBottom]),
      text(padding, 14, yLabel, { fill: colors.muted }),
      text(right, foot, xLabel, { fill: colors.muted, 'text-anchor': 'end' }),
      banded ? text(padding, foot, 'shaded: 95% interval', { fill: colors.muted }) : '',
    ),
  ]);
}

const labelHeight = 17;

/** Labels right of the plot, moved apart to stay inside `range` and tied to the `ends` of their lines. */
function endLabels(
  labels: readonly string[],
  ends: readonly [number, number][],
  right: number,
  range: readonly [number, number],
): string {
  const heights = spread(
    ends.map(([, y]) => y),
    labelHeight,
    range,
  );
  const marks = labels.map((label, i) => {
    const [x, y] = ends[i]!;
    const color = seriesColor(i);
    const tie = `M${round(x)},${round(y)}L${right + 6},${round(y)}L${right + 20},${round(heights[i]!)}`;
    return (
      tag('path', { d: tie, fill: 'none', stroke: color, 'stroke-opacity': 0.5 }) +
      tag('circle', { cx: x, cy: y, r: 3, fill: color }) +
      text(right + 24, heights[i]! + 4.5, label, { fill: color, 'font-size': 13, 'font-weight': 600 })
    );
  });
  return tag('g', { class: 'labels' }, ...marks);
}

function checkSeries(series: readonly LearningSeries[], measure: 'accuracy' | 'loss'): void {
  if (series.length === 0) throw new OptionError('learningCurve: no series to draw: give at least one');
  for (const { name, points } of series) {
    const fail = (fault: string) => {
      throw new OptionError(`learningCurve: series "${name}" ${fault}`);
    };
    if (points.length === 0) fail('has no points: evaluate at least once, or leave it out');
    for (const { iteration, value, low = value, high = value } of points) {
      if (![iteration, value, low, high].every(Number.isFinite)) {
        const found = `${value} (${low} to ${high}) at iteration ${iteration}`;
        fail(`expected finite numbers, got ${found}: leave out points that diverged`);
      }
      if (measure === 'accuracy' && (value < 0 || value > 1)) {
        fail(`expected accuracies in 0 … 1, got ${value} at iteration ${iteration}: give fractions`);
      }
    }
  }
}

/** Type, domain, ticks and tick format of a learning curve's vertical axis. */
function valueAxis(series: readonly LearningSeries[], measure: 'accuracy' | 'loss') {
  const points = series.flatMap((one) => one.points);
  const values = points.map(({ value }) => value);
  const lows = [...values, ...points.flatMap(({ low }) => low ?? [])];
  const highs = [...values, ...points.flatMap(({ high }) => high ?? [])];
  if (measure === 'accuracy') {
    // An interval from a normal approximation may leave 0 … 1; the axis does not.
    const [low, high] = [Math.max(0, min(lows)), Math.min(1, max(highs))];
    const domain = high - low < 0.02 ? [Math.max(0, low - 0.02), Math.min(1, high + 0.02)] : [low, high];
    return {
      type: 'linear',
      domain: domain as [number, number],
      ticks: 6,
      format: (tick: number) => `${Number((100 * tick).toFixed(1))}%`,
    } as const;
  }
  const bottom = min(values);
  if (bottom > 0 && max(values) / bottom > 20) {
    // A band that reaches below 0 has no place on a log axis: let it run off the bottom.
    const domain: [number, number] = [Math.max(min(lows), bottom / 2) / 1.1, max(highs) * 1.1];
    return { type: 'log', domain, ticks: logTicks(domain), format: String } as const;
  }
  const domain: [number, number] = [Math.min(0, min(lows)), max(highs) > 0 ? max(highs) : 1];
  return { type: 'linear', domain, ticks: 6, format: undefined } as const;
}

/** 1, 2 and 5 times the powers of ten inside `domain`; over more than three decades the powers alone. */
function logTicks([low, high]: readonly [number, number]): number[] {
  const steps = high / low > 1000 ? [1] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    ticks.push(...steps.map((step) => Number(`${step}e${power}`)));
  }
  return ticks.filter((tick) => tick >= low && tick <= high);
}

/**
 * Moves `wanted` positions apart until neighbours are `gap` apart, by the least sum of squares, and into
 * `range`: isotonic regression of position − rank · gap by pooling neighbours that are out of order.
 */
function spread(wanted: readonly number[], gap: number, range: readonly [number, number]): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]!);
  const blocks: { sum: number; count: number }[] = [];
  order.forEach((index, rank) => {
    let block = { sum: wanted[index]! - rank * gap, count: 1 };
    for (let above = blocks.at(-1); above !== undefined; above = blocks.at(-1)) {
      if (above.sum / above.count <= block.sum / block.count) break;
      block = { sum: above.sum + block.sum, count: above.count + block.count };
      blocks.pop();
    }
    blocks.push(block);
  });
  const [low, high] = [range[0], range[1] - (wanted.length - 1) * gap];
  const placed = new Array<number>(wanted.length);
  let rank = 0;
  for (const { sum, count } of blocks) {
    const start = Math.max(low, Math.min(high, sum / count));
    for (let i = 0; i < count; i++, rank++) placed[order[rank]!] = start + rank * gap;
  }
  return placed;
}

// -------------------------------------------------------------- Figure 1: adaptation to a sine

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface AdaptationPanel {
  /** Names the initialization, such as `Reptile`. */
  readonly title: string;
  /** The curves, sampled; and the sampled points the model adapted to. */
  readonly truth: readonly Point[];
  readonly before: readonly Point[];
  readonly after: readonly Point[];
  readonly support: readonly Point[];
  /** Mean squared error before and after adaptation, printed in the panel. */
  readonly mseBefore: number;
  readonly mseAfter: number;
}

export interface AdaptationCurvesOptions {
  readonly title: string;
  /** @default no second line */
  readonly subtitle?: string;
  /** Side by side, on one vertical axis. Beyond three the picture grows wider than 720 px. */
  readonly panels: readonly AdaptationPanel[];
  /** Inner gradient steps between before and after, named in the key. @default 32, as in the paper */
  readonly steps?: number;
}

/**
 * The paper's Figure 1: in each panel the true function, the model before and after adaptation and the
 * points it adapted to.
 * @throws {OptionError} when there are no panels, a curve is empty or a number is not finite.
 */
export function adaptationCurves(options: AdaptationCurvesOptions): string {
  const { panels, steps = 32 } = options;
  if (panels.length === 0) throw new OptionError('adaptationCurves: no panels to draw: give at least one');
  for (const { title, truth, before, after, support } of panels) {
    for (const [name, points] of Object.entries({ truth, before, after, support })) {
      const bad = points.find(({ x, y }) => !Number.isFinite(x) || !Number.isFinite(y));
      if (points.length > 0 && bad === undefined) continue;
      const found = bad === undefined ? 'no points' : `(${bad.x}, ${bad.y}): leave out what diverged`;
      throw new OptionError(`adaptationCurves: ${name} of "${title}": expected finite points, got ${found}`);
    }
  }

  const pageWidth = Math.max(width, 240 * panels.length);
  const header = heading(options.title, options.subtitle, pageWidth);
  const [marginLeft, marginTop, marginBottom, height] = [44, 74, 28, 330];
  const plot = Plot.plot({
    document,
    width: pageWidth,
    height,
    marginLeft,
    marginTop,
    marginBottom,
    marginRight: padding,
    fx: { axis: null, padding: 0.06 },
    x: { label: null },
    y: { label: null, nice: true, inset: 4 },
    marks: [
      Plot.gridY({ stroke: colors.grid, strokeOpacity: 1, ticks: 6 }),
      Plot.axisY({ tickSize: 0, color: colors.muted, ticks: 6 }),
      Plot.axisX({ tickSize: 4, color: colors.muted, ticks: 5 }),
      panels.map(({ truth, before, after, support }, panel) => {
        const where = { fx: () => panel, x: 'x', y: 'y' };
        return [
          Plot.line(truth, { ...where, sort: 'x', ...strokes.truth }),
          Plot.line(before, { ...where, sort: 'x', ...strokes.before }),
          Plot.line(after, { ...where, sort: 'x', ...strokes.after }),
          Plot.dot(support, { ...where, r: 4, fill: colors.ink, stroke: 'white', strokeWidth: 1.25 }),
        ];
      }),
    ],
  });

  const panelX = (panel: number): number => plot.scale('fx')!.apply(panel);
  const titles = panels.map(({ title, mseBefore, mseAfter }, panel) => {
    const mse = [
      'MSE ',
      tag('tspan', { fill: colors.before }, significant(mseBefore)),
      ' → ',
      tag('tspan', { fill: colors.after, 'font-weight': 600 }, significant(mseAfter)),
    ];
    return (
      text(panelX(panel), marginTop - 26, title, { 'font-size': 13, 'font-weight': 600 }) +
      tag('text', { x: panelX(panel), y: marginTop - 9, fill: colors.muted }, ...mse)
    );
  });
  const body = [drawn(plot), ...titles, adaptationKey(steps)];
  return page(
    options.title,
    header.height + height + 8,
    [header.svg, tag('g', { transform: `translate(0,${header.height})` }, ...body)],
    pageWidth,
  );
}

const strokes = {
  truth: { stroke: colors.truth, strokeWidth: 5 },
  before: { stroke: colors.before, strokeWidth: 1.75, strokeDasharray: '5,4' },
  after: { stroke: colors.after, strokeWidth: 2 },
};

/** The row that says which line is which. */
function adaptationKey(steps: number): string {
  const y = 18;
  let x = padding;
  const entry = (sample: string, sampleWidth: number, label: string) => {
    const svg = sample + text(x + sampleWidth + 6, y, label);
    x += sampleWidth + 6 + textWidth(label, 12) + 18;
    return svg;
  };
  const line = (style: { stroke: string; strokeWidth: number; strokeDasharray?: string }) =>
    tag('path', {
      d: `M${round(x)},${y - 4}h24`,
      fill: 'none',
      stroke: style.stroke,
      'stroke-width': style.strokeWidth,
      'stroke-dasharray': style.strokeDasharray ?? 'none',
    });
  return tag(
    'g',
    { class: 'key' },
    entry(line(strokes.truth), 24, 'true function'),
    entry(line(strokes.before), 24, 'before adaptation'),
    entry(line(strokes.after), 24, `after ${steps} gradient steps`),
    entry(tag('circle', { cx: x + 4, cy: y - 4, r: 4, fill: colors.ink }), 8, 'sampled points'),
  );
}

// ------------------------------------------------------------------- a picture of one few-shot task

export interface Glyph {
  /** A square gray image, row-major, ink 0 and paper 1. */
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
    const side = Math.sqrt(image.length);
    if (image.length === 0 || !Number.isInteger(side)) {
      fail(`expected square gray images such as 28 × 28 = 784 values, got ${image.length} values`);
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

/** A gray image as an embedded PNG with a hairline frame. */
function picture(image: Float32Array, x: number, y: number, size: number): string {
  const side = Math.sqrt(image.length);
  const data = Uint8Array.from(image, (value) => Math.round(255 * Math.min(1, Math.max(0, value))));
  const png = encode({ width: side, height: side, data, channels: 1, depth: 8 });
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

// ------------------------------------------------------------------------------------ SVG

/** The whole file: a white page with `parts` on it. */
function page(title: string, height: number, parts: readonly string[], pageWidth = width): string {
  const box = { width: pageWidth, height, viewBox: `0 0 ${pageWidth} ${round(height)}` };
  const style = { 'font-family': font, 'font-size': 12, fill: colors.ink };
  return `${tag(
    'svg',
    { xmlns: 'http://www.w3.org/2000/svg', ...box, ...style, role: 'img', 'aria-label': title },
    tag('rect', { width: pageWidth, height, fill: 'white' }),
    ...parts,
  )}\n`;
}

/** Title, subtitle and a further line, wrapped and left-aligned, and the height they take. */
function heading(title: string, subtitle = '', pageWidth = width, further = '') {
  const lines: string[] = [];
  let y = 10;
  const write = (content: string, size: number, style: Attributes) => {
    for (const line of wrap(content, size, pageWidth - 2 * padding)) {
      y += size * 1.4;
      lines.push(text(padding, y, line, { 'font-size': size, ...style }));
    }
  };
  write(title, 17, { 'font-weight': 600 });
  write(subtitle, 13, { fill: colors.muted });
  write(further, 13, { fill: colors.muted });
  return { svg: lines.join(''), height: Math.ceil(y) + 14 };
}

function wrap(content: string, size: number, available: number): string[] {
  const lines: string[] = [];
  for (const word of content.split(/\s+/).filter(Boolean)) {
    const longer = `${lines.at(-1) ?? ''} ${word}`.trim();
    if (lines.length > 0 && textWidth(longer, size) <= available) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** What Plot drew, without its HTML style sheet and with short numbers. */
function drawn(plot: Element): string {
  for (const style of plot.querySelectorAll('style')) style.remove();
  for (const element of plot.querySelectorAll('*')) {
    for (const name of ['d', 'transform', 'x', 'y', 'x1', 'x2', 'y1', 'y2', 'cx', 'cy', 'width', 'height']) {
      const value = element.getAttribute(name);
      if (value !== null) {
        element.setAttribute(
          name,
          value.replace(/-?[\d.]+(e[-+]?\d+)?/g, (number) => round(Number(number))),
        );
      }
    }
  }
  return tag('g', { 'text-anchor': 'middle' }, plot.innerHTML);
}

type Attributes = Record<string, string | number>;

/** An element; `children` are SVG already, attribute values are not. */
function tag(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const list = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${typeof value === 'number' ? round(value) : escapeXml(value)}"`,
  );
  const open = `<${name}${list.join('')}`;
  return children.length === 0 ? `${open}/>` : `${open}>${children.join('')}</${name}>`;
}

function text(x: number, y: number, content: string, attributes: Attributes = {}): string {
  return tag('text', { x, y, ...attributes }, escapeXml(content));
}

function escapeXml(content: string): string {
  const entities: Record<string, string> = { '<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;' };
  return content
    .replace(/[\p{Cc}\p{Cs}]/gu, ' ') // control characters and half surrogates are not allowed in XML
    .replace(/[<>&"]/g, (character) => entities[character]!);
}

/** At most two decimals, so that files are small and stay the same from machine to machine. */
function round(value: number): string {
  return String(Math.round(value * 100) / 100 + 0); // + 0 makes −0 a 0
}

/** A text's width in px, estimated for bold Helvetica: there is no font to measure. */
function textWidth(content: string, size: number): number {
  let ems = 0;
  for (const character of content) {
    if (/[\sfijlrtI.,:;'|()/-]/.test(character)) ems += 0.33;
    else ems += /[A-Zmw%…→]/.test(character) ? 0.82 : 0.58;
  }
  return ems * size;
}

function shorten(content: string, length: number): string {
  return content.length > length ? `${content.slice(0, length - 1)}…` : content;
}

/** `97.6%` for 0.976. */
function percent(value: number): string {
  return `${(100 * value).toFixed(1)}%`;
}

/** Three significant digits or whole numbers: 0.0990, 12.3, 1234. */
function significant(value: number): string {
  return Math.abs(value) < 100 ? value.toPrecision(3) : value.toFixed(0);
}

function seriesColor(index: number): string {
  return colors.series[index % colors.series.length]!;
}

function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

const min = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b));
const max = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b));
