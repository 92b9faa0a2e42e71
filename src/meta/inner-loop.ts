/**
 * The inner loop U_τ^k as a traced program: k steps of an optimizer on mini-batches of one task, from
 * which each algorithm takes its direction.
 */
import { add, mul } from '../graph/elementwise.ts';
import { valueAndGrad } from '../graph/grad.ts';
import { gather } from '../graph/linear.ts';
import { reshape, slice, take } from '../graph/shaping.ts';
import { Tensor } from '../graph/tensor.ts';
import { type Graph, type Loop, mapRecord, prefixed, trace, unprefixed } from '../graph/trace.ts';
import { int32, type TensorType, type TypedArray } from '../graph/type.ts';
import type { Loss } from '../nn/losses.ts';
import type { Model } from '../nn/model.ts';
import { cut, join, type Layout, leafwise, leavesOf, type Vector } from '../nn/parameters.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import type { Executable, Runtime, Stage, Work } from '../runtime/runtime.ts';

/** What is learned: a model, what it is judged by, and how it adapts. */
export interface Learner {
  readonly model: Model;
  readonly loss: Loss;
  /** Type of one target: int32 [] for a class, float32 [outputs] for values. */
  readonly target: TensorType;
  readonly optimizer: Optimizer;
  /** Of parameters and inputs; float64 is for checking gradients. @default 'float32' */
  readonly dtype?: 'float32' | 'float64';
}

/** An optimizer's state as traced values: vectors cut into parts, scalars whole. */
export type TracedState = Readonly<Record<string, Vector | Tensor>>;

/** One step on vectors cut into parts: each part by itself, for the optimizers are elementwise. */
function updateParts(
  optimizer: Optimizer,
  step: { readonly parameters: Vector; readonly gradient: Vector; readonly state: TracedState },
): { parameters: Vector; state: TracedState } {
  const updated = mapRecord(step.parameters, (parameters, part) =>
    optimizer.update({
      parameters,
      gradient: step.gradient[part]!,
      state: mapRecord(step.state, (value) => (value instanceof Tensor ? value : value[part]!)),
    }),
  );
  const [first] = Object.values(updated);
  return {
    parameters: mapRecord(updated, ({ parameters }) => parameters),
    state: mapRecord(step.state, (value, name) =>
      value instanceof Tensor ? first!.state[name]! : mapRecord(updated, ({ state }) => state[name]!),
    ),
  };
}

/** Where the inner loop stands, as traced values. */
export interface Point {
  /** φ_i. */
  readonly parameters: Vector;
  readonly state: TracedState;
  /** Sum of the losses of the steps so far. */
  readonly lossTotal: Tensor;
}

/** A traced mini-batch: inputs [batch, ...inputShape], targets int32 [batch] or float32 [batch, outputs]. */
export interface Batch {
  readonly inputs: Tensor;
  readonly targets: Tensor;
}

/** One task as an algorithm sees it while it is traced. */
export interface TracedTask {
  /** φ: where the inner loop began. */
  readonly initial: Vector;
  /** φ_i: where it stands, after the steps that were taken already. */
  readonly start: Point;
  readonly learningRate: number;
  /** L_τ,batch at some parameters. */
  loss(parameters: Vector, batch: Batch): Tensor;
  /** One inner step on a batch, with the gradient taken at `at`. @default at the point itself */
  step(point: Point, batch: Batch, at?: Vector): Point;
}

/** The traced part of a meta-learning algorithm: what one task contributes to the outer step. */
export interface Algorithm {
  readonly name: string;
  /** How many of the last mini-batches `direction` is given; the steps on those before are `advance`. */
  readonly ownBatches: 0 | 1 | 'all';
  /** A step that only goes on. @default a plain inner step */
  advance?(task: TracedTask, batch: Batch): Point;
  /** The end of the inner loop, and the direction in which the task pulls φ. */
  direction(task: TracedTask, batches: readonly Batch[]): Point & { readonly direction: Vector };
}

/** Steps with one batch size. */
export interface Segment {
  readonly steps: number;
  readonly batch: number;
}

/** Prefix of the optimizer's state among the names of a program's inputs and outputs. */
const statePrefix = 'state.';

