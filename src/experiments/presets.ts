/**
 * Settings by name: the defaults of every task and the paper's settings (§4, §6.1; the table of
 * the paper's appendix A). All are flat: what a run does is what stands here.
 */
import type { AlgorithmName } from '../meta/train.ts';
import type { Settings, TaskName } from './settings.ts';

/** Settings that have a default; how often the curve is drawn follows from the meta-iterations. */
type Defaults = Omit<Settings, 'task' | 'evalEvery'>;

/** The paper's for Omniglot, 5-shot 5-way (appendix A), without transduction. */
const omniglot: Defaults = {
  algorithm: 'reptile',
  seed: 0,
  ways: 5,
  shots: 5,
  trainShots: 10, // more than the evaluation's on purpose: one run serves 1-shot and 5-shot
  tailShots: 0,
  innerSteps: 5,
  innerBatch: 10,
  sampling: 'cycle',
  innerOptimizer: 'adam', // with β₁ = 0
  innerOptimizerState: 'carry',
  innerLr: 1e-3,
  loss: 'mean', // Adam does not see the difference
  metaStep: 1,
  metaStepFinal: 0,
  metaBatch: 5,
  metaIterations: 100_000,
  outerOptimizer: 'sgd',
  evalSteps: 50,
  evalBatch: 5,
  evalTasks: 10_000,
  transductive: false,
};

/** The paper's for Mini-ImageNet, 5-shot 5-way (appendix A), without transduction. */
const miniImagenet: Defaults = {
  ...omniglot,
  trainShots: 15,
  innerSteps: 8,
  evalBatch: 15, // 5 for 1-shot, whose tasks have no more examples
};

/** The authors' sine script (§4). */
const sine: Defaults = {
  algorithm: 'reptile',
  seed: 0,
  ways: 1,
  shots: 10, // p
  trainShots: 50, // the whole grid of equation (8), in five mini-batches
  tailShots: 0,
  innerSteps: 5,
  innerBatch: 10,
  sampling: 'cycle',
  innerOptimizer: 'sgd',
  innerOptimizerState: 'carry', // plain SGD has no state
  innerLr: 0.02,
  loss: 'mean',
  metaStep: 0.1,
  metaStepFinal: 0,
  metaBatch: 1,
  metaIterations: 30_000,
  outerOptimizer: 'sgd',
  evalSteps: 32,
  evalBatch: 10, // all ten points in every step
  evalTasks: 500,
  transductive: false,
};

export const taskDefaults: Readonly<Record<TaskName, Defaults>> = {
  sine,
  omniglot,
  // Ours: Omniglot's settings, but as long as a demonstration may take.
  glyphs: { ...omniglot, metaIterations: 1000, evalTasks: 500 },
  'mini-imagenet': miniImagenet,
  images: { ...omniglot, metaIterations: 1000, evalTasks: 500 },
};

/** What an algorithm needs otherwise: found by short runs of ours, since the paper gives none. */
export const algorithmDefaults: Readonly<
  Record<AlgorithmName, Readonly<Record<TaskName, Partial<Defaults>>>>
> = {
  // What the tasks' defaults were made for.
  reptile: { sine: {}, glyphs: {}, omniglot: {}, 'mini-imagenet': {}, images: {} },
  joint: { sine: {}, glyphs: {}, omniglot: {}, 'mini-imagenet': {}, images: {} },
  // Its direction is one inner step, where Reptile's is the sum of five. Not tried on Mini-ImageNet.
  fomaml: {
    sine: {},
    glyphs: { metaStep: 4 },
    omniglot: { metaStep: 4 },
    'mini-imagenet': { metaStep: 4 },
    images: { metaStep: 4 },
  },
  // Its direction is a true gradient, which outer Adam follows, as in the paper of MAML.
  maml: {
    sine: { outerOptimizer: 'adam', metaStep: 1e-3 },
    glyphs: { outerOptimizer: 'adam', metaStep: 1e-3 },
    omniglot: { outerOptimizer: 'adam', metaStep: 1e-3 },
    'mini-imagenet': { outerOptimizer: 'adam', metaStep: 1e-3 },
    images: { outerOptimizer: 'adam', metaStep: 1e-3 },
  },
};

type Preset = Partial<Defaults> & { readonly task: TaskName };

// Appendix A, Omniglot 5-way and 20-way. Shots and transduction only matter in the evaluation.
const omniglot5way: Preset = {
  task: 'omniglot',
  ways: 5,
  trainShots: 10,
  innerSteps: 5,
  innerBatch: 10,
  innerLr: 1e-3,
  metaStep: 1,
  metaBatch: 5,
  metaIterations: 100_000,
  evalSteps: 50,
  evalBatch: 5,
};

const omniglot20way: Preset = {
  task: 'omniglot',
  ways: 20,
  trainShots: 10,
  innerSteps: 10,
  innerBatch: 20,
  innerLr: 5e-4,
  metaStep: 1,
  metaBatch: 5,
  metaIterations: 200_000,
  evalSteps: 50,
  evalBatch: 10,
};

// Appendix A, Mini-ImageNet 5-way.
const miniImagenet5way: Preset = {
  task: 'mini-imagenet',
  ways: 5,
  trainShots: 15,
  innerSteps: 8,
  innerBatch: 10,
  innerLr: 1e-3,
  metaStep: 1,
  metaBatch: 5,
  metaIterations: 100_000,
  evalSteps: 50,
};

/** Named as the authors named theirs: Omniglot or Mini-ImageNet, shots, ways, t for transductive. */
export const presets = {
  o15: { ...omniglot5way, shots: 1 },
  o15t: { ...omniglot5way, shots: 1, transductive: true },
  o55: { ...omniglot5way, shots: 5 },
  o55t: { ...omniglot5way, shots: 5, transductive: true },
  o120: { ...omniglot20way, shots: 1 },
  o120t: { ...omniglot20way, shots: 1, transductive: true },
  o520: { ...omniglot20way, shots: 5 },
  o520t: { ...omniglot20way, shots: 5, transductive: true },
  m15: { ...miniImagenet5way, shots: 1, evalBatch: 5 },
  m15t: { ...miniImagenet5way, shots: 1, evalBatch: 5, transductive: true },
  m55: { ...miniImagenet5way, shots: 5, evalBatch: 15 },
  m55t: { ...miniImagenet5way, shots: 5, evalBatch: 15, transductive: true },
  sine: { task: 'sine', ...sine },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;
