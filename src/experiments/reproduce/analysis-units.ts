/**
 * What the analysis of §5.1 measures, in two kinds of units: `expansion` compares the expected gradients of MAML, FOMAML
 * and Reptile with the expansion in AvgGrad and AvgGradInner (equations 37, 39, 41); `agreement` follows the inner
 * product of two gradients of one task while training, which AvgGradInner is said to raise.
 */
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { miniBatches } from '../../data/mini-batches.ts';
import { Random } from '../../data/random.ts';
import { decodeSafetensors, encodeSafetensors } from '../../data/safetensors.ts';
import type { TaskSource } from '../../data/task.ts';
import { writeAtomically } from '../../files.ts';
import { mul, sigmoid } from '../../graph/elementwise.ts';
import { mapRecord } from '../../graph/trace.ts';
import type { TypedArray } from '../../graph/type.ts';
import * as layers from '../../nn/layers.ts';
import { softmaxCrossEntropy, squaredError } from '../../nn/losses.ts';
import { type Layer, type Model, sequential } from '../../nn/model.ts';
import { mlp, omniglotNet } from '../../nn/networks.ts';
import type { Arrays } from '../../runtime/runtime.ts';
import type { Settings, SettingsRequest } from '../settings.ts';
import { type Problem, traceAgreement, traceGradients, traceTerms } from './expansion.ts';
import { type ReproduceOptions, type Unit, type UnitContext, unit } from './experiment.ts';
import {
  addTo,
  dot,
  fitTwo,
  groupCount,
  jackknife,
  norm,
  type Sums,
  sumsOf,
  type Vector,
} from './statistics.ts';
import { asJson, scaled, scaledSettings, setUpUnit, trainingWork, trainToTheEnd } from './training.ts';

export const algorithmNames = ['maml', 'fomaml', 'reptile'] as const;
export type AnalysedAlgorithm = (typeof algorithmNames)[number];

export interface Network {
  readonly key: string;
  /** For headings. */
  readonly name: string;
  readonly task: 'sine' | 'omniglot';
  readonly dtype: 'float32' | 'float64';
  /** Inner learning rates, on the mean loss of a mini-batch. */
  readonly alphas: readonly number[];
  /** Tasks the expectation is taken over, by k; in eight groups for the jackknife. */
  readonly tasks: (k: number) => number;
  /** Work of a gradient step on ten examples, that of the Omniglot network in float32 being 1. */
  readonly work: number;
  model(): Model;
}

/** x·sigmoid(x): close to ReLU, and with a second derivative everywhere. */
const silu: Layer = () => ({ name: 'silu', parameters: {}, apply: (_, x) => mul(x, sigmoid(x)) });

/** The Omniglot network (`networks.ts`) with another activation. */
function smoothOmniglotNet(ways: number): Model {
  const block = [layers.normalizedConv2d({ filters: 64, stride: 2 }), silu];
  return sequential(
    [28, 28, 1],
    [...block, ...block, ...block, ...block, layers.flatten, layers.dense(ways)],
  );
}

/** Classes of an Omniglot task, and examples in every mini-batch. */
const ways = 5;
const batch = 10;