export function prefixState<T>(state: Readonly<Record<string, T>>): Record<string, T> {
  return prefixed(statePrefix, state);
}

export function unprefixState<T>(values: Readonly<Record<string, T>>): Record<string, T> {
  return unprefixed(statePrefix, values);
}

/** What an inner loop is traced from. */
interface Plan {
  readonly learner: Learner;
  readonly algorithm: Algorithm;
  /** Examples in a task. */
  readonly examples: number;
  readonly segments: readonly Segment[];
}

/** Types of the inputs that do not depend on the mini-batches. */
function inputTypes({ learner, examples }: Plan): Record<string, TensorType> {
  const { model, target, optimizer, dtype = 'float32' } = learner;
  const vector: TensorType = { dtype, shape: [model.layout.size] };
  return {
    initial: vector,
    parameters: vector,
    ...prefixState(optimizer.state(vector)),
    lossTotal: { dtype, shape: [] },
    inputs: { dtype, shape: [examples, ...model.inputShape] },
    targets: { dtype: target.dtype, shape: [examples, ...target.shape] },
  };
}

type Values = Readonly<Record<string, Tensor>>;

/**
 * The parts that steps compute with. An optimizer without a state makes one pass over the parameters, which
 * the products that make the gradient take with them, leaf by leaf.
 */
function layoutOfSteps({ model, optimizer }: Learner): Layout {
  const { layout } = model;
  const stateless = Object.keys(optimizer.decay).length === 0;
  return stateless ? leafwise(layout) : layout;
}

/** The task as the algorithm sees it, from the values of a trace. */
function taskOf({ model, loss, optimizer }: Learner, values: Values, layout: Layout): TracedTask {
  const lossOf = (parameters: Vector, batch: Batch) =>
    loss(model.apply(leavesOf(parameters, layout), batch.inputs), batch.targets);
  return {
    initial: cut(values.initial!, layout),
    start: {
      parameters: cut(values.parameters!, layout),
      state: mapRecord(unprefixState(values), (value) => (value.rank === 0 ? value : cut(value, layout))),
      lossTotal: values.lossTotal!,
    },
    learningRate: optimizer.learningRate,
    loss: lossOf,
    step({ parameters, state, lossTotal }, batch, at = parameters) {
      const factor = optimizer.gradientFactor;
      const { value, gradient } = valueAndGrad((point: Vector) => mul(lossOf(point, batch), factor))(at);
      return {
        ...updateParts(optimizer, { parameters, gradient, state }),
        lossTotal: add(lossTotal, mul(value, 1 / factor)),
      };
    },
  };
}

/** The mini-batch of the examples that int32 `indices` [batch] name. */
function batchOf(values: Values, indices: Tensor): Batch {
  return { inputs: gather(values.inputs!, indices), targets: gather(values.targets!, indices) };
}

/** `count` entries of the first axis. */
function rowsOf(x: Tensor, first: number, count: number): Tensor {
  const others = x.shape.slice(1);
  return slice(x, [first, ...others.map(() => 0)], [count, ...others]);
}

/** A point as a program hands it on. */
function pointOutputs({ parameters, state, lossTotal }: Point, layout: Layout): Record<string, Tensor> {
  const whole = mapRecord(state, (value) => (value instanceof Tensor ? value : join(value, layout)));
  return { parameters: join(parameters, layout), ...prefixState(whole), lossTotal };
}

/** Steps one after another on all but the batches the algorithm takes itself, then its direction. */
function unroll(
  task: TracedTask,
  { name, ownBatches, advance, direction }: Algorithm,
  batches: readonly Batch[],
) {
  const own = ownBatches === 'all' ? batches.length : ownBatches;
  if (own > batches.length) throw new Error(`internal: ${name} needs ${own} batches, got ${batches.length}`);
  const before = batches.slice(0, batches.length - own);
  const start = before.reduce((point, batch) => {
    const there = { ...task, start: point };
    return advance === undefined ? task.step(point, batch) : advance(there, batch);
  }, task.start);
  return direction({ ...task, start }, batches.slice(batches.length - own));
}

