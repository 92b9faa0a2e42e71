/** `anole train`: meta-trains, evaluates on unseen classes, and leaves a folder with what came of it. */
import { basename } from 'node:path';
import { Command } from 'commander';
import { OptionError } from '../errors.ts';
import { compareSettings } from '../experiments/durable.ts';
import { decodeProgress } from '../experiments/progress.ts';
import {
  checkSettings,
  resolveSettings,
  rules,
  type Settings,
  type TaskName,
} from '../experiments/settings.ts';
import { setUp } from '../experiments/setup.ts';
import { defaultProvider } from '../runtime/node.ts';
import { type Configuration, explained, readConfiguration, withMachine } from './configuration.ts';
import { describeImages, imagesEvent, isImageFolder, readImages } from './images.ts';
import { addTrainFlags, givenSettings, type TrainFlags } from './options.ts';
import { terminalProgress } from './progress.ts';
import { performRun, type RunEvent, type RunResult, summary } from './run.ts';
import { RunFolder, weightsFile } from './run-folder.ts';
import { readNotes, readResult, readRun } from './saved-run.ts';

export function trainCommand(): Command {
  const command = new Command('train')
    .summary('meta-train an initialization and evaluate it on unseen classes')
    .description(
      'Meta-trains an initialization on sine waves, glyphs (drawn characters, no data needed), Omniglot,\n' +
        'Mini-ImageNet or images of your own (folders of JPEG, PNG or WebP files, one for each class),\n' +
        'evaluates it on classes it has never seen, and saves weights, metrics and pictures. A run that was\n' +
        'stopped, even killed, is gone on with by --resume, to the same numbers.',
    )
    .argument('[task]', `${rules.task.choices!.join(', ')}; or as the configuration says`);
  return addTrainFlags(command)
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  anole train sine                                      the paper’s Figure 1, in seconds',
        '  anole train glyphs --shots 1                          few-shot classification without any data',
        '  anole train omniglot --preset o55 --data ~/omniglot   Table 2, 5-shot 5-way',
        '  anole train mini-imagenet --preset m55 --data ~/data  Table 1, 5-shot 5-way',
        '  anole train images --data ~/pets --shots 1            your own classes',
        '  anole train omniglot --meta-iters 1000 --eval-tasks 300 --algorithm fomaml --tail-shots 5',
        '  anole train --resume runs/omniglot-…                  go on where that run was stopped',
        '',
        'Settings come from flags, then from environment variables such as ANOLE_INNER_LR for --inner-lr,',
        'then from a configuration file such as anole.config.json, then from the preset and the defaults.',
      ].join('\n'),
    )
    .action(train);
}

async function train(task: string | undefined, given: TrainFlags): Promise<void> {
  const configuration = await readConfiguration(given.config);
  const flags = withMachine(given, configuration);
  const print = flags.json ? (event: RunEvent) => console.log(JSON.stringify(event)) : () => {};
  const { settings, result, data } =
    flags.resume === undefined
      ? await startRun(task, { flags, configuration }, print)
      : await resumeRun(flags.resume, task, { given, flags }, print);
  if (!flags.json) console.log(summary(settings, result, data));
}

type Print = (event: RunEvent) => void;

interface Done {
  readonly settings: Settings;
  readonly result: RunResult;
  /** Where the images came from. */
  readonly data?: string;
}

async function startRun(
  named: string | undefined,
  { flags, configuration }: { readonly flags: TrainFlags; readonly configuration: Configuration },
  onEvent: Print,
): Promise<Done> {
  const { preset, task, ...configured } = configuration.values;
  const chosen = named ?? task;
  if (chosen === undefined) {
    throw new OptionError(
      `task: expected one of ${rules.task.choices!.join(', ')}, got none: name one, or a run with --resume`,
    );
  }
  if (flags.allowChanges) throw new OptionError('allowChanges: there is no run to change: add --resume');
  const settings = explained(configuration, flags, () =>
    resolveSettings({
      task: chosen as TaskName, // checked there
      preset: flags.preset ?? preset,
      given: { ...givenSettings(configured), ...givenSettings(flags) },
    }),
  );
  const progress = terminalProgress(flags);
  const images = await readImages(settings, { data: flags.data, progress });
  if (isImageFolder(images)) {
    console.log(flags.json ? JSON.stringify(imagesEvent(images)) : describeImages(images));
  }
  const setup = explained(configuration, flags, () => setUp(settings, images));
  const folder =
    flags.out === undefined ? await RunFolder.createNamed(settings.task) : await RunFolder.create(flags.out);
  const device = flags.device ?? (await defaultProvider());
  const request = { ...flags, device, configuration: configuration.file, folder, progress, onEvent };
  return { settings, result: await performRun(setup, request), data: flags.data };
}

/** Goes on with a run; one that is finished is shown again. */
async function resumeRun(
  run: string,
  task: string | undefined,
  { given, flags }: { readonly given: TrainFlags; readonly flags: TrainFlags },
  onEvent: Print,
): Promise<Done> {
  if (flags.out !== undefined) {
    throw new OptionError('out: a run that is gone on with stays in its folder: leave it out');
  }
  const { folder, path, settings: saved, checkpoint } = await readRun(run);
  if (basename(path) !== weightsFile) {
    throw new OptionError(
      `resume: a run is gone on with from its ${weightsFile}, got ${path}: give its folder, or rename the file`,
    );
  }
  if (task !== undefined && task !== saved.task) {
    throw new OptionError(`task: ${folder} is a run of ${saved.task}, not of ${task}: leave the task out`);
  }
  const notes = readNotes(decodeProgress(checkpoint.progress, path).notes, path);
  const settings = wantedSettings(saved, path, flags);
  const { data, tensorboard, ...machine } = { ...flags, ...notes, ...given };
  const device = machine.device ?? (await defaultProvider());
  if (notes !== undefined && device !== notes.device && !flags.allowChanges) {
    throw new OptionError(
      `device: the run began on ${notes.device}, where numbers are rounded otherwise than on ${device}: ` +
        'leave it out, or allow it with allowChanges',
    );
  }
  const before = notes === undefined ? await readResult(folder) : undefined;
  const isSame = JSON.stringify(settings) === JSON.stringify(saved);
  if (before !== undefined && isSame && checkpoint.iteration === settings.metaIterations) {
    const shown = { ...before, out: folder };
    onEvent(shown);
    if (!flags.json)
      console.log('This run was finished before: more --meta-iters with --allow-changes go on.\n');
    return { settings, result: shown, data };
  }
  const locked = await RunFolder.of(folder);
  const progress = terminalProgress(flags);
  const setup = setUp(settings, await readImages(settings, { data, progress }));
  const request = { ...flags, device, data, tensorboard, before, folder: locked, progress, onEvent };
  return { settings, result: await performRun(setup, request), data };
}

/** The settings of a run with what is given beside `--resume`; whether they may differ is decided later. */
function wantedSettings(saved: Settings, path: string, flags: TrainFlags): Settings {
  const given = givenSettings(flags);
  if (!flags.allowChanges) compareSettings({ ...saved }, { ...saved, ...given }, { file: path });
  if (flags.preset === undefined) return checkSettings({ ...saved, ...given });
  return resolveSettings({ task: saved.task, preset: flags.preset, given });
}
