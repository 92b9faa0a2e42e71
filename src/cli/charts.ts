/**
 * Charts as standalone SVG files: learning curves and the paper's Figure 1. Axes, lines and bands are drawn
 * by Observable Plot into a linkedom document; titles and labels here, because Plot puts those in HTML
 * around the picture. Any browser and librsvg show the result alike.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { OptionError } from '../errors.ts';
import { percent, significant } from './format.ts';
import { colors, drawn, heading, padding, page, round, shorten, tag, text, textWidth, width } from './svg.ts';

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
 * One line a series against the iteration, with a light band where intervals are given; a lone point gets a bar.
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
        Plot.ruleX(points.length === 1 ? band(points) : [], {
          x: 'iteration',
          y1: (point: LearningPoint) => within(point.low!),
          y2: (point: LearningPoint) => within(point.high!),
          stroke: seriesColor(i),
          strokeWidth: 2,
          strokeOpacity: 0.5,
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
  /** The paper's errors, printed below ours. @default none */
  readonly paper?: { readonly before: number; readonly after: number };
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
  const paperLine = panels.some(({ paper }) => paper !== undefined) ? 16 : 0;
  const [marginLeft, marginTop, marginBottom, height] = [44, 74 + paperLine, 28, 330 + paperLine];
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
  const titles = panels.map(({ title, mseBefore, mseAfter, paper }, panel) => {
    const errors = (before: number, after: number) => [
      tag('tspan', { fill: colors.before }, significant(before)),
      ' → ',
      tag('tspan', { fill: colors.after, 'font-weight': 600 }, significant(after)),
    ];
    const x = panelX(panel);
    const y = marginTop - 9 - paperLine;
    const ours = tag('text', { x, y, fill: colors.muted }, 'MSE ', ...errors(mseBefore, mseAfter));
    const theirs =
      paper === undefined
        ? ''
        : tag('text', { x, y: y + 16, fill: colors.muted }, 'paper ', ...errors(paper.before, paper.after));
    return text(x, y - 17, title, { 'font-size': 13, 'font-weight': 600 }) + ours + theirs;
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

function seriesColor(index: number): string {
  return colors.series[index % colors.series.length]!;
}

const min = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b));
const max = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b));