/** The graph of all steps, unrolled. `batches0`, `batches1`, … are index tables, one for each segment. */
export function traceSteps(
  learner: Learner,
  algorithm: Algorithm,
  examples: number,
  segments: readonly Segment[],
): Graph {
  const tables = segments.map(({ steps, batch }, i) => [`batches${i}`, int32(steps, batch)] as const);
  const types = {
    ...inputTypes({ learner, algorithm, examples, segments }),
    ...Object.fromEntries(tables),
  };
  return trace(types, (values) => {
    const batches = tables.flatMap(([name]) => {
      const table = values[name]!;
      return Array.from({ length: table.shape[0]! }, (_, step) => batchOf(values, take(table, step)));
    });
    const layout = layoutOfSteps(learner);
    const end = unroll(taskOf(learner, values, layout), algorithm, batches);
    return { ...pointOutputs(end, layout), direction: join(end.direction, layout) };
  });
}

/** A model of so few parameters computes in less time than a round of a loop costs: it takes several steps. */
const smallModel = 16384;
const stepsPerRound = 8;

/** The inner loop as a program that goes round, and how many steps it takes in a round and in all rounds. */
interface TracedLoop {
  readonly loop: Loop;
  /** Traces the same rounds without what follows them: it ends with the point they reach. */
  readonly beginning: () => Loop;
  readonly rounds: number;
}

/** Index tables as in `traceSteps`, the batch that the algorithm takes itself in a table of its own. */
function traceLoop(plan: Plan, loopSteps: Segment, own: Segment | undefined): TracedLoop {
  const { learner, algorithm } = plan;
  const { layout } = learner.model;
  const layoutOfBody = layoutOfSteps(learner);
  const { steps, batch } = loopSteps;
  const candidates = Array.from({ length: stepsPerRound }, (_, i) => stepsPerRound - i);
  const perRound =
    layout.size > smallModel ? 1 : (candidates.find((count) => count <= steps && steps % count === 0) ?? 1);
  const types = inputTypes(plan);
  const body = trace({ ...types, batches: int32(steps, batch), round: int32() }, (values) => {
    const task = taskOf(learner, values, layoutOfBody);
    // All that a round needs is looked up at once.
    const table = reshape(values.batches!, [steps / perRound, perRound * batch]);
    const examples = batchOf(values, gather(table, values.round!));
    const end = Array.from({ length: perRound }, (_, i) => i).reduce((start, i) => {
      const own = mapRecord(examples, (all) => rowsOf(all, i * batch, batch));
      const { advance } = algorithm;
      return advance === undefined ? task.step(start, own) : advance({ ...task, start }, own);
    }, task.start);
    return pointOutputs(end, layoutOfBody);
  });
  const ownTypes = own === undefined ? {} : { ownBatch: int32(own.batch) };
  const end = trace({ ...types, ...ownTypes } as Record<string, TensorType>, (values) => {
    const batches = own === undefined ? [] : [batchOf(values, values.ownBatch!)];
    const { direction, ...point } = algorithm.direction(taskOf(learner, values, layout), batches);
    return { ...pointOutputs(point, layout), direction: join(direction, layout) };
  });
  const passOn = () => trace(types, (values) => pointOutputs(taskOf(learner, values, layout).start, layout));
  return { loop: { body, end }, beginning: () => ({ body, end: passOn() }), rounds: steps / perRound };
}

export interface InnerLoopOptions extends Plan {
  /** Whether several workers will run it, so that one run may have to be shared. @default false */
  readonly shared?: boolean;
}

/** What one run of the inner loop is fed with. */
export interface InnerTask {
  readonly start: Readonly<Record<string, TypedArray>>;
  /** The mini-batch indices of all steps, one after another. */
  readonly batches: Int32Array;
}

/** A compiled inner loop. */
export class InnerLoop {
  readonly #executable: Executable;
  /** What runs rounds that more rounds follow; absent where a run is never cut. */
  readonly #beginning: Executable | undefined;
  /** Its index tables, cut out of the indices of all steps. */
  readonly #tables: (batches: Int32Array) => Record<string, Int32Array>;
  /** Which rounds the parts of a shared run go; none where it is unrolled. */
  readonly #pieces: readonly { readonly first: number; readonly count: number }[];
  readonly #rounds: number;

