/** Flags: one table from the settings to what is typed, and how values are read and explained. */
import { type Command, Option } from 'commander';
import { didYouMean, OptionError } from '../errors.ts';
import type { Config } from '../experiments/config.ts';
import { algorithmDefaults, presets, taskDefaults } from '../experiments/presets.ts';
import {
  oneOf,
  type Rule,
  rules,
  type Settings,
  type TaskName,
  wholeNumber,
} from '../experiments/settings.ts';
import type { Provider } from '../runtime/runtime.ts';

type SettingName = Exclude<keyof Settings, 'task'>;

interface Flag {
  /** Such as `--inner-iters <n>`. */
  readonly flag: string;
  /** What it is, its unit and what it does. */
  readonly text: string;
}

type Group = 'Training' | 'Tasks' | 'Images' | 'Inner loop' | 'Outer loop' | 'Evaluation';

const groups: Readonly<Record<Group, readonly SettingName[]>> = {
  Training: ['algorithm', 'seed'],
  Tasks: ['ways', 'shots', 'trainShots', 'tailShots'],
  Images: ['imageSize', 'gray', 'minImages'],
  'Inner loop': [
    ...(['innerSteps', 'innerBatch', 'sampling', 'innerOptimizer'] as const),
    ...(['innerOptimizerState', 'innerLr', 'loss'] as const),
  ],
  'Outer loop': ['metaIterations', 'metaBatch', 'metaStep', 'metaStepFinal', 'outerOptimizer'],
  Evaluation: ['evalSteps', 'evalBatch', 'evalTasks', 'evalEvery', 'transductive'],
};

const flags: { readonly [K in SettingName]-?: Flag } = {
  algorithm: { flag: '--algorithm <name>', text: 'reptile, fomaml, maml or joint' },
  seed: { flag: '--seed <n>', text: 'of the class split, the initialization and every task' },
  ways: { flag: '--ways <n>', text: 'classes in a task; not for sine' },
  shots: { flag: '--shots <n>', text: 'examples a class to adapt to when evaluated; points of a sine' },
  trainShots: { flag: '--train-shots <n>', text: 'examples a class of a training task; points of a sine' },
  tailShots: {
    flag: '--tail-shots <n>',
    text: 'how many of them are kept for the last inner batch of fomaml and maml; 0 shares all',
  },
  imageSize: {
    flag: '--image-size <n>',
    text: 'height and width images of your own are stretched to, 8 to 256 pixels',
  },
  gray: { flag: '--gray', text: 'read images of your own in gray' },
  minImages: { flag: '--min-images <n>', text: 'leave out classes of your own with fewer images' },
  innerSteps: { flag: '--inner-iters <n>', text: 'k, gradient steps on a training task' },
  innerBatch: { flag: '--inner-batch <n>', text: 'examples in a mini-batch' },
  sampling: {
    flag: '--sampling <how>',
    text: 'mini-batches by cycle (shuffle, walk through, reshuffle) or replacement (independent draws)',
  },
  innerOptimizer: { flag: '--inner-optimizer <name>', text: 'adam (with beta1 = 0) or sgd' },
  innerOptimizerState: {
    flag: '--inner-optimizer-state <how>',
    text: "carry Adam's moments from task to task, reset them, or carry them in sequential order",
  },
  innerLr: { flag: '--inner-lr <x>', text: 'learning rate α' },
  loss: { flag: '--loss <how>', text: 'mean or sum over a mini-batch' },
  metaIterations: { flag: '--meta-iters <n>', text: 'N, outer steps' },
  metaBatch: { flag: '--meta-batch <n>', text: 'tasks an outer step averages' },
  metaStep: {
    flag: '--meta-step <x>',
    text: 'outer step ε at the start; goes linearly to --meta-step-final',
  },
  metaStepFinal: { flag: '--meta-step-final <x>', text: 'outer step at the end' },
  outerOptimizer: {
    flag: '--outer-optimizer <name>',
    text: 'sgd moves by ε times the mean direction, adam takes it for a gradient',
  },
  evalSteps: { flag: '--eval-iters <n>', text: 'gradient steps on an evaluation task' },
  evalBatch: { flag: '--eval-batch <n>', text: 'examples in a mini-batch of an evaluation task' },
  evalTasks: { flag: '--eval-tasks <n>', text: 'tasks of the evaluation on unseen classes at the end' },
  evalEvery: {
    flag: '--eval-every <n>',
    text: 'meta-iterations between points of the learning curve (fresh tasks of the training classes); 0: none',
  },
  transductive: {
    flag: '--transductive',
    text: 'classify all queries of a task in one batch; without it each on its own beside the support set',
  },
};

