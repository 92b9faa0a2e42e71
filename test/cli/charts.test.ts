import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decode } from 'fast-png';
import {
  type AdaptationPanel,
  adaptationCurves,
  type LearningSeries,
  learningCurve,
} from '../../src/cli/charts.ts';
import { type GlyphQuery, glyphTask } from '../../src/cli/glyph-task.ts';
import { OptionError } from '../../src/errors.ts';
import { checkSvg } from './check-svg.ts';

const nasty = 'a <b> & "c" \'d\' \u0007 \ud800 é →';
const nastyEscaped = "a &lt;b&gt; &amp; &quot;c&quot; 'd'     é →".replace(/ +/g, ' ');

/** The points of every path inside Plot's groups for `mark`, group by group. */
function paths(svg: string, mark: string): [number, number][][] {
  const groups = svg.matchAll(new RegExp(`<g[^>]*aria-label="${mark}"[^>]*>(.*?)</g>`, 'g'));
  return [...groups].flatMap(([, content]) =>
    [...content!.matchAll(/ d="([^"]*)"/g)].map(([, d]) =>
      [...d!.matchAll(/(-?[\d.]+),(-?[\d.]+)/g)].map(([, x, y]): [number, number] => [Number(x), Number(y)]),
    ),
  );
}

/** Tick labels of an axis with their pixel positions. */
function ticks(svg: string, axis: 'x' | 'y'): Map<string, number> {
  const [, labels] = svg.match(new RegExp(`<g[^>]*aria-label="${axis}-axis tick label"[^>]*>(.*?)</g>`))!;
  const texts = labels!.matchAll(/translate\(([\d.]+),([\d.]+)\)"[^>]*>([^<]*)</g);
  return new Map([...texts].map(([, x, y, label]) => [label!, Number(axis === 'x' ? x : y)]));
}

function near(actual: number, expected: number, message?: string): void {
  assert.ok(Math.abs(actual - expected) < 0.02, `${message ?? ''} ${actual} is not near ${expected}`);
}

/** Values at iterations 0, 100, 200, …, with an interval of ± `margin` when one is given. */
function series(name: string, values: readonly number[], margin?: number): LearningSeries {
  const points = values.map((value, i) => ({ iteration: 100 * i, value }));
  if (margin === undefined) return { name, points };
  return { name, points: points.map((p) => ({ ...p, low: p.value - margin, high: p.value + margin })) };
}

describe('learningCurve', () => {
  const accuracies = [0.2, 0.4, 0.6, 0.7, 1];

  it('maps accuracies to their places on a percent axis', () => {
    const svg = learningCurve({ title: 't', measure: 'accuracy', series: [series('test', accuracies)] });
    checkSvg(svg);
    const x = ticks(svg, 'x');
    const y = ticks(svg, 'y');
    const [line, ...rest] = paths(svg, 'line');
    assert.equal(rest.length, 0);
    assert.equal(line!.length, 5);
    for (const [i, [pointX, pointY]] of line!.entries()) {
      near(pointX, x.get('0')! + (i / 4) * (x.get('400')! - x.get('0')!), 'x');
      const share = (accuracies[i]! - 0.2) / 0.8;
      near(pointY, y.get('20%')! + share * (y.get('100%')! - y.get('20%')!), 'y');
    }
    assert.ok(y.get('100%')! < y.get('20%')!, 'better is higher');
    assert.match(svg, />test 100\.0%<\/text>/);
    assert.match(svg, />accuracy<\/text>/);
    assert.match(svg, />meta-iteration<\/text>/);
  });

  it('draws losses on a log axis when they span decades, else from zero', () => {
    const spanning = [10, 1, 0.1, 0.01];
    const log = learningCurve({ title: 't', measure: 'loss', series: [series('a', spanning)] });
    checkSvg(log);
    const y = ticks(log, 'y');
    for (const [i, [, pointY]] of paths(log, 'line')[0]!.entries()) near(pointY, y.get(String(spanning[i]))!);
    const drops = paths(log, 'line')[0]!.map(([, pointY]) => pointY);
    near(drops[1]! - drops[0]!, drops[3]! - drops[2]!, 'a decade is a decade');

    const linear = learningCurve({ title: 't', measure: 'loss', series: [series('a', [2, 1, 0.5])] });
    const [two, one, half] = paths(linear, 'line')[0]!.map(([, pointY]) => pointY);
    near(one! - two!, 2 * (half! - one!));
    near(ticks(linear, 'y').get('0.0')! - half!, half! - one!, 'the axis starts at 0');
  });

  it('shades an interval only where one is given, and keeps it on the axis', () => {
    const plain = series('plain', accuracies);
    const svg = learningCurve({
      title: 't',
      measure: 'accuracy',
      series: [plain, series('banded', accuracies, 0.1)],
    });
    checkSvg(svg);
    const areas = paths(svg, 'area');
    assert.equal(areas.length, 1);
    assert.equal(areas[0]!.length, 10);
    const y = ticks(svg, 'y');
    near(Math.min(...areas[0]!.map(([, areaY]) => areaY)), y.get('100%')!, 'clamped at 100%');
    near(Math.max(...areas[0]!.map(([, areaY]) => areaY)), 1.5 * y.get('20%')! - 0.5 * y.get('40%')!, '10%');
    assert.match(svg, /shaded: 95% interval/);
    assert.doesNotMatch(learningCurve({ title: 't', measure: 'accuracy', series: [plain] }), /shaded/);

    const below = series('reaches below 0', [10, 1, 0.1], 0.2);
    checkSvg(learningCurve({ title: 't', measure: 'loss', series: [below] }));
  });

  it('labels line ends without overlap, inside the page, in the order of the lines', () => {
    const ends = [0.9, 0.9, 0.91, 0.5, 0.9, 0.89, 1, 1, 0.9, 0.2, 0.905, 0.9];
    const svg = learningCurve({
      title: 't',
      measure: 'accuracy',
      series: ends.map((end, i) => series(`s${i}`, [0.2, end])),
    });
    checkSvg(svg);
    const labels = [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)"[^>]*>s(\d+) ([\d.]+)%</g)]
      .map(([, x, y, index, value]) => ({
        x: Number(x),
        y: Number(y),
        index: Number(index),
        value: Number(value),
      }))
      .sort((a, b) => a.y - b.y);
    assert.equal(labels.length, ends.length);
    for (const [i, label] of labels.entries()) {
      near(label.value, 100 * ends[label.index]!);
      if (i === 0) continue;
      assert.ok(label.y - labels[i - 1]!.y > 16.9, 'labels overlap');
      assert.ok(label.value <= labels[i - 1]!.value, 'a label is out of order');
    }
    const height = Number(svg.match(/height="([\d.]+)"/)![1]);
    assert.ok(labels[0]!.y > 0 && labels.at(-1)!.y < height - 40);
    const lone = learningCurve({ title: 't', measure: 'accuracy', series: [series('only', [0.2, 0.6])] });
    const [, end] = paths(lone, 'line')[0]!;
    near(Number(lone.match(/y="([\d.]+)"[^>]*>only/)![1]), end![1] + 4.5, 'a lone label stays at its end');
    const pair = [series('first', [0.2, 0.6, 1]), series('second', [0.2, 0.4, 0.6]), series('third', [0.6])];
    const twins = learningCurve({ title: 't', measure: 'accuracy', series: pair });
    const [, , third] = paths(twins, 'line');
    const heightOf = (name: string) => Number(twins.match(new RegExp(`y="([\\d.]+)"[^>]*>${name}`))![1]);
    near((heightOf('second') + heightOf('third')) / 2, third![0]![1] + 4.5, 'moved apart evenly');
  });

  it('draws a bar for the interval of a lone point', () => {
    const end = { iteration: 400, value: 0.9, low: 0.8, high: 0.95 };
    const both = [series('curve', accuracies), { name: 'end', points: [end] }];
    const svg = learningCurve({ title: 't', measure: 'accuracy', series: both });
    checkSvg(svg);
    const y = ticks(svg, 'y');
    const scale = (value: number) => y.get('20%')! + ((value - 0.2) / 0.8) * (y.get('100%')! - y.get('20%')!);
    const [, bar] = svg.match(/<g[^>]*aria-label="rule"[^>]*>(.*?)<\/g>/)!;
    const ends = [...bar!.matchAll(/y[12]="([\d.]+)"/g)].map(([, at]) => Number(at));
    assert.equal(ends.length, 2);
    near(Math.max(...ends), scale(0.8));
    near(Math.min(...ends), scale(0.95));
  });

  it('does not depend on the order of the points', () => {
    const { name, points } = series('a', accuracies, 0.02);
    const draw = (shuffled: LearningSeries) =>
      learningCurve({ title: 't', measure: 'accuracy', series: [shuffled] });
    assert.equal(draw({ name, points: points.toReversed() }), draw({ name, points }));
  });

  it('draws a single evaluation, and constant values', () => {
    for (const measure of ['accuracy', 'loss'] as const) {
      checkSvg(learningCurve({ title: 't', measure, series: [series('', [0])] }));
      const svg = learningCurve({ title: 't', measure, series: [series('', [1, 1])] });
      checkSvg(svg);
      assert.equal(paths(svg, 'line').length, 1);
    }
  });

  it('escapes and wraps every text', () => {
    const one = series(nasty, accuracies);
    const options = { title: nasty, subtitle: nasty, xLabel: nasty, yLabel: nasty };
    const svg = learningCurve({ ...options, measure: 'accuracy', series: [one] });
    checkSvg(svg);
    const shown = svg.replace(/ +/g, ' ').split(nastyEscaped).length - 1;
    assert.equal(shown, 6, 'title, aria-label, subtitle, axes and the line');

    const title = 'a title far too long for a page, '.repeat(8).trim();
    const long = learningCurve({ title, measure: 'accuracy', series: [one] });
    const lines = [...long.matchAll(/font-size="17"[^>]*>([^<]*)</g)].map(([, line]) => line!);
    assert.equal(lines.join(' '), title);
    assert.ok(lines.length >= 3 && lines.every((line) => line.length < 100));
  });

  it('rejects what can not be drawn', () => {
    const draw =
      (measure: 'accuracy' | 'loss', ...all: LearningSeries[]) =>
      () =>
        learningCurve({ title: 't', measure, series: all });
    const rejects = (run: () => string, message: RegExp) =>
      assert.throws(run, (error) => error instanceof OptionError && message.test(error.message));
    rejects(draw('loss'), /no series to draw/);
    rejects(draw('loss', series('a', [1]), series('b', [])), /series "b" has no points/);
    rejects(draw('loss', series('a', [1, NaN])), /expected finite numbers, got NaN .* at iteration 100/);
    rejects(draw('loss', series('a', [1], Infinity)), /\(-Infinity to Infinity\)/);
    rejects(draw('accuracy', series('a', [97.5])), /accuracies in 0 … 1, got 97\.5 .*fractions/);
  });
});

describe('adaptationCurves', () => {
  const grid = Array.from({ length: 50 }, (_, i) => -5 + (10 * i) / 49);
  const sine = (amplitude: number) => grid.map((x) => ({ x, y: amplitude * Math.sin(x) }));
  const panel = (title: string, amplitude: number): AdaptationPanel => ({
    title,
    truth: sine(4),
    before: sine(amplitude),
    after: sine(3.9),
    support: sine(4).filter((_, i) => i % 5 === 0),
    mseBefore: 7.43,
    mseAfter: 0.0989,
  });
  const panels = [panel('Random', 0), panel('MAML', -2), panel('Reptile', 1)];

  it('draws three curves and the points a panel, on one vertical axis', () => {
    const svg = adaptationCurves({ title: 'Figure 1', panels });
    checkSvg(svg);
    const lines = paths(svg, 'line');
    assert.equal(lines.length, 9);
    for (const line of lines) assert.equal(line.length, 50);
    assert.equal(svg.match(/aria-label="y-axis tick label"/g)!.length, 1);
    const y = ticks(svg, 'y');
    const scale = (value: number) => y.get('0')! + (value / 4) * (y.get('4')! - y.get('0')!);
    for (const line of [lines[0]!, lines[3]!, lines[6]!]) {
      for (const [i, [, pointY]] of line.entries()) near(pointY, scale(4 * Math.sin(grid[i]!)));
    }
    for (const [, pointY] of lines[1]!) near(pointY, scale(0));

    // The points lie on the true curve, and the three panels are alike.
    const dots = [...svg.matchAll(/<g[^>]*aria-label="dot"[^>]*>(.*?)<\/g>/g)].map(([, group]) =>
      [...group!.matchAll(/<circle[^>]*>/g)].map(([circle]) => [
        Number(circle.match(/cx="([-\d.]+)"/)![1]),
        Number(circle.match(/cy="([-\d.]+)"/)![1]),
      ]),
    );
    assert.equal(dots.flat().length, 30);
    for (const [i, [x, y]] of dots[0]!.entries()) {
      near(x!, lines[0]![5 * i]![0]);
      near(y!, lines[0]![5 * i]![1]);
    }
    assert.deepEqual(dots[1], dots[0]);
  });

  it('prints titles, both errors and the number of steps', () => {
    const svg = adaptationCurves({ title: nasty, steps: 7, panels: [panel(nasty, 1)] });
    checkSvg(svg);
    assert.match(svg, /MSE <tspan[^>]*>7\.43<\/tspan> → <tspan[^>]*>0\.0989<\/tspan>/);
    assert.match(svg, />after 7 gradient steps</);
    assert.equal(svg.replace(/ +/g, ' ').split(nastyEscaped).length - 1, 3);
  });

  it('grows wider than a page for more than three panels', () => {
    const widthOf = (count: number) =>
      Number(
        adaptationCurves({ title: 't', panels: Array(count).fill(panels[0]) }).match(/width="(\d+)"/)![1],
      );
    assert.equal(widthOf(3), 720);
    assert.equal(widthOf(5), 1200);
  });

  it('rejects what can not be drawn', () => {
    const draw = (part: Partial<AdaptationPanel>) => () =>
      adaptationCurves({ title: 't', panels: [{ ...panels[0]!, ...part }] });
    assert.throws(() => adaptationCurves({ title: 't', panels: [] }), OptionError);
    assert.throws(draw({ after: [] }), /OptionError: .*after of "Random": .*got no points/);
    assert.throws(draw({ before: [{ x: 0, y: NaN }] }), /OptionError: .*before of "Random": .*\(0, NaN\)/);
  });
});

describe('glyphTask', () => {
  /** An image of paper with one dot of ink at `at`. */
  const image = (at: number) => Float32Array.from({ length: 28 * 28 }, (_, i) => (i === at ? 0 : 1));
  const certain = (ways: number, guess: number) =>
    Array.from({ length: ways }, (_, i) => (i === guess ? 0.75 : 0.25 / (ways - 1)));
  /** Before, everything is taken for class 0; after, everything is right but class `wrong`. */
  const task = (ways: number, shots: number, queries: number, wrong: number) => {
    const labels = Array.from({ length: ways }, (_, label) => label);
    const support = labels.flatMap((label) =>
      Array.from({ length: shots }, (_, shot) => ({ image: image(100 * shot + label), label })),
    );
    const query = labels.flatMap((label) =>
      Array.from({ length: queries }, (): GlyphQuery => {
        const after = certain(ways, label === wrong ? 0 : label);
        return { image: image(700 + label), label, before: certain(ways, 0), after };
      }),
    );
    return { title: nasty, ways, support, query };
  };
  const inkAt = (href: string) => {
    const { width, height, channels, data } = decode(Buffer.from(href, 'base64'));
    assert.deepEqual([width, height, channels], [28, 28, 1]);
    assert.equal(data.filter((value) => value === 255).length, 783);
    return data.indexOf(0);
  };
  const images = (svg: string) =>
    [...svg.matchAll(/<image x="([\d.]+)" y="([\d.]+)" width="(\d+)"[^>]*base64,([^"]*)"/g)].map(
      ([, x, y, size, href]) => ({ x: Number(x) + Number(size) / 2, y: Number(y), size, ink: inkAt(href!) }),
    );
  const count = (svg: string, name: string) => svg.split(`class="${name}"`).length - 1;

  it('puts a class in a column: support, query, and what it was taken for', () => {
    const svg = glyphTask(task(5, 2, 1, 3));
    checkSvg(svg);
    const found = images(svg);
    assert.equal(found.length, 5 * (2 + 1 + 2));
    const columns = [...new Set(found.map(({ x }) => x))].sort((a, b) => a - b);
    assert.equal(columns.length, 5);
    for (const [label, x] of columns.entries()) {
      const inks = found
        .filter((one) => one.x === x)
        .sort((a, b) => a.y - b.y)
        .map(({ ink }) => ink);
      assert.deepEqual(inks, [label, 100 + label, 700 + label, 0, label === 3 ? 0 : label]);
    }
  });

  it('marks right and wrong, and counts them', () => {
    const none = -1;
    const svg = glyphTask(task(5, 1, 2, none));
    // Before, only the two queries of class 0 are right; after, all are.
    assert.match(svg, />Query .* right: 2 of 10 \(20%\) before adaptation, 10 of 10 \(100%\) after\.</);
    for (const [verdict, times] of [
      ['right', 12],
      ['wrong', 8],
    ] as const) {
      assert.equal(count(svg, verdict), times);
      const [, color] = svg.match(new RegExp(`class="${verdict}"[^>]*stroke="([^"]*)"`))!;
      assert.equal(svg.match(new RegExp(`fill="${color}">75%</text>`, 'g'))!.length, times);
    }
  });

  it('draws five images a class, wraps many classes, and stays on the page', () => {
    const svg = glyphTask(task(20, 7, 6, 3));
    checkSvg(svg);
    const found = images(svg);
    assert.equal(found.length, 20 * (5 + 3 * 5));
    assert.match(svg, /class 20</);
    assert.match(svg, /of 120 \(/); // all queries are counted
    const height = Number(svg.match(/height="([\d.]+)"/)![1]);
    for (const { x, y, size } of found) assert.ok(x + 24 < 720 && y + Number(size) < height);
  });

  it('rejects what does not fit the task', () => {
    const good = task(3, 1, 1, 3);
    const [first, ...others] = good.query as [GlyphQuery, ...GlyphQuery[]];
    const rejects = (part: Partial<typeof good>, message: RegExp) =>
      assert.throws(
        () => glyphTask({ ...good, ...part }),
        (error) => error instanceof OptionError && message.test(error.message),
      );
    rejects({ query: [] }, /no query images/);
    rejects({ support: good.support.slice(1) }, /class 0 has no support image/);
    rejects({ query: [{ ...first, label: 3 }, ...others] }, /labels in 0 … 2 for 3 ways, got 3/);
    rejects({ query: [{ ...first, after: [1] }, ...others] }, /3 class probabilities for 3 ways, got \[1\]/);
    rejects({ query: [{ ...first, after: [0, NaN, 1] }, ...others] }, /got \[0, NaN, 1\]/);
    rejects({ query: [{ ...first, image: new Float32Array(783) }] }, /square images .*got 783/);
  });
});
