/** Tables 1 and 2 (§6.1): few-shot accuracy. One network of N ways is trained once and judged in every cell. */

import type { AlgorithmName } from '../../meta/train.ts';
import { type PaperTable, table1 as paperTable1, table2 as paperTable2 } from '../paper.ts';
import type { Settings, SettingsRequest, TaskName } from '../settings.ts';
import {
  type Experiment,
  type Measure,
  type Plan,
  type Report,
  type ReproduceOptions,
  type RowGroup,
  type Unit,
  unit,
} from './experiment.ts';
import type { PanelsPicture, RangesPicture } from './pictures.ts';
import { overSeeds, type Sums } from './statistics.ts';
import {
  asJson,
  type BothSums,
  type CurvePoint,
  evaluateBothInParts,
  evaluationWork,
  scaled,
  scaledSettings,
  seedsOf,
  setUpUnit,
  trainInUnit,
  trainingWork,
} from './training.ts';

/** A column of a table: an evaluation, without saying whether it is transductive. */
interface Column {
  /** As the paper writes it. */
  readonly name: string;
  readonly shots: number;
  /** Examples in a mini-batch of the evaluation (appendix A). */
  readonly evalBatch: number;
}

/** A network that is trained once for all its columns. */
interface Network {
  /** In names of units, such as `5-way`. */
  readonly name: string;
  /** Appendix A. */
  readonly given: Partial<Settings>;
  readonly columns: readonly Column[];
}

export interface TableDefinition {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  readonly paper: PaperTable;
  readonly task: TaskName;
  readonly networks: readonly Network[];
  /** Points of a learning curve. @default none */
  readonly curve?: CurveDefinition;
}

/** When networks are judged while they train; nothing is chosen by it. The evaluation at the end is the last point. */
interface CurveDefinition {
  /** As shares of the meta-iterations. */
  readonly at: readonly number[];
  /** Tasks of each point and column; all points see the same ones. */
  readonly tasks: number;
  /** Ends of the axis it is drawn on. */
  readonly accuracies: readonly [number, number];
}

/** Appendix A is of Reptile; the others' outer steps and tails are ours, as for `anole train` (`presets.ts`). */
const algorithms: readonly {
  readonly algorithm: AlgorithmName;
  readonly name: string;
  readonly given: Partial<Settings>;
}[] = [
  { algorithm: 'reptile', name: 'Reptile', given: { outerOptimizer: 'sgd', metaStep: 1 } },
  // 5 of the train shots are kept for the tail, so that no algorithm is judged by what it adapted to (§6.3).
  {
    algorithm: 'fomaml',
    name: 'first-order MAML',
    given: { outerOptimizer: 'sgd', metaStep: 4, tailShots: 5 },
  },
  { algorithm: 'maml', name: 'MAML', given: { outerOptimizer: 'adam', metaStep: 1e-3, tailShots: 5 } },
];

/** Inner Adam with β₁ = 0, whose second moments are carried from task to task (§6.1). */
const adaptation = { innerOptimizer: 'adam', innerOptimizerState: 'carry', sampling: 'cycle' } as const;

export const table2: Experiment = tableExperiment({
  name: 'table2',
  title: 'Table 2: few-shot classification on Omniglot',
  summary: 'Omniglot, 5-way and 20-way, 1-shot and 5-shot, with and without transduction (Table 2)',
  paper: paperTable2,
  task: 'omniglot',
  networks: [
    {
      name: '5-way',
      given: {
        ...adaptation,
        ...{ ways: 5, trainShots: 10, innerSteps: 5, innerBatch: 10, innerLr: 1e-3 },
        ...{ metaBatch: 5, metaIterations: 100_000, evalSteps: 50, evalTasks: 10_000 },
      },
      columns: [
        { name: '5-way 1-shot', shots: 1, evalBatch: 5 },
        { name: '5-way 5-shot', shots: 5, evalBatch: 5 },
      ],
    },
    {
      name: '20-way',
      given: {
        ...adaptation,
        ...{ ways: 20, trainShots: 10, innerSteps: 10, innerBatch: 20, innerLr: 5e-4 },
        ...{ metaBatch: 5, metaIterations: 200_000, evalSteps: 50, evalTasks: 10_000 },
      },
      columns: [
        { name: '20-way 1-shot', shots: 1, evalBatch: 10 },
        { name: '20-way 5-shot', shots: 5, evalBatch: 10 },
      ],
    },
  ],
});

