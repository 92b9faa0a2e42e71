/** The pictures of a run, from what it measured. Imported when they are drawn: what draws takes time to load. */
import type { AdaptedSine, AdaptedTask, CurvePoint } from '../experiments/run.ts';
import type { Settings } from '../experiments/settings.ts';
import type { Evaluation } from '../meta/evaluate.ts';
import { adaptationCurves, type LearningSeries, learningCurve, type Point } from './charts.ts';
import { algorithmNames, count, describeTask, percent, significant } from './format.ts';
import { type Glyph, glyphTask } from './glyph-task.ts';

/** Accuracy or error against meta-iterations, with the evaluation at the end; undefined without a finite point. */
export function learningCurvePicture(
  settings: Settings,
  curve: readonly CurvePoint[],
  end?: Evaluation,
): string | undefined {
  if (curve.length === 0) return undefined; // the end alone is no curve
  const isSine = settings.task === 'sine';
  const point = ({ mean, ci95 }: Evaluation, iteration: number) => ({
    iteration,
    value: mean,
    low: mean - ci95,
    high: mean + ci95,
  });
  const series: LearningSeries[] = [
    {
      name: isSine ? 'as it trains' : 'training classes',
      points: curve.map((one) => point(one, one.iteration)),
    },
    {
      name: isSine ? 'fresh waves' : 'unseen classes',
      points: end === undefined ? [] : [point(end, settings.metaIterations)],
    },
  ]
    .map(({ name, points }) => ({ name, points: points.filter(({ value }) => Number.isFinite(value)) }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return undefined;
  const shown = (value: number) => (isSine ? significant(value) : percent(value));
  const result =
    end === undefined
      ? ''
      : `; ${shown(end.mean)} ± ${shown(end.ci95)} over ${count(end.values.length)} ` +
        `${isSine ? 'fresh waves' : 'tasks of unseen classes'}`;
  return learningCurve({
    title: `${algorithmNames[settings.algorithm]}: ${describeTask(settings)}`,
    subtitle: `After ${settings.evalSteps} gradient steps on a task${result}`,
    measure: isSine ? 'loss' : 'accuracy',
    yLabel: isSine ? 'mean squared error' : 'accuracy',
    series,
  });
}

/** Curves before and after adaptation; undefined when adaptation diverged. */
export function sinePicture(settings: Settings, sines: readonly AdaptedSine[]): string | undefined {
  if (!sines.every(({ mseBefore, mseAfter }) => Number.isFinite(mseBefore + mseAfter))) return undefined;
  const points = (xs: Float32Array, ys: ArrayLike<number>): Point[] =>
    Array.from(xs, (x, i) => ({ x, y: ys[i]! }));
  return adaptationCurves({
    title: `${algorithmNames[settings.algorithm]}: adapting to a sine wave`,
    subtitle: `After ${count(settings.metaIterations)} meta-iterations, seed ${settings.seed}`,
    steps: settings.evalSteps,
    panels: sines.map(({ name, task: { support, query }, before, after, mseBefore, mseAfter }) => ({
      title: name,
      truth: points(query.inputs, query.targets),
      before: points(query.inputs, before),
      after: points(query.inputs, after),
      support: points(support.inputs, support.targets),
      mseBefore,
      mseAfter,
    })),
  });
}

/** What a model takes the queries of one task for; undefined when adaptation diverged. */
export function taskPicture(settings: Settings, { task, before, after }: AdaptedTask): string | undefined {
  if (![...before, ...after].every(Number.isFinite)) return undefined;
  const { ways, evalSteps } = settings;
  const pixels = task.support.inputs.length / task.support.count;
  const glyphs = ({ inputs, targets, count: examples }: typeof task.support): Glyph[] =>
    Array.from({ length: examples }, (_, i) => ({
      image: inputs.subarray(i * pixels, (i + 1) * pixels),
      label: targets[i]!,
    }));
  const row = (probabilities: Float32Array, i: number) => probabilities.subarray(i * ways, (i + 1) * ways);
  return glyphTask({
    title: `${describeTask(settings)}: one task of unseen classes`,
    subtitle: `Adaptation is ${evalSteps} gradient steps on the support images.`,
    ways,
    support: glyphs(task.support),
    query: glyphs(task.query).map((glyph, i) => ({ ...glyph, before: row(before, i), after: row(after, i) })),
  });
}
