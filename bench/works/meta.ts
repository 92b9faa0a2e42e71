/** Whole meta-iterations, and evaluations on unseen classes: the paper's Omniglot settings (appendix A). */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  Adaptation,
  adam,
  compileEvaluation,
  fewShotTasks,
  type ImageClasses,
  initialState,
  metaTrain,
  nodeRuntime,
  omniglotNet,
  Random,
  resolveLearner,
} from '../../src/node.ts';
import { flopsPerImage, omniglotShape } from '../flops.ts';
import { timed, type Variant, type Work } from '../harness.ts';
import { encode, inPeersOrder } from '../peer.ts';
import { warm, warmState } from './inner-loop.ts';
import { omniglotMissing } from './omniglot-data.ts';

const ways = 5;
const model = omniglotNet({ ways });
const innerOptimizer = adam({ learningRate: 1e-3, beta1: 0 });
const training = { trainShots: 10, innerSteps: 5, innerBatch: 10, metaBatch: 5, metaStep: 1 };

/** What all of the peer's works of this page are described by. */
const network = {
  network: 'omniglot',
  ways,
  optimizer: 'adam',
  learningRate: innerOptimizer.learningRate,
  ...warm,
};

const start = () => ({
  ...initialState({ model, innerOptimizer }),
  innerState: warmState(innerOptimizer, model.layout.size),
});

/** Classes as the peer takes them: a file of uint8 [classes, 20, 28, 28, 1]. */
async function imagesForPeer(
  name: string,
  images: ImageClasses,
  indices: readonly number[],
  scratch: string,
) {
  const [height, width, channels] = images.imageShape;
  const [perClass, pixels] = [20, height * width * channels];
  const bytes = new Uint8Array(indices.length * perClass * pixels);
  const image = new Float32Array(pixels);
  let offset = 0;
  for (const index of indices) {
    for (let i = 0; i < perClass; i++, offset += pixels) {
      images.read(index, i, image, 0);
      bytes.set(image, offset);
    }
  }
  const file = join(scratch, `${name}.u8`);
  await writeFile(file, bytes);
  return { images: file, classes: indices.length };
}

const metaIteration: Work = {
  name: 'omniglot-meta-iteration',
  measures:
    'a Reptile meta-iteration on Omniglot: drawing 5 tasks, 5 Adam steps on each, batch 10, outer step',
  unit: 'ms',
  flops: training.metaBatch * training.innerSteps * training.innerBatch * flopsPerImage(omniglotShape),
  unavailable: omniglotMissing,
  async ours(context) {
    const { train } = await context.omniglot();
    const variants: Variant[] = [];
    for (const cores of [1, 2]) {
      const runtime = await nodeRuntime({ workers: cores });
      const tasks = fewShotTasks(train, { ways });
      const iterations = metaTrain({
        runtime,
        tasks,
        model,
        innerOptimizer,
        ...training,
        metaIterations: 1e9,
      });
      const repeatable = {
        units: 1,
        run: async () => void (await iterations.next()),
        close: async () => {
          await iterations.return();
          await runtime.dispose();
        },
      };
      variants.push(await timed(`ours-${cores}`, repeatable, context.seconds));
    }
    return variants;
  },
  async peer({ omniglot, scratch }) {
    const { train } = await omniglot();
    const upright = Array.from({ length: train.classCount / 4 }, (_, i) => 4 * i); // the peer rotates them itself
    return {
      work: {
        kind: 'meta-iteration',
        ...network,
        ...(await imagesForPeer('train', train, upright, scratch)),
        parameters: encode(inPeersOrder(model, start().parameters)),
        trainShots: training.trainShots,
        steps: training.innerSteps,
        batch: training.innerBatch,
        metaBatch: training.metaBatch,
        metaStep: training.metaStep,
      },
    };
  },
};

const evaluation = { evalTasks: 100, queryShots: 1, innerSteps: 50, innerBatch: 5 };

/** Takes one task of 100, since an evaluation draws ahead and keeps its workers busy over all of them. */
function evaluationWork(shots: number, transductive: boolean): Work {
  const protocol = transductive ? 'all queries in one batch' : 'each query beside the support set';
  return {
    name: `evaluation/${shots}-shot${transductive ? '-transductive' : ''}`,
    measures: `a task of 100 evaluated: Omniglot, 5-way ${shots}-shot, 50 steps at batch 5, ${protocol}`,
    unit: 'ms',
    runs: 3,
    unavailable: omniglotMissing,
    async ours(context) {
      const { test } = await context.omniglot();
      const variants: Variant[] = [];
      for (const cores of [1, 2]) {
        const runtime = await nodeRuntime({ workers: cores });
        const tasks = fewShotTasks(test, { ways });
        const evaluate = await compileEvaluation({
          runtime,
          tasks,
          model,
          innerOptimizer,
          shots,
          transductive,
          ...evaluation,
        });
        const repeatable = {
          units: evaluation.evalTasks,
          run: async () => void (await evaluate(start())),
          close: () => runtime.dispose(),
        };
        variants.push(await timed(`ours-${cores}`, repeatable, context.seconds));
      }
      return variants;
    },
    async peer(context) {
      const { test } = await context.omniglot();
      const all = Array.from({ length: test.classCount }, (_, i) => i);
      const { check, expected } = await checkOf(test, shots, transductive);
      return {
        work: {
          kind: 'evaluation',
          ...network,
          ...(await imagesForPeer('test', test, all, context.scratch)),
          parameters: encode(inPeersOrder(model, start().parameters)),
          shots,
          steps: evaluation.innerSteps,
          batch: evaluation.innerBatch,
          transductive,
          check,
        },
        expected,
        seconds: 5 * context.seconds, // a task takes long
      };
    },
  };
}

/** A task on which both must answer alike, after steps on all of its support set: there is nothing to draw. */
async function checkOf(test: ImageClasses, shots: number, transductive: boolean) {
  const steps = 3;
  const task = fewShotTasks(test, { ways }).sample(Random.stream(0, 'check'), { support: shots, query: 1 });
  const runtime = await nodeRuntime();
  try {
    const adaptation = await Adaptation.compile({
      runtime,
      learner: resolveLearner({ tasks: fewShotTasks(test, { ways }), model, innerOptimizer }),
      support: ways * shots,
      query: ways,
      innerSteps: steps,
      innerBatch: ways * shots,
      transductive,
    });
    const logits = [...(await adaptation.predict(task, start(), Random.stream(0, 'check')))];
    const { support, query } = task;
    return {
      check: { steps, support: encode(support.inputs), queries: encode(query.inputs) },
      expected: { logits },
    };
  } finally {
    await runtime.dispose();
  }
}

export const metaWorks: readonly Work[] = [
  metaIteration,
  ...[1, 5].flatMap((shots) => [false, true].map((transductive) => evaluationWork(shots, transductive))),
];
