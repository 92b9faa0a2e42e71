/**
 * Whole programs and all operators on two providers, to be compared. A process of its own runs this, with
 * the graphics driver named in its environment: see webgpu.test.ts.
 */
import { Random } from '../../src/data/random.ts';
import { float32, type Graph, int32, mul, type TensorType, trace } from '../../src/graph/index.ts';
import { isFloat, size, type TypedArray } from '../../src/graph/type.ts';
import { type Algorithm, type Learner, type Segment, traceSteps } from '../../src/meta/inner-loop.ts';
import { maml } from '../../src/meta/maml.ts';
import { reptile } from '../../src/meta/reptile.ts';
import { miniImagenetNet, mlp, omniglotNet, softmaxCrossEntropy, squaredError } from '../../src/nn/index.ts';
import { adam, sgd } from '../../src/optim/index.ts';
import { availableProviders, nodeRuntime } from '../../src/runtime/node.ts';
import type { Provider, Runtime } from '../../src/runtime/runtime.ts';
import { cases } from '../graph/cases.ts';
import { caseGraph, caseInputs } from '../graph/contract.ts';

/** Largest difference of a program's outputs, relative to the largest element of each. */
export interface Difference {
  readonly program: string;
  readonly difference: number;
}

export type Comparison =
  | { readonly unavailable: string }
  | { readonly programs: readonly Difference[]; readonly operators: readonly Difference[] };

const classes = { loss: softmaxCrossEntropy(), target: int32() };
const adamCarried = adam({ learningRate: 1e-3, beta1: 0 });

const learners: Readonly<Record<string, [Learner, Algorithm, Segment]>> = {
  'Reptile on the Omniglot network, 5 steps of Adam': [
    { model: omniglotNet({ ways: 5, filters: 8 }), optimizer: adamCarried, ...classes },
    reptile,
    { steps: 5, batch: 10 },
  ],
  'Reptile on the sine MLP, 10 steps of SGD': [
    { model: mlp(), loss: squaredError(), target: float32(1), optimizer: sgd({ learningRate: 0.02 }) },
    reptile,
    { steps: 10, batch: 10 },
  ],
  'MAML on the sine MLP, through 3 steps of Adam': [
    { model: mlp(), loss: squaredError(), target: float32(1), optimizer: adamCarried },
    maml,
    { steps: 4, batch: 5 },
  ],
  'Reptile on the Mini-ImageNet network, one step of SGD': [
    {
      model: miniImagenetNet({ ways: 5, filters: 8, inputShape: [21, 21, 3] }),
      optimizer: sgd({ learningRate: 0.1 }),
      ...classes,
    },
    reptile,
    { steps: 1, batch: 10 },
  ],
};

const examples = 20;

/** Inputs of `traceSteps`; moments as after some steps, for from zeros Adam follows the signs of rounding errors. */
function inputsOf({ model }: Learner, graph: Graph): Record<string, TypedArray> {
  const random = Random.stream(9, 'providers');
  const parameters = model.init(random);
  const fill = (name: string, { dtype, shape }: TensorType): TypedArray => {
    const draw = (low: number, high: number) =>
      Float32Array.from({ length: size(shape) }, () => random.uniform(low, high));
    if (name === 'initial' || name === 'parameters') return parameters;
    if (name === 'state.secondMoments') return draw(1e-4, 1e-3);
    if (name === 'state.secondMomentsWeight') return draw(0.1, 0.2);
    if (dtype !== 'int32') return draw(-1, 1);
    const range = name === 'targets' ? 5 : examples;
    return Int32Array.from({ length: size(shape) }, () => random.integer(range));
  };
  return Object.fromEntries(Object.entries(graph.inputs).map(([name, type]) => [name, fill(name, type)]));
}

async function difference(
  runtimes: readonly [Runtime, Runtime],
  graph: Graph,
  inputs: Record<string, TypedArray>,
): Promise<number> {
  const [expected, actual] = await Promise.all(
    runtimes.map(async (runtime) => (await runtime.compile(graph)).run(inputs)),
  );
  let largest = 0;
  for (const [name, { dtype }] of Object.entries(graph.outputs)) {
    const [reference, other] = [Array.from(expected![name]!), actual![name]!];
    const scale = reference.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
    reference.forEach((x, i) => {
      const error = Math.abs(x - other[i]!) / scale;
      // Integers and bools are equal or wrong; NaN is wrong.
      largest = Math.max(largest, Number.isNaN(error) || (!isFloat(dtype) && error > 0) ? Infinity : error);
    });
  }
  return largest;
}

/** Runs everything on `provider` and on the CPU. */
export async function compareWithCpu(provider: Provider): Promise<Comparison> {
  if (!(await availableProviders()).includes(provider)) {
    return { unavailable: `this build of ONNX Runtime has no ${provider}` };
  }
  const runtimes = [await nodeRuntime({ provider: 'cpu' }), await nodeRuntime({ provider })] as const;
  try {
    await runtimes[1].compile(trace({ x: float32(1) }, ({ x }) => ({ y: mul(x, 2) })));
  } catch (error) {
    const { message } = error as Error;
    if (!message.includes('Failed to get a WebGPU adapter')) throw error;
    return { unavailable: message };
  }
  const programs: Difference[] = [];
  for (const [program, [learner, algorithm, segment]] of Object.entries(learners)) {
    const graph = traceSteps(learner, algorithm, examples, [segment]);
    programs.push({ program, difference: await difference(runtimes, graph, inputsOf(learner, graph)) });
  }
  const operators: Difference[] = [];
  for (const [operator, list] of Object.entries(cases)) {
    for (const one of list) {
      // ONNX Runtime 1.30 crashes on products of matrices without elements on WebGPU.
      if (one.inputs.some(({ shape }) => size(shape) === 0)) continue;
      const inputs = caseInputs(one, 'float32');
      const found = await difference(runtimes, caseGraph(one, 'float32'), inputs);
      operators.push({ program: `${operator}, ${one.about}`, difference: found });
    }
  }
  return { programs, operators };
}
