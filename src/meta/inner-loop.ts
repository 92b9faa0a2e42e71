/**
 * The inner loop U_τ^k as a traced program: k steps of an optimizer on mini-batches of one task, from
 * which each algorithm takes its direction. Long loops are cut into chunks that hand their values on.
 */
import { add, mul } from '../graph/elementwise.ts';
import { valueAndGrad } from '../graph/grad.ts';
import { gather } from '../graph/linear.ts';
import { take } from '../graph/shaping.ts';
import { Tensor } from '../graph/tensor.ts';
import { type Graph, mapRecord, trace } from '../graph/trace.ts';
import { int32, type TensorType, type TypedArray } from '../graph/type.ts';
import type { Loss } from '../nn/losses.ts';
import type { Model } from '../nn/model.ts';
import { cut, join, type Vector } from '../nn/parameters.ts';
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

export interface Batch {
  readonly inputs: Tensor;
  readonly targets: Tensor;
}

/** One task as an algorithm sees it while it is traced. */
export interface TracedTask {
  /** φ: where the inner loop began. */
  readonly initial: Vector;
  /** φ_i at the beginning of this chunk; φ in the first. */
  readonly start: Point;
  readonly batches: readonly Batch[];
  readonly learningRate: number;
  /** L_τ,batch at some parameters. */
  loss(parameters: Vector, batch: Batch): Tensor;
  /** One inner step on a batch, with the gradient taken at `at`. @default at the point itself */
  step(point: Point, batch: Batch, at?: Vector): Point;
}

/** The traced part of a meta-learning algorithm: what one task contributes to the outer step. */
export interface Algorithm {
  readonly name: string;
  /** False when all steps must be in one program, as for gradients through the loop. */
  readonly chunks: boolean;
  /** The end of the inner loop, and the direction in which the task pulls φ. */
  direction(task: TracedTask): Point & { readonly direction: Vector };
}

/** Steps with one batch size. */
export interface Segment {
  readonly steps: number;
  readonly batch: number;
}

/** Unrolled steps in one program: beyond this, compiling costs more than calling saves. */
const stepsPerProgram = 10;

/** Prefix of the optimizer's state among the names of a program's inputs and outputs. */
const statePrefix = 'state.';

export function prefixState<T>(state: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(state).map(([name, value]) => [statePrefix + name, value]));
}

export function unprefixState<T>(values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      name.startsWith(statePrefix) ? [[name.slice(statePrefix.length), value]] : [],
    ),
  );
}

/** The graph of some steps on a task of `examples` examples. `batches0`, `batches1`, … are index tables. */
export function traceSteps(
  learner: Learner,
  algorithm: Algorithm,
  examples: number,
  segments: readonly Segment[],
): Graph {
  const { model, loss, target, optimizer, dtype = 'float32' } = learner;
  const vector: TensorType = { dtype, shape: [model.layout.size] };
  const tables = segments.map(({ steps, batch }, i) => [`batches${i}`, int32(steps, batch)] as const);
  const types: Record<string, TensorType> = {
    initial: vector,
    parameters: vector,
    ...prefixState(optimizer.state(vector)),
    lossTotal: { dtype, shape: [] },
    inputs: { dtype, shape: [examples, ...model.inputShape] },
    targets: { dtype: target.dtype, shape: [examples, ...target.shape] },
    ...Object.fromEntries(tables),
  };
  return trace(types, (values) => {
    const { layout } = model;
    const batches = tables.flatMap(([name]) => {
      const table = values[name]!;
      return Array.from({ length: table.shape[0]! }, (_, step) => {
        const indices = take(table, step);
        return { inputs: gather(values.inputs!, indices), targets: gather(values.targets!, indices) };
      });
    });
    const lossOf = (parameters: Vector, batch: Batch) =>
      loss(model.apply(parameters, batch.inputs), batch.targets);
    const end = algorithm.direction({
      initial: cut(values.initial!, layout),
      start: {
        parameters: cut(values.parameters!, layout),
        state: mapRecord(unprefixState(values), (value) => (value.rank === 0 ? value : cut(value, layout))),
        lossTotal: values.lossTotal!,
      },
      batches,
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
    });
    const { parameters, state, lossTotal, direction } = end;
    return {
      parameters: join(parameters, layout),
      ...prefixState(mapRecord(state, (value) => (value instanceof Tensor ? value : join(value, layout)))),
      lossTotal,
      direction: join(direction, layout),
    };
  });
}

interface Chunk {
  readonly executable: Executable;
  readonly segments: readonly Segment[];
}

export interface InnerLoopOptions {
  readonly learner: Learner;
  readonly algorithm: Algorithm;
  /** Examples in a task. */
  readonly examples: number;
  readonly segments: readonly Segment[];
  /** Whether several workers will run it, so that one run may have to be shared. @default false */
  readonly shared?: boolean;
}

/** A compiled inner loop: one or more programs that run one after another. */
export class InnerLoop {
  readonly #whole: readonly Chunk[];
  readonly #pieces: readonly Chunk[];

  private constructor(whole: readonly Chunk[], pieces: readonly Chunk[]) {
    this.#whole = whole;
    this.#pieces = pieces;
  }

  static async compile(runtime: Runtime, options: InnerLoopOptions): Promise<InnerLoop> {
    const { learner, algorithm, examples, segments, shared = false } = options;
    const compile = (pieces: number): Promise<Chunk[]> => {
      const cut = algorithm.chunks ? segments.flatMap((segment) => chunksOf(segment, pieces)) : [segments];
      const chunks = cut.map(async (part) => ({
        segments: part,
        executable: await runtime.compile(traceSteps(learner, algorithm, examples, part)),
      }));
      return Promise.all(chunks);
    };
    const whole = await compile(1);
    return new InnerLoop(whole, shared ? await compile(2) : whole);
  }

  /**
   * The stages of one task. `batches` holds the mini-batch indices of all steps, one after another.
   */
  stages(task: InnerTask): Stage[] {
    return stagesOf(this.#whole, task);
  }

  /** The same for several workers. */
  work(task: InnerTask): Work {
    return { whole: stagesOf(this.#whole, task), pieces: stagesOf(this.#pieces, task) };
  }
}

function stagesOf(chunks: readonly Chunk[], task: InnerTask): Stage[] {
  let offset = 0;
  return chunks.map(({ executable, segments }, i) => {
    const tables: Record<string, Int32Array> = {};
    segments.forEach(({ steps, batch }, s) => {
      tables[`batches${s}`] = task.batches.subarray(offset, offset + steps * batch);
      offset += steps * batch;
    });
    return { executable, inputs: i === 0 ? { ...task.start, ...tables } : tables };
  });
}

/** What one run of the inner loop is fed with. */
export interface InnerTask {
  readonly start: Readonly<Record<string, TypedArray>>;
  readonly batches: Int32Array;
}

function chunksOf({ steps, batch }: Segment, pieces: number): Segment[][] {
  const count = Math.max(Math.ceil(steps / stepsPerProgram), Math.min(pieces, steps));
  const even = Math.ceil(steps / count); // equal chunks share one program; only the last may be shorter
  const chunks: Segment[][] = [];
  for (let done = 0; done < steps; done += even)
    chunks.push([{ steps: Math.min(even, steps - done), batch }]);
  return chunks;
}
