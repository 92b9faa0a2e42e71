/** What experiments that train share: scaled settings, durable training, evaluation in parts. */
import { TrainingError } from '../../errors.ts';
import { mapRecord } from '../../graph/trace.ts';
import {
  type BothEvaluations,
  compileBothEvaluations,
  compileEvaluation,
  type EvaluationOptions,
  type EvaluationWatch,
} from '../../meta/evaluate.ts';
import type { TrainingState } from '../../meta/train.ts';
import { trainDurably } from '../durable.ts';
import { resolveSettings, type Settings, type SettingsRequest } from '../settings.ts';
import { evaluationOptions, type Setup, setUp } from '../setup.ts';
import { type Json, type ReproduceOptions, type Unit, type UnitContext, unit } from './experiment.ts';
import { addSums, type Sums, sumsOf } from './statistics.ts';

/** Seeds 0 … n − 1. */
export function seedsOf({ seeds }: ReproduceOptions): number[] {
  return Array.from({ length: seeds }, (_, seed) => seed);
}

/** A count shortened by `scale`, at least 1. */
export function scaled(count: number, scale: number): number {
  return Math.max(1, Math.round(scale * count));
}

/**
 * The settings of a run, shortened by the options: meta-iterations and evaluation tasks alike. Experiments
 * take their own learning curves, so the run's is left out.
 */
export function scaledSettings(request: SettingsRequest, options: ReproduceOptions): Settings {
  const { scale, evalTasks } = options;
  const full = resolveSettings(request);
  return {
    ...full,
    metaIterations: scaled(full.metaIterations, scale),
    evalTasks: evalTasks ?? Math.max(2, scaled(full.evalTasks, scale)),
    evalEvery: 0,
  };
}

/** Settings as a unit states them. */
export function asJson(settings: Settings): Json {
  return { ...settings };
}

export async function setUpUnit(settings: Settings, { images }: UnitContext): Promise<Setup> {
  return setUp(settings, await images(settings));
}

/** The work of a training, as `Unit.work` counts it. */
export function trainingWork({
  metaIterations,
  metaBatch,
  innerSteps,
  innerBatch,
  algorithm,
}: Settings): number {
  const passes = algorithm === 'maml' ? 2 : 1; // through the inner loop, or through it and back
  return (metaIterations * metaBatch * innerSteps * innerBatch * passes) / 10;
}

/** The work of an evaluation. */
export function evaluationWork({ evalTasks, evalSteps, evalBatch }: Settings): number {
  return (evalTasks * (evalSteps + 1) * evalBatch) / 10;
}

/** Points of a learning curve, taken while a unit trains. Each is kept at once, so that a stop loses none. */
export interface CurveOptions<Point> {
  /** Meta-iterations of the points; 0 is the untrained network. */
  readonly at: readonly number[];
  /** Those taken before the unit was stopped. */
  readonly taken: readonly CurvePoint<Point>[];
  readonly take: (state: TrainingState) => Promise<Point>;
  /** Called with all points after each. */
  readonly keep: (points: readonly CurvePoint<Point>[]) => Promise<void>;
}

export type CurvePoint<Point> = { readonly iteration: number } & Point;

export interface TrainOptions<Point> {
  /** The share of the unit's work that the training is. @default 1 */
  readonly share?: number;
  /** @default no points */
  readonly curve?: CurveOptions<Point>;
}

/** What a training came to. A training that diverged had a loss or an outer step that was not finite. */
export type Trained<Point> = { readonly curve: readonly CurvePoint<Point>[] } & (
  | { readonly state: TrainingState; readonly seconds: number; readonly divergedAt?: undefined }
  /** The meta-iteration it diverged in. */
  | { readonly divergedAt: number }
);

/** Meta-trains to the end, with a checkpoint among the unit's files that it goes on from. */
export async function trainInUnit<Point = unknown>(
  setup: Setup,
  context: UnitContext,
  { share = 1, curve }: TrainOptions<Point> = {},
): Promise<Trained<Point>> {
  const { metaIterations } = setup.settings;
  const points = [...(curve?.taken ?? [])];
  let state: TrainingState | undefined;
  try {
    const run = await trainDurably(setup, {
      file: context.file('checkpoint.safetensors'),
      runtime: context.runtime,
      signal: context.signal,
      onState: (reached) => {
        state = reached;
      },
      onProgress: ({ iteration }) => {
        context.progress((share * iteration) / metaIterations, `${iteration}/${metaIterations}`);
      },
      // Called again for the iteration gone on from, whose point may have been cut short.
      onIteration: async (iteration) => {
        if (!curve?.at.includes(iteration) || points.some((point) => point.iteration === iteration)) return;
        points.push({ iteration, ...(await curve.take(state!)) });
        await curve.keep([...points]);
      },
    });
    return { state: run.state, seconds: run.trainSeconds, curve: points };
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    return { divergedAt: (state?.iteration ?? 0) + 1, curve: points };
  }
}

/**
 * The same where nothing can be said of a training that diverged.
 * @throws {TrainingError} when it does
 */
export async function trainToTheEnd<Point = unknown>(
  setup: Setup,
  context: UnitContext,
  options: TrainOptions<Point> = {},
): Promise<Extract<Trained<Point>, { readonly state: TrainingState }>> {
  const trained = await trainInUnit(setup, context, options);
  if (trained.divergedAt !== undefined) {
    const { task, algorithm, seed } = setup.settings;
    throw new TrainingError(
      `${algorithm} on ${task}, seed ${seed}: diverged in meta-iteration ${trained.divergedAt}: try another seed`,
    );
  }
  return trained;
}

