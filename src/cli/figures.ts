/**
 * Figures in which ours stands beside the paper's: small plots, ranges, planes. Ours is solid, filled and in
 * color; the paper's (or its theory's) is dashed, hollow and dark grey, in every one of them.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type {
  Axis,
  Panel,
  PanelsPicture,
  Picture,
  PlanePicture,
  PlotSeries,
  RangesPicture,
} from '../experiments/reproduce/pictures.ts';
import { adaptationCurves } from './charts.ts';
import { significant } from './format.ts';
import { colors, drawn, heading, padding, page, round, tag, text, textWidth } from './svg.ts';

const { document } = parseHTML('<!DOCTYPE html><html></html>');

const referenceStyle = { stroke: '#57606a', strokeWidth: 1.5, dash: '5,3' };

/** The picture as a standalone SVG file. */
export function drawPicture(picture: Picture): string {
  switch (picture.kind) {
    case 'panels':
      return panelsFigure(picture);
    case 'ranges':
      return rangesFigure(picture);
    case 'plane':
      return planeFigure(picture);
    case 'adaptation':
      return adaptationCurves(picture);
  }
}

// ----------------------------------------------------------------------------------- the key

interface KeyEntry {
  readonly sample: string;
  readonly sampleWidth: number;
  readonly label: string;
}

/** A row of samples with what they stand for, and the height it takes. */
function keyRow(entries: readonly KeyEntry[], y: number, available: number): { svg: string; height: number } {
  let x = padding;
  let line = y;
  const parts = entries.map(({ sample, sampleWidth, label }) => {
    const needed = sampleWidth + 6 + textWidth(label, 12) + 20;
    if (x > padding && x + needed > available) {
      x = padding;
      line += 20;
    }
    const svg = tag(
      'g',
      { transform: `translate(${round(x)},${round(line)})` },
      sample,
      text(sampleWidth + 6, 0, label),
    );
    x += needed;
    return svg;
  });
  return { svg: tag('g', { class: 'key' }, ...parts), height: line - y + 24 };
}

function oursSample(color: string, dotsOnly = false): string {
  return (
    (dotsOnly ? '' : tag('path', { d: 'M0,-4h24', fill: 'none', stroke: color, 'stroke-width': 2 })) +
    tag('circle', { cx: 12, cy: -4, r: dotsOnly ? 4 : 3, fill: color })
  );
}

/** A color with its name. */
function swatch(color: string, label: string): KeyEntry {
  return {
    sample: tag('rect', { y: -10, width: 12, height: 12, rx: 2, fill: color }),
    sampleWidth: 12,
    label,
  };
}

function referenceSample(color = referenceStyle.stroke): string {
  return (
    tag('path', {
      d: 'M0,-4h24',
      fill: 'none',
      stroke: color,
      'stroke-width': referenceStyle.strokeWidth,
      'stroke-dasharray': referenceStyle.dash,
    }) + tag('circle', { cx: 12, cy: -4, r: 3, fill: 'white', stroke: color, 'stroke-width': 1.5 })
  );
}

const entry = (sample: string, label: string): KeyEntry => ({ sample, sampleWidth: 24, label });

function seriesColor(index: number): string {
  return colors.series[index % colors.series.length]!;
}

// ---------------------------------------------------------------------------------- small plots

function panelsFigure(picture: PanelsPicture): string {
  const { columns, panels, key, sharedColors = false } = picture;
  const narrow = columns > 3;
  const panelWidth = columns === 1 ? 520 : columns === 2 ? 400 : narrow ? 228 : 300;
  const panelHeight = narrow ? 196 : 230;
  const pageWidth = Math.max(720, 2 * padding + columns * panelWidth);
  const header = heading(picture.title, picture.subtitle, pageWidth);
  const named = sharedColors ? sharedNames(panels) : [];
  const dotsOnly = panels.every(({ series }) => series.every((one) => one.role !== 'ours' || one.dotsOnly));
  const entries = [
    ...named.map(({ name, color }) => swatch(seriesColor(color), name)),
    entry(oursSample(named.length > 0 ? referenceStyle.stroke : seriesColor(0), dotsOnly), key.ours),
    ...(key.reference === undefined ? [] : [entry(referenceSample(), key.reference)]),
  ];
  const legend = keyRow(entries, header.height + 8, pageWidth);
  const top = header.height + legend.height;
  const plots = panels.map((panel, i) => {
    const [column, row] = [i % columns, Math.floor(i / columns)];
    const size = { width: panelWidth - 10, height: panelHeight, columns };
    const place = `translate(${round(padding + column * panelWidth)},${round(top + row * (panelHeight + 34))})`;
    return tag('g', { transform: place }, panelPlot(panel, picture, size));
  });
  const rows = Math.ceil(panels.length / columns);
  const bottom = top + rows * (panelHeight + 34);
  return page(picture.title, bottom, [header.svg, legend.svg, ...plots], pageWidth);
}