export const networks: readonly Network[] = [
  {
    key: 'sine',
    name: 'sine network (tanh)',
    task: 'sine',
    dtype: 'float64',
    alphas: [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    tasks: () => 96,
    work: 0.03,
    model: () => mlp(),
  },
  {
    key: 'omniglot-smooth',
    name: 'Omniglot network (SiLU)',
    task: 'omniglot',
    dtype: 'float32',
    alphas: [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
    tasks: () => 8,
    work: 1,
    model: () => smoothOmniglotNet(ways),
  },
  {
    key: 'omniglot',
    name: 'Omniglot network (ReLU)',
    task: 'omniglot',
    dtype: 'float32',
    alphas: [3e-4, 1e-3, 3e-3],
    // Where a ReLU turns, the gradient jumps, and many tasks are needed to average that out: as many as time allows.
    tasks: (k) => ({ 2: 384, 3: 96 })[k] ?? 32,
    work: 1,
    model: () => omniglotNet({ ways }),
  },
];

/** k of the paper's equations. */
export const steps = [2, 3, 4, 5, 6, 7, 8] as const;

export type Estimate = { readonly value: number; readonly ci95: number };

/** E[g] ≈ avgGrad·AvgGrad + avgGradInner·α·AvgGradInner. */
export type Coefficients = {
  readonly avgGrad: Estimate;
  readonly avgGradInner: Estimate;
  /** ‖E[g] − fit‖ / ‖E[g]‖ */
  readonly residual: number;
};

export type Expansion = {
  readonly k: number;
  readonly tasks: number;
  /** ‖AvgGradInner‖ / ‖AvgGrad‖, in units of 1/α. */
  readonly curvature: number;
  /** Cosine between the two. */
  readonly cosine: number;
  readonly alphas: readonly {
    readonly alpha: number;
    /** αk·‖AvgGradInner‖/‖AvgGrad‖: what must be small for the expansion to hold, without unit. */
    readonly smallness: number;
    readonly fits: Readonly<Record<AnalysedAlgorithm, Coefficients>>;
  }[];
};

export type Agreement = {
  readonly points: readonly {
    readonly iteration: number;
    /** ḡ_1·ḡ_2 over tasks. */
    readonly product: Sums;
    /** ḡ_1·ḡ_2 / (‖ḡ_1‖·‖ḡ_2‖). */
    readonly cosine: Sums;
  }[];
  readonly trainSeconds: number;
};

/** Training whose agreement is followed: SGD inside and outside, as §5 assumes. */
const trainings: readonly {
  readonly key: 'sine' | 'omniglot';
  readonly request: SettingsRequest;
  readonly points: number;
  readonly tasks: number;
}[] = [
  // The authors' sine script (§4).
  { key: 'sine', request: { task: 'sine' }, points: 30, tasks: 500 },
  {
    key: 'omniglot',
    request: {
      task: 'omniglot',
      // Figure 3's settings with four steps and the rate that the paper states, cut short.
      given: {
        ...{
          ways,
          trainShots: 20,
          innerSteps: 4,
          innerBatch: 25,
          innerOptimizer: 'sgd',
          innerLr: 3e-3,
          loss: 'sum',
        },
        ...{ metaBatch: 1, metaStep: 0.25, metaIterations: 2000 },
      },
    },
    points: 20,
    tasks: 60,
  },
];

export const agreementAlgorithms = ['reptile', 'joint'] as const;

export interface AnalysisUnits {
  readonly expansions: readonly {
    readonly network: Network;
    readonly k: number;
    readonly unit: Unit<Expansion>;
  }[];
  readonly agreements: readonly {
    readonly key: 'sine' | 'omniglot';
    readonly algorithm: (typeof agreementAlgorithms)[number];
    readonly unit: Unit<Agreement>;
  }[];
}

/** Every unit of the analysis. */
export function analysisUnits(options: ReproduceOptions): AnalysisUnits {
  return {
    expansions: networks.flatMap((network) =>
      steps.map((k) => ({ network, k, unit: expansionUnit(network, k, options) })),
    ),
    agreements: trainings.flatMap((training) =>
      agreementAlgorithms.map((algorithm) => ({
        key: training.key,
        algorithm,
        unit: agreementUnit(training, algorithm, options),
      })),
    ),
  };
}

// ------------------------------------------------------------------------------- the expansion

/** Orders of k mini-batches: the rotations of 1 … k and of k … 1, so that each pair stands in either order equally often. */
export function balancedOrders(k: number): number[][] {
  const ascending = Array.from({ length: k }, (_, i) => i);
  const orders = [ascending, ascending.toReversed()].flatMap((order) =>
    ascending.map((start) => [...order.slice(start), ...order.slice(0, start)]),
  );
  return [...new Map(orders.map((order) => [order.join(), order])).values()];
}

function expansionUnit(network: Network, k: number, options: ReproduceOptions): Unit<Expansion> {
  const tasks = Math.max(
    groupCount,
    groupCount * Math.round((network.tasks(k) * options.scale) / groupCount),
  );
  const { key, alphas, dtype } = network;
  return unit<Expansion>({
    id: `expansion/${key}/k-${k}`,
    settings: { network: key, k, tasks, batch, alphas: [...alphas], dtype, seed: 0 },
    work: network.work * tasks * alphas.length * balancedOrders(k).length * 5 * k,
    run: (context) => measureExpansion(network, { k, tasks }, context),
  });
}

/** The sums over a group's tasks of all the vectors that are fitted. */
interface Group {
  readonly avgGrad: Vector;
  readonly avgGradInner: Vector;
  /** By algorithm and index of α. */
  readonly gradients: Readonly<Record<AnalysedAlgorithm, readonly Vector[]>>;
}

/**
 * E[g] and the terms of its expansion over the same tasks and mini-batches, at the random initialization. What an
 * order of interchangeable mini-batches adds by chance is averaged out over balanced orders, so that only the
 * expansion itself is left between the two; the fit is by least squares over all parameters.
 */
async function measureExpansion(
  network: Network,
  { k, tasks }: { k: number; tasks: number },
  context: UnitContext,
): Promise<Expansion> {
  const { runtime, signal, progress } = context;
  const { alphas, dtype } = network;
  const problem = problemOf(network);
  const gradients = await runtime.compile(traceGradients(problem, { steps: k, batch }));
  const terms = await runtime.compile(traceTerms(problem, { steps: k, batch }));
  const source = await tasksOf(network.task, context);
  const parameters = floats(dtype, problem.model.init(Random.stream(0, 'initialization')));
  const orders = balancedOrders(k);
  const perGroup = tasks / groupCount;

  const measureGroup = async (g: number): Promise<Group> => {
    const random = Random.stream(0, `expansion of ${network.key}, group ${g}`);
    const group = emptyGroup(parameters.length, alphas.length);
    for (let t = 0; t < perGroup; t++) {
      signal.throwIfAborted();
      const feed = drawBatches(source, random, { problem, k, batch });
      const { avgGrad, avgGradInner } = await terms.run({ parameters, ...feed(orders[0]!) });
      addTo(group.avgGrad, avgGrad, 1 / perGroup);
      addTo(group.avgGradInner, avgGradInner, 1 / perGroup);
      for (const order of orders) {
        const batches = feed(order);
        for (const [a, alpha] of alphas.entries()) {
          signal.throwIfAborted();
          const found = await gradients.run({ parameters, ...batches, alpha: floats(dtype, [alpha]) });
          for (const name of algorithmNames) {
            addTo(group.gradients[name][a]!, found[name], 1 / (perGroup * orders.length));
          }
        }
      }
      progress((g * perGroup + t + 1) / tasks);
    }
    return group;
  };

  const groups: Group[] = [];
  const files = Array.from({ length: groupCount }, (_, g) => context.file(`group-${g}.safetensors`));
  for (const [g, file] of files.entries()) {
    const known = await readGroup(file, alphas.length);
    const group = known ?? (await measureGroup(g));
    if (known === undefined) await writeAtomically(file, encodeGroup(group));
    progress(((g + 1) * perGroup) / tasks);
    groups.push(group);
  }
  const result = fitGroups(groups, { k, tasks, alphas });
  for (const file of files) await rm(file, { force: true });
  return result;
}

function fitGroups(
  groups: readonly Group[],
  { k, tasks, alphas }: { k: number; tasks: number; alphas: readonly number[] },
): Expansion {
  const [avgGrad, inner] = [
    meanOf(groups, (group) => group.avgGrad),
    meanOf(groups, (group) => group.avgGradInner),
  ];
  const curvature = norm(inner) / norm(avgGrad);
  return {
    k,
    tasks,
    curvature,
    cosine: dot(avgGrad, inner) / (norm(avgGrad) * norm(inner)),
    alphas: alphas.map((alpha, a) => {
      const fit = (name: AnalysedAlgorithm): Coefficients => {
        const fitOf = (some: readonly Group[]) => {
          const target = meanOf(some, (group) => group.gradients[name][a]!);
          return fitTwo(
            target,
            meanOf(some, (group) => group.avgGrad),
            meanOf(some, (group) => group.avgGradInner),
          );
        };
        const [first, second] = jackknife(groups, (some) => {
          const { a: onAvgGrad, b } = fitOf(some);
          return [onAvgGrad, b / alpha];
        });
        return { avgGrad: first!, avgGradInner: second!, residual: fitOf(groups).residual };
      };
      return {
        alpha,
        smallness: alpha * k * curvature,
        fits: { maml: fit('maml'), fomaml: fit('fomaml'), reptile: fit('reptile') },
      };
    }),
  };
}

function emptyGroup(size: number, alphas: number): Group {
  const blanks = () => Array.from({ length: alphas }, () => new Float64Array(size));
  return {
    avgGrad: new Float64Array(size),
    avgGradInner: new Float64Array(size),
    gradients: { maml: blanks(), fomaml: blanks(), reptile: blanks() },
  };
}

/** A group's vectors by name: a group that is done is kept in a file until all are. */
function vectorsOf({ avgGrad, avgGradInner, gradients }: Group): Record<string, Vector> {
  const byAlpha = algorithmNames.flatMap((name) =>
    gradients[name].map((vector, a) => [`${name}/${a}`, vector] as const),
  );
  return { avgGrad, avgGradInner, ...Object.fromEntries(byAlpha) };
}

function encodeGroup(group: Group): Uint8Array {
  return encodeSafetensors(
    mapRecord(vectorsOf(group), (data) => ({ dtype: 'float64' as const, shape: [data.length], data })),
    {},
  );
}

async function readGroup(file: string, alphas: number): Promise<Group | undefined> {
  if (!existsSync(file)) return undefined;
  const { tensors } = decodeSafetensors(await readFile(file), file);
  const group = emptyGroup(tensors.avgGrad!.data.length, alphas);
  for (const [name, vector] of Object.entries(vectorsOf(group))) vector.set(tensors[name]!.data as Vector);
  return group;
}

function meanOf(groups: readonly Group[], vectorOf: (group: Group) => Vector): Vector {
  const mean = new Float64Array(vectorOf(groups[0]!).length);
  for (const group of groups) addTo(mean, vectorOf(group), 1 / groups.length);
  return mean;
}

function problemOf({ task, dtype, model }: Pick<Network, 'task' | 'dtype' | 'model'>): Problem {
  return task === 'sine'
    ? { model: model(), loss: squaredError(), target: { dtype, shape: [1] }, dtype }
    : { model: model(), loss: softmaxCrossEntropy(), target: { dtype: 'int32', shape: [] }, dtype };
}

async function tasksOf(task: Network['task'], context: UnitContext): Promise<TaskSource> {
  const given: Partial<Settings> = task === 'sine' ? {} : { ways };
  const setup = await setUpUnit(
    scaledSettings({ task, given: { ...given, seed: 0 } }, { scale: 1, seeds: 1 }),
    context,
  );
  return setup.trainTasks;
}

/** Examples a class of a task that mini-batches are drawn from; points of a sine. */
const poolShots = { sine: 50, omniglot: 10 };

/**
 * k interchangeable mini-batches of a fresh task, each an independent draw; the function returned gives them in
 * some order, as inputs of the programs of `expansion.ts`.
 */
function drawBatches(
  source: TaskSource,
  random: Random,
  { problem, k, batch: examples }: { problem: Problem; k: number; batch: number },
): (order: readonly number[]) => Arrays<'inputs' | 'targets'> {
  const { dtype = 'float32', target } = problem;
  const pool = source.targets === 'values' ? poolShots.sine : poolShots.omniglot;
  const { support } = source.sample(random, { support: pool, query: 0 });
  const indices = miniBatches(random, {
    examples: support.count,
    batch: examples,
    batches: k,
    sampling: 'replacement',
  });
  const rowsOf = (order: readonly number[]) =>
    order.flatMap((i) => [...indices.subarray(i * examples, (i + 1) * examples)]);
  return (order) => {
    const rows = rowsOf(order);
    const targets = pick(support.targets, support.count, rows);
    return {
      inputs: floats(dtype, pick(support.inputs, support.count, rows)),
      targets: target.dtype === 'int32' ? Int32Array.from(targets) : floats(dtype, targets),
    };
  };
}

/** Some of the `count` rows of an array. */
function pick(data: Float32Array | Int32Array, count: number, rows: readonly number[]): Float64Array {
  const width = data.length / count;
  const picked = new Float64Array(rows.length * width);
  for (const [i, row] of rows.entries()) picked.set(data.subarray(row * width, (row + 1) * width), i * width);
  return picked;
}

function floats(dtype: 'float32' | 'float64', values: ArrayLike<number>): TypedArray {
  return dtype === 'float32' ? Float32Array.from(values) : Float64Array.from(values);
}

// ------------------------------------------------------------------------------- the agreement

function agreementUnit(
  { key, request, points, tasks }: (typeof trainings)[number],
  algorithm: (typeof agreementAlgorithms)[number],
  options: ReproduceOptions,
): Unit<Agreement> {
  const settings = scaledSettings({ ...request, given: { ...request.given, algorithm, seed: 0 } }, options);
  const judged = Math.max(2, scaled(tasks, options.scale));
  const at = Array.from({ length: points + 1 }, (_, i) => Math.round((i * settings.metaIterations) / points));
  const work = trainingWork(settings) * (key === 'sine' ? 0.01 : 1);
  return unit<Agreement>({
    id: `agreement/${key}/${algorithm}`,
    settings: { ...(asJson(settings) as object), judgedTasks: judged, at },
    work,
    async run(context) {
      const { runtime } = context;
      const setup = await setUpUnit(settings, context);
      const problem = problemOf({ task: key, dtype: 'float32', model: () => setup.model });
      const k = 2;
      const program = await runtime.compile(traceAgreement(problem, settings.innerBatch));
      const random = Random.stream(0, 'agreement');
      const feeds = Array.from({ length: judged }, () =>
        drawBatches(setup.trainTasks, random, { problem, k, batch: settings.innerBatch })([0, 1]),
      );
      const trained = await trainToTheEnd(setup, context, {
        curve: {
          at,
          taken: (context.kept ?? []) as Agreement['points'],
          async take(state) {
            const parameters = Float32Array.from(state.parameters);
            const results: Arrays<'product' | 'squares'>[] = [];
            for (const feed of feeds) results.push(await program.run({ parameters, ...feed }));
            return {
              product: sumsOf(results.map(({ product }) => product[0]!)),
              cosine: sumsOf(
                results.map(({ product, squares }) => product[0]! / Math.sqrt(squares[0]! * squares[1]!)),
              ),
            };
          },
          keep: (points) => context.keep(points),
        },
      });
      return { points: trained.curve, trainSeconds: trained.seconds };
    },
  });
}