export const table1: Experiment = tableExperiment({
  name: 'table1',
  title: 'Table 1: few-shot classification on Mini-ImageNet',
  summary: 'Mini-ImageNet, 5-way, 1-shot and 5-shot, with and without transduction (Table 1)',
  paper: paperTable1,
  task: 'mini-imagenet',
  networks: [
    {
      name: '5-way',
      given: {
        ...adaptation,
        ...{ ways: 5, trainShots: 15, innerSteps: 8, innerBatch: 10, innerLr: 1e-3 },
        ...{ metaBatch: 5, metaIterations: 100_000, evalSteps: 50, evalTasks: 10_000 },
      },
      columns: [
        { name: '5-way 1-shot', shots: 1, evalBatch: 5 },
        { name: '5-way 5-shot', shots: 5, evalBatch: 15 },
      ],
    },
  ],
  curve: { at: [0, 0.25, 0.5, 0.75], tasks: 100, accuracies: [0.2, 0.8] },
});

/** Accuracies of a network, by `cellKey`. */
type Cells = Readonly<Record<string, Sums>>;

type Curve = readonly CurvePoint<{ readonly cells: Cells }>[];

/** All evaluations of one trained network. */
type Result = {
  readonly trainSeconds: number;
  /** Meta-iteration in which training diverged, or null. */
  readonly divergedAt: number | null;
  readonly cells: Cells;
  /** While it trained; for tables with a curve. */
  readonly curve?: Curve;
};

/** What a unit keeps: points of the curve, and parts of the evaluations at the end by column. */
type Kept = {
  readonly curve: Curve;
  readonly parts: Readonly<Record<string, readonly BothSums[]>>;
};

const cellKey = (column: string, transductive: boolean) =>
  transductive ? `${column} + transduction` : column;

/** A table of the networks as our three algorithms train them. */
export function tableExperiment(table: TableDefinition): Experiment {
  return {
    name: table.name,
    summary: table.summary,
    plan(options): Plan {
      const trained = table.networks.flatMap((network) =>
        algorithms.map((algorithm) => ({
          network,
          algorithm,
          units: seedsOf(options).map((seed) => networkUnit(table, network, algorithm, seed, options)),
        })),
      );
      // Reptile, the paper's own rows, before the others; 5-way before 20-way.
      const order = algorithms.flatMap((one) => trained.filter(({ algorithm }) => algorithm === one));
      return {
        title: table.title,
        units: order.flatMap(({ units }) => units),
        parallelUnits: false, // a meta-batch of five tasks keeps all workers busy
        report: (done) =>
          reportOf(
            table,
            trained.map(({ network, algorithm, units }) => ({
              network,
              name: algorithm.name,
              results: units.map(done),
            })),
            options,
          ),
      };
    },
  };
}