/** Series of ours by color, where each color has one name throughout. */
function sharedNames(panels: readonly Panel[]): { name: string; color: number }[] {
  const names = new Map<number, string>();
  for (const { series } of panels) {
    for (const [i, { name, role, color = i }] of series.entries())
      if (role === 'ours') names.set(color, name);
  }
  return [...names].sort(([a], [b]) => a - b).map(([color, name]) => ({ name, color }));
}

interface PanelSize {
  readonly width: number;
  readonly height: number;
  readonly columns: number;
}

function panelPlot(panel: Panel, picture: PanelsPicture, { width, height, columns }: PanelSize): string {
  const x = panel.x ?? picture.x;
  const y = panel.y ?? picture.y;
  const points = panel.series.flatMap((series) => series.points);
  const xDomain =
    x.domain ??
    ends(
      points.map((point) => point.x),
      x.scale,
    );
  const yValues = points.flatMap(({ y: value, low = value, high = value }) => [value, low, high]);
  const yDomain = y.domain ?? ends(yValues, y.scale);
  const within = (value: number) => Math.min(Math.max(value, yDomain[0]), yDomain[1]);
  const [marginLeft, marginTop, marginBottom, marginRight] = [46, 38, 30, 12];
  const plot = Plot.plot({
    document,
    width,
    height,
    marginLeft,
    marginTop,
    marginBottom,
    marginRight,
    x: { label: null, type: x.scale ?? 'linear', domain: xDomain, inset: 6 },
    y: {
      label: null,
      type: y.scale ?? 'linear',
      domain: yDomain,
      nice: y.domain === undefined && y.scale !== 'log',
    },
    marks: [
      Plot.gridY({ stroke: colors.grid, strokeOpacity: 1, ...ticksOf(y, 5, yDomain) }),
      Plot.axisY({ tickSize: 0, color: colors.muted, ...ticksOf(y, 5, yDomain), text: formatOf(y) }),
      Plot.axisX({
        tickSize: 4,
        color: colors.muted,
        ...ticksOf(x, columns > 3 ? 3 : 5, xDomain),
        text: formatOf(x),
      }),
      Plot.frame({ anchor: 'bottom', stroke: colors.truth }),
      panel.series.map((series) => seriesMarks(series, within)),
    ],
  });
  return (
    drawn(plot) +
    text(2, 14, panel.title, { 'font-size': columns > 3 ? 12 : 13, 'font-weight': 600 }) +
    text(2, 29, y.label, { fill: colors.muted, 'font-size': 11 }) +
    text(width - marginRight, height + 6, x.label, {
      fill: colors.muted,
      'text-anchor': 'end',
      'font-size': 11,
    })
  );
}

function seriesMarks(
  { role, points, color, dotsOnly = false }: PlotSeries,
  within: (value: number) => number,
) {
  const ours = role === 'ours';
  const stroke = ours
    ? seriesColor(color ?? 0)
    : color === undefined
      ? referenceStyle.stroke
      : seriesColor(color);
  const banded = points.filter(({ low, high }) => low !== undefined && high !== undefined);
  const inside = points.filter(({ y }) => within(y) === y);
  return [
    Plot.areaY(banded, {
      x: 'x',
      y1: (point: (typeof banded)[number]) => within(point.low!),
      y2: (point: (typeof banded)[number]) => within(point.high!),
      fill: stroke,
      fillOpacity: 0.16,
    }),
    Plot.line(dotsOnly ? [] : points, {
      x: 'x',
      y: (point: (typeof points)[number]) => within(point.y),
      stroke,
      strokeWidth: ours ? 2 : referenceStyle.strokeWidth,
      ...(ours ? {} : { strokeDasharray: referenceStyle.dash }),
    }),
    Plot.dot(inside, {
      x: 'x',
      y: 'y',
      r: dotsOnly ? 4 : ours ? 2.6 : 2.4,
      fill: ours ? stroke : 'white',
      stroke,
      strokeWidth: ours ? 0 : 1.2,
    }),
  ];
}

/** Ends of an axis around all values. */
function ends(values: readonly number[], scale: Axis['scale'] = 'linear'): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (values.length === 0) return [0, 1];
  if (scale === 'log') return [low, high];
  return low === high ? [low - 1, high + 1] : [low, high];
}

