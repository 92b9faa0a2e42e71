/**
 * Settings: everything that decides what a training and evaluation run computes, as flat plain data. With
 * one set of them a run gives the same bits on any number of workers. They are stored with the weights.
 */
import type { Sampling } from '../data/mini-batches.ts';
import { didYouMean, OptionError } from '../errors.ts';
import type { OuterOptimizerName } from '../meta/outer-step.ts';
import type { AlgorithmName, InnerOptimizerState } from '../meta/train.ts';
import type { LossReduction } from '../nn/losses.ts';
import { algorithmDefaults, presets, taskDefaults } from './presets.ts';

export type TaskName = 'sine' | 'glyphs' | 'omniglot' | 'mini-imagenet' | 'images';

/** All that decides what a run computes; `resolveSettings` fills in the defaults, which `anole train --help` lists. */
export interface Settings {
  readonly task: TaskName;
  readonly algorithm: AlgorithmName;
  /** Of the split into classes to train and to test on, of the initialization and of all tasks. */
  readonly seed: number;

  /** Classes in a task; 1 for sine, whose examples belong to no class. */
  readonly ways: number;
  /** Support examples of an evaluation task: per class, or points of a sine. */
  readonly shots: number;
  /** Examples a task is trained on: per class, or points of a sine. */
  readonly trainShots: number;
  /** How many of them only the last mini-batch of FOMAML and MAML sees; 0 shares the tail (§6.3). */
  readonly tailShots: number;

  /** k: inner steps of a training task. */
  readonly innerSteps: number;
  /** Examples in a mini-batch of the inner loop. */
  readonly innerBatch: number;
  readonly sampling: Sampling;
  readonly innerOptimizer: 'adam' | 'sgd';
  /** See `InnerOptimizerState`. */
  readonly innerOptimizerState: InnerOptimizerState;
  /** α. */
  readonly innerLr: number;
  /** How the losses of a mini-batch become one. */
  readonly loss: LossReduction;

  /** ε₀: the outer step at the start, annealed linearly to `metaStepFinal`. */
  readonly metaStep: number;
  readonly metaStepFinal: number;
  /** n: tasks whose directions an outer step averages. */
  readonly metaBatch: number;
  /** N: outer steps. */
  readonly metaIterations: number;
  readonly outerOptimizer: OuterOptimizerName;

  /** Inner steps of an evaluation task. */
  readonly evalSteps: number;
  /** Examples in a mini-batch of an evaluation task. */
  readonly evalBatch: number;
  /** Tasks of the evaluation at the end, on classes never trained on. */
  readonly evalTasks: number;
  /** Meta-iterations between two points of the learning curve; 0 leaves the curve out. */
  readonly evalEvery: number;
  /** Whether all queries of a task are classified in one batch; see `AdaptationOptions`. */
  readonly transductive: boolean;

  /** Of `images` only, here and below: height and width they are stretched to, in pixels. */
  readonly imageSize?: number;
  /** Whether they have one channel in place of three. */
  readonly gray?: boolean;
  /** Classes with fewer images are left out; 0 keeps all. */
  readonly minImages?: number;
}

/** Settings that only the task `images` has. */
const imageSettings = ['imageSize', 'gray', 'minImages'] as const;

/** What a setting may be. */
export interface Rule {
  /** Ends a message after `expected`, such as `a whole number from 2 on`. */
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
  /** All there are, where it is one of a few words. */
  readonly choices?: readonly string[];
  /** Whether it is written as a number. */
  readonly numeric: boolean;
}

export function wholeNumber(from: number, to = Number.MAX_SAFE_INTEGER): Rule {
  const expected =
    to === Number.MAX_SAFE_INTEGER
      ? `a whole number from ${from} on`
      : `a whole number from ${from} to ${to.toLocaleString('en-US')}`;
  return {
    expected,
    holds: (value) => Number.isSafeInteger(value) && Number(value) >= from && Number(value) <= to,
    numeric: true,
  };
}

export function oneOf(...choices: readonly string[]): Rule {
  return {
    expected: `one of ${choices.join(', ')}`,
    holds: (value) => typeof value === 'string' && choices.includes(value),
    choices,
    numeric: false,
  };
}

const positive: Rule = {
  expected: 'a number above 0',
  holds: (value) => Number.isFinite(value) && Number(value) > 0,
  numeric: true,
};

const boolean: Rule = {
  expected: 'true or false',
  holds: (value) => typeof value === 'boolean',
  numeric: false,
};

/** Every setting's rule; the command line and the settings in a file of weights are held to the same. */
export const rules: { readonly [K in keyof Settings]-?: Rule } = {
  task: oneOf('sine', 'glyphs', 'omniglot', 'mini-imagenet', 'images'),
  algorithm: oneOf('reptile', 'fomaml', 'maml', 'joint'),
  seed: wholeNumber(0),
  ways: wholeNumber(2),
  shots: wholeNumber(1),
  trainShots: wholeNumber(1),
  tailShots: wholeNumber(0),
  innerSteps: wholeNumber(1, 1000),
  innerBatch: wholeNumber(1),
  sampling: oneOf('cycle', 'replacement'),
  innerOptimizer: oneOf('adam', 'sgd'),
  innerOptimizerState: oneOf('carry', 'sequential', 'reset'),
  innerLr: positive,
  loss: oneOf('mean', 'sum'),
  metaStep: positive,
  metaStepFinal: {
    expected: 'a number from 0 on',
    holds: (value) => Number.isFinite(value) && Number(value) >= 0,
    numeric: true,
  },
  metaBatch: wholeNumber(1, 1000),
  metaIterations: wholeNumber(1),
  outerOptimizer: oneOf('sgd', 'adam'),
  evalSteps: wholeNumber(0, 10_000),
  evalBatch: wholeNumber(1),
  evalTasks: wholeNumber(1, 1_000_000),
  evalEvery: wholeNumber(0),
  transductive: boolean,
  imageSize: wholeNumber(8, 256),
  gray: boolean,
  minImages: wholeNumber(0),
};