function networkUnit(
  table: TableDefinition,
  network: Network,
  { algorithm, given }: (typeof algorithms)[number],
  seed: number,
  options: ReproduceOptions,
): Unit<Result> {
  const request: SettingsRequest = {
    task: table.task,
    given: { ...network.given, ...given, algorithm, seed },
  };
  const settings = scaledSettings(request, options);
  const { metaIterations } = settings;
  const training = trainingWork(settings);
  const { curve: curveDefinition } = table;
  const curveAt = (curveDefinition?.at ?? []).map((share) => Math.round(share * metaIterations));
  const curveTasks = scaled(curveDefinition?.tasks ?? 0, Math.min(1, 20 * options.scale));
  const columnsWork = (evalTasks: number) =>
    network.columns.reduce(
      (total, { evalBatch }) => total + evaluationWork({ ...settings, evalBatch, evalTasks }),
      0,
    );
  const work = training + curveAt.length * columnsWork(curveTasks) + columnsWork(settings.evalTasks);
  const share = 1 - columnsWork(settings.evalTasks) / work; // of the training, the curve included
  return unit<Result>({
    id: `${network.name}/${algorithm}/seed-${seed}`,
    settings: {
      training: asJson(settings),
      evaluations: network.columns.flatMap(({ name, shots, evalBatch }) =>
        [false, true].map((transductive) => ({
          key: cellKey(name, transductive),
          ...{ shots, evalBatch, transductive },
        })),
      ),
      ...(curveDefinition === undefined ? {} : { curveAt, curveTasks }),
    },
    work,
    note: ({ cells, divergedAt }) =>
      divergedAt === null
        ? Object.entries(cells)
            .map(([key, { sum, tasks }]) => `${key} ${((100 * sum) / tasks).toFixed(2)}%`)
            .join(', ')
        : `diverged in meta-iteration ${divergedAt}`,
    async run(context) {
      const setup = await setUpUnit(settings, context);
      let kept = (context.kept ?? { curve: [], parts: {} }) as Kept;
      const keep = async (more: Partial<Kept>) => {
        kept = { ...kept, ...more };
        await context.keep(kept);
      };
      const judgedIn = ({ shots, evalBatch }: Column, more: Partial<Settings> = {}) => ({
        ...setup,
        settings: { ...settings, shots, evalBatch, ...more },
      });
      const trained = await trainInUnit(setup, context, {
        share,
        curve: {
          at: curveAt,
          taken: kept.curve,
          async take(state) {
            let cells: Cells = {};
            for (const column of network.columns) {
              const judged = judgedIn(column, { evalTasks: curveTasks, seed: settings.seed + curveSeed });
              const watch = { ...context, parts: [], keep: async () => {}, progress: () => {} };
              cells = { ...cells, ...cellsOf(column, await evaluateBothInParts(judged, state, watch)) };
            }
            return { cells };
          },
          keep: (curve) => keep({ curve }),
        },
      });
      const curve = curveDefinition === undefined ? {} : { curve: trained.curve };
      if (trained.divergedAt !== undefined)
        return { trainSeconds: 0, divergedAt: trained.divergedAt, cells: {}, ...curve };
      let cells: Cells = {};
      for (const [i, column] of network.columns.entries()) {
        const found = await evaluateBothInParts(judgedIn(column), trained.state, {
          ...context,
          parts: kept.parts[column.name] ?? [],
          keep: (parts) => keep({ parts: { ...kept.parts, [column.name]: parts } }),
          progress: (done) => {
            const all = share + ((1 - share) * (i + done)) / network.columns.length;
            context.progress(all, `evaluating ${column.name}`);
          },
        });
        cells = { ...cells, ...cellsOf(column, found) };
      }
      return { trainSeconds: trained.seconds, divergedAt: null, cells, ...curve };
    },
  });
}

/** Keeps the tasks of the curve apart from those of the evaluation at the end, whose seeds are 1000·seed + part. */
const curveSeed = 1e6;

function cellsOf({ name }: Column, { nonTransductive, transductive }: BothSums): Cells {
  return { [cellKey(name, false)]: nonTransductive, [cellKey(name, true)]: transductive };
}

interface TrainedNetwork {
  readonly network: Network;
  readonly name: string;
  readonly results: readonly (Result | undefined)[];
}

function reportOf(
  table: TableDefinition,
  trained: readonly TrainedNetwork[],
  options: ReproduceOptions,
): Report {
  const paperCell = (row: string, column: string): Measure | undefined => {
    const cell = table.paper.rows[row]?.[table.paper.columns.indexOf(column)];
    return cell === undefined ? undefined : { value: cell[0] / 100, deviation: cell[1] / 100 };
  };
  const groups: RowGroup[] = algorithms.flatMap(({ name }) =>
    [false, true].map((transductive) => {
      const row = transductive ? `${name} + transduction` : name;
      return {
        title: row,
        unit: 'percent' as const,
        rows: trained
          .filter((network) => network.name === name)
          .flatMap(({ network, results }) =>
            network.columns.map((column) => {
              const key = cellKey(column.name, transductive);
              const diverged = results.find((result) => (result?.divergedAt ?? null) !== null);
              return {
                label: column.name,
                ours: overSeeds(results.map((result) => result?.cells[key])),
                ...(diverged === undefined
                  ? {}
                  : { remark: `diverged in meta-iteration ${diverged.divergedAt}` }),
                paper: paperCell(row, column.name),
              };
            }),
          ),
      };
    }),
  );
  const shown = groups.filter(({ rows: cells }) => cells.some(({ ours, remark }) => ours ?? remark));
  return {
    groups: shown,
    measured: trained.map(({ network, name, results }) => ({
      network: network.name,
      algorithm: name,
      seeds: results.map((result) => result ?? null),
    })),
    pictures: {
      ...(shown.length === 0 ? {} : { [`${table.name}.svg`]: pictureOf(table, shown, options) }),
      ...curvePicture(table, trained, options),
    },
    remarks: [
      'The paper’s ± is the standard deviation over 3 seeds for Reptile and the 95% interval over tasks for the rows it quotes from Finn et al.',
      ...(options.scale < 1 ? [`Ours trained for ${options.scale} of the paper’s iterations.`] : []),
    ],
  };
}