/** What `--workers` and `--device` may be; they do not change what is computed. */
const machineRules = { workers: wholeNumber(1, 256), device: oneOf('cpu', 'native', 'webgpu') };

const seconds: Rule = {
  expected: 'seconds from 0 on',
  holds: (value) => Number.isFinite(value) && Number(value) >= 0,
  numeric: true,
};

const path: Rule = {
  expected: 'a path',
  holds: (value) => typeof value === 'string' && value !== '',
  numeric: false,
};

/** What `Config` may hold, and an environment variable may say: every setting, and these. */
export const configurable = {
  ...rules,
  ...machineRules,
  preset: oneOf(...Object.keys(presets)),
  data: path,
  checkpointEvery: seconds,
  tensorboard: rules.transductive,
} satisfies Readonly<Record<keyof Config, Rule>>;

/** Those that do not decide what is computed. */
export type MachineName = Exclude<keyof Config, keyof Settings | 'preset'>;

/** How the machine is used and what is printed. */
export interface CommonFlags {
  /** A configuration file; false for none. */
  readonly config?: string | false;
  readonly workers?: number;
  readonly device?: Provider;
  readonly data?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export type TrainFlags = Partial<Settings> &
  CommonFlags & {
    readonly preset?: string;
    readonly out?: string;
    readonly resume?: string;
    readonly allowChanges?: boolean;
    readonly checkpointEvery?: number;
    readonly tensorboard?: boolean;
  };

/** Adds every setting's flag. */
export function addTrainFlags(command: Command): Command {
  const names = Object.keys(presets).join(', ');
  add(command, 'Training', new Option('--preset <name>', `the paper's settings by name: ${names}`));
  for (const [group, settings] of Object.entries(groups)) {
    for (const name of settings) add(command, group, settingOption(name, defaultOf(name)));
  }
  const resume = 'a run that was stopped: go on with it, by its own settings (default: a new run)';
  const changes = 'go on even with settings given otherwise than those of the run (default: refuse)';
  const every = 'seconds between checkpoints, from which a killed run is gone on with (default: 30)';
  add(command, durableGroup, new Option('--resume <run>', resume));
  add(command, durableGroup, new Option('--allow-changes', changes));
  add(command, durableGroup, withValue(new Option('--checkpoint-every <s>', every), seconds));
  const board = 'write an event file for TensorBoard beside metrics.jsonl (default: off)';
  add(command, machineGroup, new Option('--tensorboard', board));
  const out = 'where weights, metrics and pictures go (default: runs/<task>-<time>)';
  add(command, machineGroup, new Option('--out <folder>', out));
  return addCommonFlags(command, 'cores, at most --meta-batch; sine 1');
}

/** The settings an evaluation of saved weights may change; what is not said stays as trained. */
export const evaluationSettings = [
  'ways',
  'shots',
  'evalSteps',
  'evalBatch',
  'evalTasks',
  'transductive',
] as const satisfies (keyof Settings)[];

/** Their flags, and the others of an evaluation. */
export function addEvalFlags(command: Command): Command {
  for (const name of evaluationSettings) add(command, 'Evaluation', settingOption(name, 'as trained'));
  const alone = new Option('--no-transductive', 'classify each query on its own beside the support set');
  const seed = new Option('--seed <n>', 'of the tasks (default: as trained)');
  add(command, 'Evaluation', alone);
  add(command, 'Evaluation', withValue(seed, rules.seed));
  add(command, 'Evaluation', headOption());
  return addCommonFlags(command, 'cores; sine 1');
}

/** `--head`: where the last layer of a classifier comes from. */
export function headOption(): Option {
  const text =
    'trained: the last layer of the weights, for as many classes as it has; fresh: a new one for any number ' +
    '(default: trained)';
  return withValue(new Option('--head <start>', text), oneOf('trained', 'fresh'));
}

function addCommonFlags(command: Command, workersDefault: string): Command {
  const workers = `threads that run tasks; any number gives the same bits (default: ${workersDefault})`;
  const device = new Option(
    '--device <name>',
    "native (compiled by the machine's C compiler), cpu (ONNX Runtime) or webgpu (default: native if there is a compiler, else cpu)",
  );
  const data =
    'folder or zip of the images, needed for your own (default: where `anole data` finds Omniglot and Mini-ImageNet)';
  add(command, machineGroup, withValue(new Option('--workers <n>', workers), machineRules.workers));
  add(command, machineGroup, withValue(device, machineRules.device));
  add(command, machineGroup, new Option('--data <folder>', data));
  const config = 'file with settings for train (default: anole.config.ts, .js or .json in this folder)';
  add(command, machineGroup, new Option('--config <file>', config));
  add(command, machineGroup, new Option('--no-config', 'read no such file'));
  add(command, machineGroup, new Option('--json', 'print one JSON object a line (default: text for people)'));
  add(
    command,
    machineGroup,
    new Option('--quiet', 'no progress on stderr (default: progress in a terminal, none in CI)'),
  );
  return command;
}

const durableGroup = 'Stopping and going on';
const machineGroup = 'Machine and output';

function add(command: Command, group: string, option: Option): void {
  command.addOption(option.helpGroup(`${group}:`));
}

/** The settings among the flags. */
export function givenSettings(flags: Partial<Settings>): Partial<Settings> {
  const names = Object.values(groups).flat();
  return Object.fromEntries(
    names.flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]])),
  );
}

