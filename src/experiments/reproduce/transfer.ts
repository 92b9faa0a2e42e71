/**
 * Transfer, which the paper has not: an initialization learned on procedurally drawn glyphs alone, judged on
 * Omniglot, and the reverse. 5-way, without transduction, with the settings of Table 2.
 */
import { initialState } from '../../meta/train.ts';
import type { Settings } from '../settings.ts';
import { type Experiment, type Report, type ReproduceOptions, type Unit, unit } from './experiment.ts';
import type { RangesPicture } from './pictures.ts';
import { overSeeds, type Sums } from './statistics.ts';
import { rangeOf } from './tables.ts';
import {
  asJson,
  evaluateInParts,
  evaluationWork,
  scaledSettings,
  seedsOf,
  setUpUnit,
  trainingWork,
  trainToTheEnd,
} from './training.ts';

/** Appendix A for 5-way Omniglot, but for the iterations: ours, a fifth of the paper's. */
const settings = {
  algorithm: 'reptile',
  ways: 5,
  trainShots: 10,
  innerSteps: 5,
  innerBatch: 10,
  innerOptimizer: 'adam',
  innerOptimizerState: 'carry',
  innerLr: 1e-3,
  sampling: 'cycle',
  metaBatch: 5,
  metaStep: 1,
  metaStepFinal: 0,
  metaIterations: 20_000,
  outerOptimizer: 'sgd',
  evalSteps: 50,
  evalBatch: 5,
  evalTasks: 2000,
  transductive: false,
} as const satisfies Partial<Settings>;

const domains = { glyphs: 'glyphs', omniglot: 'Omniglot' } as const;
type Domain = keyof typeof domains;
const domainNames = Object.keys(domains) as Domain[];

const sources = { untrained: 'nothing', ...domains } as const;
type Source = keyof typeof sources;
const sourceNames = Object.keys(sources) as Source[];

/** What each initialization is judged on. */
const evaluations = domainNames.flatMap((domain) =>
  [1, 5].map((shots) => ({
    key: `${domain} ${shots}-shot`,
    domain,
    shots,
    label: `${domains[domain]}, ${shots}-shot`,
  })),
);

type Result = { readonly cells: Readonly<Record<string, Sums>> };

export const transfer: Experiment = {
  name: 'transfer',
  summary: 'meta-train on glyphs, evaluate on Omniglot, and the reverse (not in the paper)',
  plan(options) {
    const units = sourceNames.map((source) =>
      seedsOf(options).map((seed) => sourceUnit(source, seed, options)),
    );
    return {
      title: 'Transfer between glyphs and Omniglot',
      units: units.flat(),
      parallelUnits: false,
      report: (done) =>
        reportOf(
          units.map((seeds) => seeds.map((one) => done(one))),
          options,
        ),
    };
  },
};

function sourceUnit(source: Source, seed: number, options: ReproduceOptions): Unit<Result> {
  const task = source === 'untrained' ? 'glyphs' : source;
  const trained = scaledSettings({ task, given: { ...settings, seed } }, options);
  const training = source === 'untrained' ? 0 : trainingWork(trained);
  const work = training + evaluations.length * evaluationWork(trained);
  return unit<Result>({
    id: `${source}/seed-${seed}`,
    settings: { source, ...(asJson(trained) as object) },
    work,
    note: ({ cells }) =>
      evaluations
        .map(({ key }) => `${key} ${((100 * cells[key]!.sum) / cells[key]!.tasks).toFixed(1)}%`)
        .join(', '),
    async run(context) {
      const setup = await setUpUnit(trained, context);
      let state = initialState({ ...setup, seed });
      if (source !== 'untrained') {
        ({ state } = await trainToTheEnd(setup, context, { share: training / work }));
      }
      const parts: Record<string, readonly Sums[]> = { ...(context.kept as Record<string, readonly Sums[]>) };
      const cells: Record<string, Sums> = {};
      for (const [i, { key, domain, shots }] of evaluations.entries()) {
        // The test classes of the other domain are as new to it as those of its own.
        const judged = await setUpUnit({ ...trained, task: domain, shots }, context);
        cells[key] = await evaluateInParts(judged, state, {
          ...context,
          parts: parts[key] ?? [],
          keep: async (done) => {
            parts[key] = done;
            await context.keep(parts);
          },
          progress: (share) =>
            context.progress((training + (i + share) * evaluationWork(trained)) / work, key),
        });
      }
      return { cells };
    },
  });
}

function reportOf(
  results: readonly (readonly (Result | undefined)[])[],
  { scale }: ReproduceOptions,
): Report {
  const measure = (source: Source, key: string) =>
    overSeeds(results[sourceNames.indexOf(source)]!.map((result) => result?.cells[key]));
  const groups = evaluations.map(({ key, label }) => ({
    title: `Judged on ${label}`,
    unit: 'percent' as const,
    rows: sourceNames.map((source) => ({
      label: `trained on ${sources[source]}`,
      ours: measure(source, key),
    })),
  }));
  const picture: RangesPicture = {
    kind: 'ranges',
    title: 'Transfer between glyphs and Omniglot',
    subtitle:
      '5-way accuracy on unseen classes after 50 gradient steps, without transduction. The paper has no such experiment.',
    x: { label: 'accuracy', format: 'percent' },
    key: { ours: 'Anole' },
    groups: groups.map(({ title, rows }) => ({
      title,
      rows: rows.map(({ label, ours }) => ({
        label,
        ...(ours === undefined ? {} : { ours: rangeOf(ours) }),
      })),
    })),
  };
  return {
    groups,
    measured: Object.fromEntries(
      sourceNames.map((source, i) => [source, results[i]!.map((result) => result ?? null)]),
    ),
    pictures: { 'transfer.svg': picture },
    remarks: [
      'Glyphs are ours: 1,000 drawn characters (see src/data/glyphs.ts). The paper has no such experiment.',
      ...(scale < 1 ? [`Trained for ${scale} of the experiment’s iterations.`] : []),
    ],
  };
}
