/** What an app waits for: fitting a task of shipped size, and a prediction. */
import {
  encodeWeights,
  fewShotTasks,
  glyphsSplit,
  layoutFor,
  load,
  Random,
  resolveSettings,
} from '../../src/node.ts';
import { timed, type Work } from '../harness.ts';
import { warmState } from './inner-loop.ts';

const ways = 5;

/** A learner of the Omniglot network, and a task; what it was trained on makes no difference to the time. */
async function prepare(shots: number) {
  const settings = resolveSettings({ task: 'glyphs' });
  const { model, innerOptimizer } = layoutFor(settings);
  const parameters = model.init(Random.stream(0, 'initialization'));
  const start = { parameters, innerState: warmState(innerOptimizer, model.layout.size) };
  const learner = await load(encodeWeights({ settings, start, made: {} }));
  const tasks = fewShotTasks(glyphsSplit(0).test, { ways });
  const { support, query } = tasks.sample(Random.stream(0, 'task'), { support: shots, query: 1 });
  const pixels = support.inputs.length / support.count;
  const image = (inputs: Float32Array, i: number) => inputs.slice(i * pixels, (i + 1) * pixels);
  const examples = Array.from(support.targets, (label, i) => ({
    input: image(support.inputs, i),
    label: `class ${label}`,
  }));
  return { learner, examples, query: image(query.inputs, 0) };
}

function fitWork(shots: number): Work {
  return {
    name: `app-fit/${shots}-shot`,
    measures: `learner.fit on one ${ways}-way ${shots}-shot task: 50 Adam steps, batch 5, one core`,
    unit: 'ms',
    async ours(context) {
      const { learner, examples } = await prepare(shots);
      const run = async () => (await learner.fit(examples)).dispose();
      return [await timed('ours-1', { units: 1, run, close: () => learner.dispose() }, context.seconds)];
    },
  };
}

function predictWork(shots: number): Work {
  return {
    name: `app-predict/${shots}-shot`,
    measures: `task.predict of one image: a forward pass over ${ways * shots} support images and it, one core`,
    unit: 'ms',
    async ours(context) {
      const { learner, examples, query } = await prepare(shots);
      const task = await learner.fit(examples, { steps: 1 });
      const close = async () => {
        await task.dispose();
        await learner.dispose();
      };
      const run = async () => void (await task.predict(query));
      return [await timed('ours-1', { units: 1, run, close }, context.seconds)];
    },
  };
}

export const appWorks: readonly Work[] = [1, 5].flatMap((shots) => [fitWork(shots), predictWork(shots)]);