function ticksOf({ ticks, scale }: Axis, count: number, domain: readonly [number, number]) {
  if (ticks !== undefined) return { ticks: [...ticks] };
  if (scale !== 'log') return { ticks: count };
  const powers: number[] = [];
  for (let power = Math.ceil(Math.log10(domain[0])); power <= Math.log10(domain[1]); power++) {
    powers.push(Number(`1e${power}`));
  }
  const step = Math.max(1, Math.ceil(powers.length / 6));
  return { ticks: powers.filter((_, i) => i % step === 0) };
}

function formatOf({ format, scale }: Axis): (tick: number) => string {
  if (format === 'percent') return (tick) => `${Number((100 * tick).toFixed(1))}%`;
  if (scale === 'log') return (tick) => (tick >= 0.001 && tick < 10_000 ? `${tick}` : tick.toExponential(0));
  return (tick) => (Math.abs(tick) >= 10_000 ? `${tick / 1000}k` : `${Number(tick.toPrecision(6))}`);
}

// -------------------------------------------------------------------------------------- ranges

const rowHeight = 30;

function rangesFigure({ title, subtitle, x, groups, key }: RangesPicture): string {
  const pageWidth = 720;
  const header = heading(title, subtitle, pageWidth);
  const entries = [
    entry(oursSample(seriesColor(0)), key.ours),
    ...(key.reference === undefined ? [] : [entry(referenceSample(), key.reference)]),
  ];
  const legend = keyRow(entries, header.height + 8, pageWidth);
  const top = header.height + legend.height + 6;
  const all = groups.flatMap(({ rows }) =>
    rows.flatMap(({ ours, reference }) =>
      [ours, reference].flatMap((range) => (range ? [range.low, range.high] : [])),
    ),
  );
  const percent = x.format === 'percent';
  const [low, high] = x.domain ?? ends(all);
  const margin = 0.04 * (high - low);
  const domain = [Math.max(percent ? 0 : Number.NEGATIVE_INFINITY, low - margin), high + margin] as const;
  const left = 210;
  const right = pageWidth - 128;
  const at = (value: number) => left + ((value - domain[0]) / (domain[1] - domain[0])) * (right - left);
  const shown = (value: number) => (percent ? `${(100 * value).toFixed(1)}%` : significant(value));
  const parts: string[] = [];
  let y = top;
  for (const group of groups) {
    y += 24;
    parts.push(text(padding, y, group.title, { 'font-weight': 600, 'font-size': 13 }));
    y += 4;
    for (const { label, ours, reference } of group.rows) {
      const middle = y + rowHeight / 2;
      parts.push(tag('path', { d: `M${left},${round(middle)}H${right}`, stroke: colors.grid, fill: 'none' }));
      parts.push(text(left - 12, middle + 4, label, { 'text-anchor': 'end' }));
      if (reference) parts.push(range(reference, middle + 6, at, 'reference'));
      if (ours) parts.push(range(ours, reference ? middle - 5 : middle, at, 'ours'));
      const numbers = [
        ours ? tag('tspan', { fill: seriesColor(0), 'font-weight': 600 }, shown(ours.value)) : '',
        reference
          ? tag('tspan', { fill: referenceStyle.stroke }, `${ours ? '  ' : ''}${shown(reference.value)}`)
          : '',
      ];
      parts.push(tag('text', { x: right + 14, y: middle + 4, 'xml:space': 'preserve' }, ...numbers));
      y += rowHeight;
    }
  }
  const axisY = y + 8;
  const ticks = niceTicks(domain, 6);
  parts.push(tag('path', { d: `M${left},${axisY}H${right}`, stroke: colors.truth, fill: 'none' }));
  for (const tick of ticks) {
    parts.push(tag('path', { d: `M${round(at(tick))},${axisY}v4`, stroke: colors.muted, fill: 'none' }));
    const label = percent ? `${Number((100 * tick).toFixed(1))}%` : `${tick}`;
    parts.push(text(at(tick), axisY + 18, label, { 'text-anchor': 'middle', fill: colors.muted }));
  }
  parts.push(text(right, axisY + 36, x.label, { 'text-anchor': 'end', fill: colors.muted }));
  return page(title, axisY + 46, [header.svg, legend.svg, ...parts], pageWidth);
}

function range(
  { value, low, high }: { readonly value: number; readonly low: number; readonly high: number },
  y: number,
  at: (value: number) => number,
  role: 'ours' | 'reference',
): string {
  const stroke = role === 'ours' ? seriesColor(0) : referenceStyle.stroke;
  const bar = `M${round(at(low))},${round(y)}H${round(at(high))}`;
  return (
    tag('path', {
      d: bar,
      stroke,
      'stroke-width': role === 'ours' ? 3 : 1.5,
      'stroke-opacity': 0.6,
      fill: 'none',
    }) +
    tag('circle', {
      cx: at(value),
      cy: y,
      r: 4,
      stroke,
      fill: role === 'ours' ? stroke : 'white',
      'stroke-width': 1.5,
    })
  );
}