/** Tasks of one part of an evaluation: what is done again, at most, when it is stopped. */
const partTasks = 500;

/** How an evaluation in parts is watched, and where its parts are kept. */
interface InParts<Part> extends Pick<UnitContext, 'runtime' | 'signal'> {
  /** Parts already done. */
  readonly parts: readonly Part[];
  readonly keep: (parts: readonly Part[]) => Promise<void>;
  readonly progress: (share: number) => void;
}

/**
 * Evaluates on `evalTasks` tasks, part by part: part p draws its tasks from the seed 1000·seed + p, so that the
 * parts are independent and the whole does not depend on where it was stopped.
 */
async function inParts<Part>(
  setup: Setup,
  { runtime, signal, parts: before, keep, progress }: InParts<Part>,
  evaluate: (options: EvaluationOptions, watch: EvaluationWatch) => Promise<Part>,
): Promise<readonly Part[]> {
  const { evalTasks, seed } = setup.settings;
  const parts = [...before];
  for (let part = parts.length; part * partTasks < evalTasks; part++) {
    const tasks = Math.min(partTasks, evalTasks - part * partTasks);
    const options = evaluationOptions(setup, { runtime, evalTasks: tasks, seed: 1000 * seed + part });
    const onProgress = (done: number) => progress((part * partTasks + done) / evalTasks);
    parts.push(await evaluate(options, { signal, onProgress }));
    await keep(parts);
  }
  return parts;
}

export async function evaluateInParts(
  setup: Setup,
  state: TrainingState,
  context: InParts<Sums>,
): Promise<Sums> {
  const parts = await inParts(setup, context, async (options, watch) => {
    const evaluator = await compileEvaluation(options);
    return sumsOf((await evaluator(state, watch)).values);
  });
  return addSums(parts);
}

/** By both protocols, from the same adapted models. */
export type BothSums = Readonly<Record<keyof BothEvaluations, Sums>>;

export async function evaluateBothInParts(
  setup: Setup,
  state: TrainingState,
  context: InParts<BothSums>,
): Promise<BothSums> {
  const parts = await inParts(setup, context, async (options, watch) => {
    const evaluator = await compileBothEvaluations(options);
    return mapRecord(await evaluator(state, watch), ({ values }) => sumsOf(values)) as BothSums;
  });
  return {
    nonTransductive: addSums(parts.map(({ nonTransductive }) => nonTransductive)),
    transductive: addSums(parts.map(({ transductive }) => transductive)),
  };
}

/** A network trained and judged in one way. */
export type Trial = {
  readonly trainSeconds: number;
  /** Meta-iteration in which training diverged, or null. */
  readonly divergedAt: number | null;
  /** At the end, on classes never trained on; null when it diverged. */
  readonly accuracy: Sums | null;
  /** While it trained, on the same classes. Nothing is chosen by it. */
  readonly curve: readonly CurvePoint<{ readonly accuracy: Sums }>[];
};

export interface TrialOptions {
  readonly id: string;
  readonly settings: Settings;
  /** Meta-iterations of the points of the curve. @default none */
  readonly curveAt?: readonly number[];
  /** Tasks behind each. All points see the same ones. */
  readonly curveTasks?: number;
}

/** A unit that trains one network and evaluates it, with points of its curve on the way. */
export function trialUnit({ id, settings, curveAt = [], curveTasks = 0 }: TrialOptions): Unit<Trial> {
  const evaluation = evaluationWork(settings);
  const curveWork = curveAt.length * evaluationWork({ ...settings, evalTasks: curveTasks });
  const work = trainingWork(settings) + curveWork + evaluation;
  const share = 1 - evaluation / work;
  return unit<Trial>({
    id,
    settings: { ...(asJson(settings) as object), curveAt: [...curveAt], curveTasks },
    work,
    note: ({ accuracy, divergedAt }) =>
      accuracy === null
        ? `diverged in meta-iteration ${divergedAt}`
        : `${((100 * accuracy.sum) / accuracy.tasks).toFixed(1)}%`,
    async run(context) {
      const { runtime, signal } = context;
      const setup = await setUpUnit(settings, context);
      const kept = (context.kept ?? { curve: [], parts: [] }) as Pick<Trial, 'curve'> & {
        readonly parts: readonly Sums[];
      };
      const trained = await trainInUnit(setup, context, {
        share,
        curve: {
          at: curveAt,
          taken: kept.curve,
          async take(state) {
            const seed = 1000 * settings.seed + 999; // apart from the evaluation at the end
            const choice = { runtime, evalTasks: curveTasks, seed };
            const evaluator = await compileEvaluation(evaluationOptions(setup, choice));
            return { accuracy: sumsOf((await evaluator(state, { signal })).values) };
          },
          keep: (points) => context.keep({ curve: points, parts: [] }),
        },
      });
      const { curve } = trained;
      if (trained.divergedAt !== undefined) {
        return { trainSeconds: 0, divergedAt: trained.divergedAt, accuracy: null, curve };
      }
      const accuracy = await evaluateInParts(setup, trained.state, {
        runtime,
        signal,
        parts: kept.parts,
        keep: (parts) => context.keep({ curve, parts }),
        progress: (done) => context.progress(share + (1 - share) * done, 'evaluating'),
      });
      return { trainSeconds: trained.seconds, divergedAt: null, accuracy, curve };
    },
  });
}
