/** Figures in which ours stands beside the paper's. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { drawPicture } from '../../src/cli/figures.ts';
import type { PanelsPicture, RangesPicture } from '../../src/experiments/reproduce/pictures.ts';
import { checkSvg } from './check-svg.ts';

const curve = (values: readonly number[], margin?: number) =>
  values.map((y, x) => ({ x, y, ...(margin === undefined ? {} : { low: y - margin, high: y + margin }) }));

const panels: PanelsPicture = {
  kind: 'panels',
  title: 'a <title> & "more"',
  subtitle: 'what it shows',
  columns: 2,
  x: { label: 'iteration' },
  y: { label: 'accuracy', format: 'percent', domain: [0.2, 1] },
  key: { ours: 'Anole', reference: 'paper' },
  panels: [0, 1, 2].map((i) => ({
    title: `panel ${i}`,
    series: [
      { name: 'paper', role: 'reference', points: curve([0.3, 0.6, 0.9]) },
      { name: 'Anole', role: 'ours', points: curve([0.1, 0.5, 0.95], 0.1) },
    ],
  })),
};

describe('panels', () => {
  it('draw ours solid and filled, the paper’s dashed and hollow, and name both', () => {
    const svg = drawPicture(panels);
    checkSvg(svg);
    assert.equal([...svg.matchAll(/>panel \d</g)].length, 3);
    assert.match(svg, />Anole<\/text>/);
    assert.match(svg, />paper<\/text>/);
    assert.ok((svg.match(/stroke-dasharray="5,3"/g) ?? []).length >= 4, 'three curves and the key');
    assert.match(svg, />100%</);
    assert.equal(
      (svg.match(/aria-label="area"><path/g) ?? []).length,
      3,
      'an interval in each panel, of ours alone',
    );
    // A point below the axis has no dot: two of ours in each panel, three of the paper's, one of each in the key.
    assert.equal((svg.match(/<circle/g) ?? []).length, 3 * 5 + 2);
  });

  it('draw panels without points, logarithmic axes and shared colors', () => {
    const empty = { ...panels, panels: [{ title: 'none yet', series: [] }, ...panels.panels] };
    checkSvg(drawPicture(empty));
    const series = (color: number) => ({
      name: `k = ${color}`,
      role: 'ours' as const,
      color,
      points: [1e-4, 1e-2, 1].map((x) => ({ x, y: x })),
    });
    const log = drawPicture({
      ...panels,
      x: { label: 'αk', scale: 'log' },
      y: { label: 'ratio' },
      sharedColors: true,
      panels: [{ title: 'log', series: [series(0), series(1)] }],
    });
    checkSvg(log);
    assert.match(log, />1e-4</);
    assert.match(log, />k = 1<\/text>/);
  });
});

describe('ranges', () => {
  it('stand on one axis, with both numbers beside them, where there are both', () => {
    const range = (value: number) => ({ value, low: value - 0.01, high: value + 0.01 });
    const picture: RangesPicture = {
      kind: 'ranges',
      title: 'a table',
      subtitle: 'as a picture',
      x: { label: 'accuracy', format: 'percent' },
      key: { ours: 'Anole', reference: 'paper' },
      groups: [
        {
          title: 'Reptile',
          rows: [
            { label: '1-shot', ours: range(0.95), reference: range(0.97) },
            { label: '5-shot', reference: range(0.99) },
          ],
        },
      ],
    };
    const svg = drawPicture(picture);
    checkSvg(svg);
    for (const shown of ['95.0%', '97.0%', '99.0%', '1-shot', '5-shot', 'Reptile'])
      assert.ok(svg.includes(shown), shown);
    const centers = [...svg.matchAll(/<circle cx="([\d.]+)" cy="[\d.]+" r="4"/g)].map(([, x]) => Number(x));
    assert.equal(centers.length, 3);
    const [reference, ours, alone] = centers as [number, number, number];
    assert.ok(ours < reference && reference < alone, 'better is further right');
  });
});

describe('planes', () => {
  it('have equal scales on both axes and mark every place', () => {
    const svg = drawPicture({
      kind: 'plane',
      title: 'a plane',
      subtitle: 'with a path',
      x: [-1, 1],
      y: [-2, 2],
      panels: [
        {
          title: 'path',
          curves: [{ name: 'W', points: curve([0, 1]).map(({ x, y }) => ({ x: 2 * x - 1, y })) }],
          paths: [{ name: 'path', points: curve([0, 1]) }],
          places: [
            { name: 'least', role: 'reference', at: { x: 0, y: 0 } },
            { name: 'end', role: 'ours', at: { x: 1, y: 1 } },
          ],
        },
      ],
    });
    checkSvg(svg);
    const [, width, height] = /<rect width="([\d.]+)" height="([\d.]+)" fill="none"/.exec(svg)!;
    assert.equal(Number(height), 2 * Number(width));
    assert.match(svg, />least \(computed\)</);
  });
});