/** A message of the library in the words of the command line: `innerBatch` becomes `--inner-batch`. */
export function inFlags(message: string): string {
  const written = (name: string) => flagName(flags[name as SettingName].flag);
  const names = Object.keys(flags).join('|');
  return message
    .replace(new RegExp(`^(${names}):`), (_, name: string) => `${written(name)}:`)
    .replace(/\b[a-z]+[A-Z][A-Za-z]*\b/g, (word) => (Object.hasOwn(flags, word) ? written(word) : word))
    .replace(/\ballowChanges\b/g, '--allow-changes')
    .replace(/\bcheckpointEvery\b/g, '--checkpoint-every')
    .replace(/\bhead: 'fresh'/g, '--head fresh')
    .replace(/^fit: (steps|batch|seed):/, '--$1:')
    .replace(/^(preset|workers|device|out|data|resume|format|head):/, '--$1:');
}

function settingOption(name: SettingName, fallback: string): Option {
  const { flag, text } = flags[name];
  const option = new Option(flag, `${text} (default: ${fallback})`);
  // commander names the value after the flag, the settings have their own names
  option.attributeName = () => name;
  return flag.includes('<') ? withValue(option, rules[name]) : option;
}

/** The option, read and checked by a rule. */
export function withValue(option: Option, rule: Rule): Option {
  const name = flagName(option.flags);
  return option.argParser((text) => {
    const value = rule.numeric ? readNumber(text) : text;
    if (rule.holds(value)) return value;
    const hint = rule.choices === undefined ? '' : didYouMean(text, rule.choices);
    throw new OptionError(`${name}: expected ${rule.expected}, got "${text}"${hint}`);
  });
}

/** Plain decimal notation only: `Number` would also read an empty string, `0x10` and spaces. */
function readNumber(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
}

function flagName(flag: string): string {
  return flag.split(' ')[0]!;
}

/** A setting's default, with the tasks and algorithms where it is another. */
function defaultOf(name: SettingName): string {
  if (name === 'evalEvery') return 'a fifth of --meta-iters, at most 1,000';
  if (name === 'transductive' || name === 'gray') return 'off';
  if (name === 'imageSize') return '84; with --gray 28';
  if (name === 'minImages') return '0, they are an error';
  const shown = (value: unknown) =>
    typeof value === 'number' ? value.toLocaleString('en-US', digits) : `${value}`;
  const usual = taskDefaults.omniglot[name];
  const exceptions: string[] = [];
  for (const task of ['glyphs', 'images', 'mini-imagenet', 'sine'] as const satisfies readonly TaskName[]) {
    const value = taskDefaults[task][name];
    if (value !== usual && !(task === 'sine' && name === 'ways')) exceptions.push(`${task} ${shown(value)}`);
  }
  for (const [algorithm, { sine, omniglot }] of Object.entries(algorithmDefaults)) {
    if (omniglot[name] === undefined) continue;
    exceptions.push(
      `${algorithm} ${shown(omniglot[name])}${sine[name] === undefined ? ' but for sine' : ''}`,
    );
  }
  return [shown(usual), ...exceptions].join('; ');
}

const digits = { maximumSignificantDigits: 6 } as const;