export interface SettingsRequest {
  readonly task: TaskName;
  /** One of `presets`. @default none */
  readonly preset?: string;
  /** What is asked for; it overrides preset and defaults. */
  readonly given?: Partial<Settings>;
}

/**
 * Complete settings: the task's defaults, then the preset's, then the algorithm's, then what is given. A
 * mini-batch that was not asked for is made small enough for the examples there are.
 *
 * @throws {OptionError} for anything unknown, out of range or in conflict
 */
export function resolveSettings({ task, preset, given = {} }: SettingsRequest): Settings {
  checkSetting('task', task);
  if (given.algorithm !== undefined) checkSetting('algorithm', given.algorithm);
  const chosen = preset === undefined ? {} : presetFor(preset, task);
  const base = { ...taskDefaults[task], ...chosen };
  const { algorithm } = { ...base, ...given };
  const settings = { ...base, ...algorithmDefaults[algorithm][task], ...given, task, algorithm };
  const { ways, shots, trainShots, tailShots, innerBatch, evalBatch, metaIterations } = settings;
  return checkSettings({
    ...settings,
    innerBatch: given.innerBatch ?? Math.max(1, Math.min(innerBatch, ways * (trainShots - tailShots))),
    evalBatch: given.evalBatch ?? Math.max(1, Math.min(evalBatch, ways * shots)),
    evalEvery: given.evalEvery ?? curveEvery(metaIterations),
    ...(task === 'images' ? imageDefaults(given) : {}),
  });
}

function imageDefaults({ gray = false, imageSize, minImages = 0 }: Partial<Settings>): Partial<Settings> {
  return { imageSize: imageSize ?? (gray ? 28 : 84), gray, minImages };
}

/** Five points on a learning curve, or one every 1000 meta-iterations. */
function curveEvery(metaIterations: number): number {
  return Math.max(1, Math.min(1000, Math.floor(metaIterations / 5)));
}

/**
 * Settings from anywhere, such as a file of weights, checked one by one and together.
 * @throws {OptionError} naming the first setting at fault
 */
export function checkSettings(values: Readonly<Partial<Record<keyof Settings, unknown>>>): Settings {
  const names = Object.keys(rules) as (keyof Settings)[];
  const unknown = Object.keys(values).find((name) => !Object.hasOwn(rules, name));
  if (unknown !== undefined) {
    throw new OptionError(`"${unknown}" is not a setting${didYouMean(unknown, names)}`);
  }
  const isSine = values.task === 'sine';
  for (const name of names) {
    if (isSine && name === 'ways') continue;
    const isForeign = values.task !== 'images' && imageSettings.some((setting) => setting === name);
    if (!isForeign) checkSetting(name, values[name]);
    else if (values[name] !== undefined) {
      throw new OptionError(`${name}: only the task "images" has it, not "${values.task}": leave it out`);
    }
  }
  const settings = values as unknown as Settings;
  if (isSine && settings.ways !== 1) {
    throw new OptionError('ways: the examples of a sine belong to no class: leave the ways out');
  }
  if (isSine && settings.transductive) {
    throw new OptionError('transductive: a sine is regressed, not classified: leave it out');
  }
  const support = settings.ways * settings.shots;
  if (settings.evalBatch > support) {
    const product = isSine ? `${support} shots` : `${settings.ways} ways × ${settings.shots} shots`;
    throw new OptionError(
      `evalBatch: ${settings.evalBatch} is more than the ${support} support examples of an evaluation task ` +
        `(${product}): lower evalBatch or raise the shots`,
    );
  }
  return settings;
}

function checkSetting(name: keyof Settings, value: unknown): void {
  const { expected, holds, choices } = rules[name];
  if (holds(value)) return;
  const found = typeof value === 'string' ? `"${value}"` : String(value);
  const hint = typeof value === 'string' && choices !== undefined ? didYouMean(value, choices) : '';
  throw new OptionError(`${name}: expected ${expected}, got ${found}${hint}`);
}

function presetFor(name: string, task: TaskName): Partial<Settings> {
  const known = Object.keys(presets);
  if (!Object.hasOwn(presets, name)) {
    throw new OptionError(
      `preset: expected one of ${known.join(', ')}, got "${name}"${didYouMean(name, known)}`,
    );
  }
  const preset = presets[name as keyof typeof presets];
  if ((preset.task === 'sine') !== (task === 'sine')) {
    throw new OptionError(`preset: "${name}" is for ${preset.task}, not for ${task}: choose another`);
  }
  const { task: _, ...others } = preset;
  return others;
}
