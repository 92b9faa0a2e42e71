/** An inner loop of ours and the same one for the peer, from the same parameters on the same mini-batches. */
import { InnerLoop, prefixState } from '../../src/meta/inner-loop.ts';
import {
  algorithms,
  freshState,
  type Model,
  miniBatches,
  nodeRuntime,
  type Optimizer,
  type OptimizerState,
  Random,
  type Runtime,
  resolveLearner,
  size,
  type TaskSource,
} from '../../src/node.ts';
import { type Context, type PeerComparison, timed, type Variant } from '../harness.ts';
import { encode, inPeersOrder, type PeerWork } from '../peer.ts';

export type NetworkName = 'sine' | 'omniglot' | 'mini-imagenet';

export interface InnerLoopWork {
  readonly network: NetworkName;
  readonly model: Model;
  readonly optimizer: Optimizer;
  /** As the peer calls it. */
  readonly optimizerName: 'sgd' | 'adam';
  readonly algorithm: 'reptile' | 'maml';
  /** Outputs of the network: classes, or values. */
  readonly outputs: number;
  /** Inner steps of a loop. */
  readonly steps: number;
  readonly batch: number;
  /** On one core, or on both: in this thread, or in as many workers. */
  readonly cores: readonly number[];
  /** A loop is a unit, not a step. @default false */
  readonly whole?: boolean;
}

/**
 * Adam's state at the start, all moments alike. Without any, its first step is as large for a gradient of
 * rounding errors as for any other, so two implementations part at once; and √v has no slope at 0.
 */
export const warm = { secondMoments: 1e-4, momentSteps: 100 };

/** That state, for an optimizer of `parameters` parameters; SGD has none. */
export function warmState(optimizer: Optimizer, parameters: number): OptimizerState {
  const state = freshState(optimizer, parameters);
  state.secondMoments?.fill(warm.secondMoments);
  state.secondMomentsWeight?.fill(1 - 0.999 ** warm.momentSteps);
  return state;
}

interface Inputs {
  readonly parameters: Float32Array;
  readonly state: OptimizerState;
  readonly examples: number;
  readonly inputs: Float32Array;
  readonly targets: Int32Array | Float32Array;
  /** int32 [steps, batch] */
  readonly batches: Int32Array;
}

function inputsOf(work: InnerLoopWork): Inputs {
  const { model, network, outputs, steps, batch, optimizer } = work;
  const random = Random.stream(0, 'benchmark');
  const examples = Math.max(50, batch);
  const inputs = new Float32Array(examples * size(model.inputShape));
  const [low, high] = network === 'sine' ? [-5, 5] : [0, 1];
  for (let i = 0; i < inputs.length; i++) inputs[i] = random.uniform(low, high);
  return {
    parameters: model.init(random),
    state: warmState(optimizer, model.layout.size),
    examples,
    inputs,
    targets:
      network === 'sine'
        ? inputs.map((x) => Math.sin(x))
        : Int32Array.from({ length: examples }, (_, i) => i % outputs),
    batches: miniBatches(random, { examples, batch, batches: steps }),
  };
}

/** The inner loop, compiled; `run` does it for as many tasks as there are cores, and hands out the results. */
async function compile(work: InnerLoopWork, runtime: Runtime) {
  const { model, optimizer, network, outputs, steps, batch } = work;
  const { parameters, state, examples, inputs, targets, batches } = inputsOf(work);
  const tasks: TaskSource = {
    inputShape: model.inputShape,
    targets: network === 'sine' ? 'values' : 'classes',
    outputs,
    sample: () => {
      throw new Error('internal: the examples are given');
    },
  };
  const loop = await InnerLoop.compile(runtime, {
    learner: resolveLearner({ tasks, model, innerOptimizer: optimizer }),
    algorithm: algorithms[work.algorithm],
    examples,
    segments: [{ steps, batch }],
  });
  const vectors = { initial: parameters, parameters, ...prefixState(state) };
  const shared = Object.entries(vectors).map(([name, vector]) => [name, share(vector, runtime)]);
  const start = { ...Object.fromEntries(shared), lossTotal: new Float32Array(1), inputs, targets };
  const task = loop.work({ start, batches });
  const outputNames = ['direction', 'lossTotal', ...Object.keys(prefixState(state))];
  const tasksAtOnce = runtime.parallelism === 1 ? 1 : 2 * runtime.parallelism;
  return {
    tasks: tasksAtOnce,
    run: async () => {
      const results = await runtime.runAll(
        Array.from({ length: tasksAtOnce }, () => task),
        outputNames,
      );
      for (const result of results) runtime.recycle(result);
      return results;
    },
  };
}

/** As meta-training holds its parameters: workers read them without a copy. */
function share(vector: Float32Array, runtime: Runtime): Float32Array {
  if (runtime.parallelism === 1) return vector;
  const shared = new Float32Array(new SharedArrayBuffer(vector.byteLength));
  shared.set(vector);
  return shared;
}

export function oursOf(work: InnerLoopWork) {
  return async ({ seconds }: Context): Promise<Variant[]> => {
    const variants: Variant[] = [];
    for (const cores of work.cores) {
      const runtime = await nodeRuntime({ workers: cores });
      const { run, tasks } = await compile(work, runtime);
      const repeatable = {
        units: tasks * (work.whole ? 1 : work.steps),
        run: async () => void (await run()),
        close: () => runtime.dispose(),
      };
      variants.push(await timed(`ours-${cores}`, repeatable, seconds));
    }
    return variants;
  };
}

export function peerOf(work: InnerLoopWork) {
  return async (): Promise<PeerComparison> => {
    const { network, outputs, steps, batch, optimizerName, optimizer, algorithm, model } = work;
    const { parameters, inputs, targets, batches } = inputsOf(work);
    const example = size(model.inputShape);
    const picked = new Float32Array(batches.length * example);
    batches.forEach((index, i) => {
      picked.set(inputs.subarray(index * example, (index + 1) * example), i * example);
    });
    const description: PeerWork = {
      kind: algorithm === 'maml' ? 'maml-gradient' : 'inner-loop',
      network,
      ways: outputs,
      steps,
      batch,
      optimizer: optimizerName,
      learningRate: optimizer.learningRate,
      ...warm,
      parameters: encode(inPeersOrder(model, parameters)),
      inputs: encode(picked),
      targets: encode(gather(targets, batches)),
    };
    return { work: description, expected: await expectedOf(work) };
  };
}

function gather<T extends Int32Array | Float32Array>(values: T, indices: Int32Array): T {
  const Kind = values.constructor as new (values: number[]) => T;
  return new Kind(Array.from(indices, (index) => values[index]!));
}

/** What both must come to: the mean loss of the steps, and how far they go; of MAML the length of the gradient. */
async function expectedOf(work: InnerLoopWork): Promise<Record<string, number>> {
  const runtime = await nodeRuntime();
  try {
    const [result] = await (await compile(work, runtime)).run();
    const loss = result!.lossTotal![0]! / work.steps;
    const squares = (result!.direction as Float32Array).reduce((total, x) => total + x * x, 0);
    const distance = Math.sqrt(squares);
    return work.algorithm === 'maml'
      ? { loss, norm: distance / work.optimizer.learningRate }
      : { loss, distance };
  } finally {
    await runtime.dispose();
  }
}