  private constructor(
    { executable, beginning }: { readonly executable: Executable; readonly beginning?: Executable },
    tables: (batches: Int32Array) => Record<string, Int32Array>,
    rounds: number,
    shared: boolean,
  ) {
    this.#executable = executable;
    this.#beginning = beginning;
    this.#tables = tables;
    this.#rounds = rounds;
    const half = Math.ceil(rounds / 2);
    const halves = [
      { first: 0, count: half },
      { first: half, count: rounds - half },
    ];
    this.#pieces = shared && rounds > 1 ? halves : [{ first: 0, count: rounds }];
  }

  /**
   * One program that goes round; where the algorithm differentiates through all steps, or on WebGPU, whose
   * operators a loop would fetch back in every round, one with all steps unrolled.
   */
  static async compile(runtime: Runtime, options: InnerLoopOptions): Promise<InnerLoop> {
    const { learner, algorithm, examples, segments, shared = false } = options;
    const { ownBatches } = algorithm;
    if (ownBatches === 'all' || runtime.provider === 'webgpu') {
      const executable = await runtime.compile(traceSteps(learner, algorithm, examples, segments));
      const tables = (batches: Int32Array) => {
        let offset = 0;
        return Object.fromEntries(
          segments.map(({ steps, batch }, i) => {
            const start = offset;
            offset += steps * batch;
            return [`batches${i}`, batches.subarray(start, offset)];
          }),
        );
      };
      return new InnerLoop({ executable }, tables, 0, false);
    }
    const all = segments.flatMap(({ steps, batch }) => new Array<number>(steps).fill(batch));
    const looped = all.slice(0, all.length - ownBatches);
    if (new Set(looped).size > 1)
      throw new Error(`internal: ${algorithm.name} loops over batches of one size`);
    const loopSteps = { steps: looped.length, batch: looped[0] ?? 1 };
    const own = ownBatches === 1 ? { steps: 1, batch: all.at(-1)! } : undefined;
    const { loop, beginning, rounds } = traceLoop(options, loopSteps, own);
    const count = looped.length * loopSteps.batch;
    const tables = (batches: Int32Array) => ({
      batches: batches.subarray(0, count),
      ...(own === undefined ? {} : { ownBatch: batches.subarray(count, count + own.batch) }),
    });
    const executable = await runtime.compile(loop);
    // Without a batch of its own the algorithm takes no step at the end, only its direction, which more rounds renew.
    if (own === undefined)
      return new InnerLoop({ executable, beginning: executable }, tables, rounds, shared);
    if (!shared) return new InnerLoop({ executable }, tables, rounds, false);
    return new InnerLoop({ executable, beginning: await runtime.compile(beginning()) }, tables, rounds, true);
  }

  /** The stages of one task. */
  stages(task: InnerTask): Stage[] {
    return this.#stages(task, [{ first: 0, count: this.#rounds }]);
  }

  /** The same in about `count` stages, for callers that look up in between. */
  chunks(task: InnerTask, count: number): Stage[] {
    const parts = Math.max(1, Math.min(count, this.#rounds));
    const ends = Array.from({ length: parts + 1 }, (_, i) => Math.round((i * this.#rounds) / parts));
    const pieces = ends.slice(1).map((end, i) => ({ first: ends[i]!, count: end - ends[i]! }));
    return this.#stages(task, pieces);
  }

  /** The same for several workers. */
  work(task: InnerTask): Work {
    return { whole: this.stages(task), pieces: this.#stages(task, this.#pieces) };
  }

  #stages({ start, batches }: InnerTask, pieces: readonly { first: number; count: number }[]): Stage[] {
    if (pieces.length > 1 && this.#beginning === undefined)
      throw new Error('internal: a run that is never cut');
    return pieces.map(({ first, count }, i) => {
      const rounds = { firstRound: Int32Array.of(first), rounds: Int32Array.of(count) };
      const inputs = i === 0 ? { ...start, ...this.#tables(batches), ...rounds } : rounds;
      return { executable: i === pieces.length - 1 ? this.#executable : this.#beginning!, inputs };
    });
  }
}