/** Round numbers inside a domain, about `count` of them. */
function niceTicks([low, high]: readonly [number, number], count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

// -------------------------------------------------------------------------------------- planes

/** Figure 2: curves, paths and places in the plane, with equal scales on both axes. */
function planeFigure({ title, subtitle, x, y, panels }: PlanePicture): string {
  const side = 330;
  const height = (side * (y[1] - y[0])) / (x[1] - x[0]);
  const pageWidth = 2 * padding + panels.length * (side + 16);
  const header = heading(title, subtitle, pageWidth);
  const marks = {
    path: tag('path', { d: 'M0,-4h24', stroke: colors.after, 'stroke-width': 1.5, fill: 'none' }),
    ours: tag('circle', { cx: 12, cy: -4, r: 4.5, fill: colors.after, stroke: 'white', 'stroke-width': 1 }),
    manifold: tag('path', { d: 'M0,-4h24', stroke: colors.truth, 'stroke-width': 4, fill: 'none' }),
  };
  const places = panels[0]!.places.filter(({ role }) => role === 'reference');
  const legend = keyRow(
    [
      entry(marks.manifold, 'weights that solve a task'),
      entry(marks.path, 'path of φ'),
      entry(marks.ours, 'where it ends'),
      ...places.map(({ name }, i) => entry(placeMark(12, -4, i), `${name} (computed)`)),
    ],
    header.height + 8,
    pageWidth,
  );
  const top = header.height + legend.height;
  const atX = (value: number) => ((value - x[0]) / (x[1] - x[0])) * side;
  const atY = (value: number) => ((y[1] - value) / (y[1] - y[0])) * height;
  const line = (points: readonly { readonly x: number; readonly y: number }[]) =>
    `M${points.map((point) => `${round(atX(point.x))},${round(atY(point.y))}`).join('L')}`;
  const drawings = panels.map((panel, i) => {
    const inside = panel.curves.map(({ name, points }) => {
      const visible = points.filter(
        (point) => point.x >= x[0] && point.x <= x[1] && point.y >= y[0] && point.y <= y[1],
      );
      const middle = visible[Math.floor(visible.length / 2)]!;
      return (
        tag('path', { d: line(visible), stroke: colors.truth, 'stroke-width': 4, fill: 'none' }) +
        text(atX(middle.x), atY(middle.y) - 10, name, {
          'text-anchor': 'middle',
          'font-style': 'italic',
          fill: colors.muted,
          'font-size': 13,
        })
      );
    });
    const paths = panel.paths.map(
      ({ points }) =>
        tag('path', {
          d: line(points),
          stroke: colors.after,
          'stroke-width': 1.25,
          fill: 'none',
          'stroke-linejoin': 'round',
        }) +
        points
          .slice(0, 12) // the first steps; later ones are too close to tell apart
          .map((point) => tag('circle', { cx: atX(point.x), cy: atY(point.y), r: 2, fill: colors.after }))
          .join('') +
        text(atX(points[0]!.x), atY(points[0]!.y) - 8, 'start', {
          'text-anchor': 'middle',
          fill: colors.muted,
        }),
    );
    const ours = panel.places
      .filter(({ role }) => role === 'ours')
      .map(({ at }) =>
        tag('circle', {
          cx: atX(at.x),
          cy: atY(at.y),
          r: 4.5,
          fill: colors.after,
          stroke: 'white',
          'stroke-width': 1,
        }),
      );
    const references = panel.places
      .filter(({ role }) => role === 'reference')
      .map(({ at }, place) => placeMark(atX(at.x), atY(at.y), place));
    return tag(
      'g',
      { transform: `translate(${round(padding + i * (side + 16))},${round(top)})` },
      text(0, 14, panel.title, { 'font-size': 13, 'font-weight': 600 }),
      tag(
        'g',
        { transform: 'translate(0,24)' },
        tag('rect', { width: side, height, fill: 'none', stroke: colors.grid }),
        ...inside,
        ...paths,
        ...ours,
        ...references,
      ),
    );
  });
  return page(title, top + 24 + height + padding, [header.svg, legend.svg, ...drawings], pageWidth);
}

/** A hollow square, then a hollow diamond, around a computed place. */
function placeMark(x: number, y: number, index: number): string {
  const turned = index === 0 ? '' : ` rotate(45)`;
  return tag('rect', {
    x: -6.5,
    y: -6.5,
    width: 13,
    height: 13,
    fill: 'none',
    stroke: index === 0 ? colors.ink : colors.before,
    'stroke-width': 1.75,
    transform: `translate(${round(x)},${round(y)})${turned}`,
  });
}
