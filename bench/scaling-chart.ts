/** The picture of `scaling.ts`: time above, memory below, one panel for each setting that grows. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { colors, drawn, heading, padding, page, tag, text, width } from '../src/cli/svg.ts';
import type { PointSettings } from './scaling-point.ts';

const { document } = parseHTML('<!DOCTYPE html><html></html>');

export interface ScalingPoint {
  readonly name: keyof PointSettings;
  readonly value: number;
  /** Of a meta-iteration. */
  readonly ms: number;
  readonly peakMB: number;
}

/** Times in ms that are marked, those within what was measured. */
const timeTicks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

const titles: Readonly<Record<keyof PointSettings, string>> = {
  innerSteps: 'inner steps k',
  innerBatch: 'inner batch',
  metaBatch: 'meta-batch',
  ways: 'ways',
  workers: 'workers',
};

export function scalingChart(
  points: readonly ScalingPoint[],
  { base, subtitle }: { readonly base: PointSettings; readonly subtitle: string },
): string {
  const title = 'How time and memory of a meta-iteration grow';
  const header = heading(
    title,
    subtitle,
    width,
    'dashed: in proportion to the setting, from the filled point on',
  );
  const height = 232;
  const times = points.map(({ ms }) => ms);
  const ms = { type: 'log', domain: [Math.min(...times) / 1.5, Math.max(...times) * 1.2] } as const;
  const memory = {
    type: 'linear',
    domain: [0, Math.max(...points.map(({ peakMB }) => peakMB)) * 1.1],
  } as const;
  const rows = [
    {
      caption: 'ms a meta-iteration',
      of: (point: ScalingPoint) => point.ms,
      axis: ms,
      ruler: ['innerSteps', 'innerBatch', 'metaBatch'],
    },
    { caption: 'peak memory, MB', of: (point: ScalingPoint) => point.peakMB, axis: memory, ruler: [] },
  ];
  const parts = rows.map(({ caption, of, axis, ruler }, row) => {
    const plot = panels(points, { base, of, axis, ruler, height });
    const y = header.height + row * (height + 14);
    return tag(
      'g',
      { transform: `translate(0,${y})` },
      plot,
      text(padding, 10, caption, { fill: colors.muted }),
    );
  });
  return page(title, header.height + 2 * (height + 14), [header.svg, ...parts]);
}

interface Panels {
  readonly base: PointSettings;
  readonly of: (point: ScalingPoint) => number;
  readonly axis: { readonly type: 'log' | 'linear'; readonly domain: readonly number[] };
  /** Settings for which to draw what grows in proportion. */
  readonly ruler: readonly string[];
  readonly height: number;
}

function panels(points: readonly ScalingPoint[], { base, of, axis, ruler, height }: Panels): string {
  const fx = ({ name }: ScalingPoint) => titles[name];
  const isBase = ({ name, value }: ScalingPoint) => value === base[name];
  const proportional = points.flatMap((point) => {
    const from = points.find((other) => other.name === point.name && isBase(other));
    return from === undefined ? [] : [{ ...point, y: (of(from) * point.value) / from.value }];
  });
  const within = (y: number) => y >= axis.domain[0]! && y <= axis.domain[1]!;
  const ticks = axis.type === 'log' ? timeTicks.filter(within) : 5;
  const plot = Plot.plot({
    document,
    width,
    height,
    marginLeft: 48,
    marginRight: padding,
    marginTop: 40,
    marginBottom: 26,
    fx: { label: null, domain: Object.values(titles), padding: 0.16, axis: null },
    x: { type: 'log', label: null, inset: 5 },
    y: { type: axis.type, domain: [...axis.domain], label: null },
    marks: [
      Plot.gridY({ stroke: colors.grid, strokeOpacity: 1, ticks }),
      Plot.axisY({ tickSize: 0, color: colors.muted, ticks, tickFormat: (tick: number) => String(tick) }),
      Plot.axisX({ tickSize: 4, color: colors.muted, ticks: [1, 5, 20, 100], tickFormat: String }),
      Plot.axisFx({ color: colors.ink, anchor: 'top', tickSize: 0, fontSize: 12 }),
      Plot.frame({ anchor: 'bottom', stroke: colors.truth }),
      Plot.line(
        proportional.filter(({ name, y }) => ruler.includes(name) && within(y)),
        {
          x: 'value',
          y: 'y',
          fx,
          stroke: colors.muted,
          strokeDasharray: '3,3',
          z: 'name',
        },
      ),
      Plot.line(points, { x: 'value', y: of, fx, z: 'name', stroke: colors.after, strokeWidth: 2 }),
      Plot.dot(points, {
        x: 'value',
        y: of,
        fx,
        r: 3,
        fill: 'white',
        stroke: colors.after,
        strokeWidth: 1.5,
      }),
      Plot.dot(points.filter(isBase), { x: 'value', y: of, fx, r: 3.5, fill: colors.after }),
    ],
  });
  return drawn(plot);
}