/** The columns that any network of ours was trained for. */
function pictureOf(
  table: TableDefinition,
  groups: readonly RowGroup[],
  { scale }: ReproduceOptions,
): RangesPicture {
  const isTrained = (column: string) =>
    groups.some(({ rows }) => rows.some(({ label, ours }) => label === column && ours !== undefined));
  const shortened = scale < 1 ? `Ours trained for ${scale} of the paper’s iterations. ` : '';
  return {
    kind: 'ranges',
    title: table.title,
    subtitle: `Accuracy on classes never trained on. ${shortened}Bars: standard deviation over seeds or 95% interval over tasks, the larger.`,
    x: { label: 'accuracy', format: 'percent' },
    key: { ours: 'Anole', reference: 'paper' },
    groups: groups.map(({ title, rows }) => ({
      title,
      rows: rows
        .filter(({ label }) => isTrained(label))
        .map(({ label, ours, paper }) => ({
          label,
          ...(ours === undefined ? {} : { ours: rangeOf(ours) }),
          ...(paper === undefined ? {} : { reference: rangeOf(paper) }),
        })),
    })),
  };
}

/** The learning curves of all networks that have one, up to the evaluation at the end, with the paper's ends. */
function curvePicture(
  table: TableDefinition,
  trained: readonly TrainedNetwork[],
  { scale }: ReproduceOptions,
): Readonly<Record<string, PanelsPicture>> {
  const panels = trained.flatMap(({ network, name, results }) => {
    const done = results.flatMap((result) => (result?.curve === undefined ? [] : [result]));
    if (done.length === 0) return [];
    const end = scaled(network.given.metaIterations!, scale);
    const iterations = done[0]!.curve!.map(({ iteration }) => iteration);
    return network.columns.flatMap((column) =>
      [false, true].map((transductive) => {
        const key = cellKey(column.name, transductive);
        const at = (iteration: number) =>
          overSeeds(
            done.map(({ cells, curve }) =>
              iteration === end ? cells[key] : curve!.find((one) => one.iteration === iteration)?.cells[key],
            ),
          );
        const points = [...iterations, end].flatMap((iteration) => {
          const measure = at(iteration);
          if (measure === undefined) return [];
          const { value, low, high } = rangeOf(measure);
          return [{ x: iteration, y: value, low, high }];
        });
        const row = transductive ? `${name} + transduction` : name;
        const published = table.paper.rows[row]?.[table.paper.columns.indexOf(column.name)];
        const paper = [0, end].flatMap((x) =>
          published === undefined ? [] : [{ x, y: published[0] / 100 }],
        );
        return {
          title: `${name}, ${column.name}${transductive ? ', transd.' : ''}`,
          series: [
            { name: 'paper, at its end', role: 'reference' as const, points: paper },
            { name, role: 'ours' as const, points },
          ],
        };
      }),
    );
  });
  if (panels.length === 0 || table.curve === undefined) return {};
  const iterations = table.networks[0]!.given.metaIterations!.toLocaleString('en-US');
  const picture: PanelsPicture = {
    kind: 'panels',
    title: `${table.title}: while training`,
    subtitle: 'Accuracy on classes never trained on, against meta-iterations.',
    columns: 4,
    x: { label: 'meta-iteration' },
    y: { label: 'accuracy', format: 'percent', domain: table.curve.accuracies },
    key: {
      ours: 'Anole (shaded: 95% interval over tasks)',
      reference: `paper, at the end of its ${iterations}`,
    },
    panels,
  };
  return { [`${table.name}-curve.svg`]: picture };
}

/** A measure with the larger of its spreads. */
export function rangeOf({ value, deviation = 0, ci95 = 0 }: Measure) {
  const half = Math.max(deviation, ci95);
  return { value, low: Math.max(0, value - half), high: Math.min(1, value + half) };
}
