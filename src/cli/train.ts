/** `anole train`: meta-trains, evaluates on unseen classes, and leaves a folder with what came of it. */
import { Command } from 'commander';
import { resolveSettings, rules, type TaskName } from '../experiments/settings.ts';
import { setUp } from '../experiments/setup.ts';
import { describeImages, imagesEvent, isImageFolder, readImages } from './images.ts';
import { addTrainFlags, givenSettings, type TrainFlags } from './options.ts';
import { terminalProgress } from './progress.ts';
import { performRun, type RunEvent, summary } from './run.ts';
import { RunFolder } from './run-folder.ts';

export function trainCommand(): Command {
  const command = new Command('train')
    .summary('meta-train an initialization and evaluate it on unseen classes')
    .description(
      'Meta-trains an initialization on sine waves, glyphs (drawn characters, no data needed), Omniglot,\n' +
        'Mini-ImageNet or images of your own (folders of JPEG, PNG or WebP files, one for each class),\n' +
        'evaluates it on classes it has never seen, and saves weights, metrics and pictures.',
    )
    .argument('<task>', rules.task.choices!.join(', '));
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
      ].join('\n'),
    )
    .action(train);
}

async function train(task: string, flags: TrainFlags): Promise<void> {
  const settings = resolveSettings({
    task: task as TaskName, // checked there
    preset: flags.preset,
    given: givenSettings(flags),
  });
  const progress = terminalProgress(flags);
  const images = await readImages(settings, { data: flags.data, progress });
  if (isImageFolder(images)) {
    console.log(flags.json ? JSON.stringify(imagesEvent(images)) : describeImages(images));
  }
  const setup = setUp(settings, images);
  const folder =
    flags.out === undefined ? await RunFolder.createNamed(settings.task) : await RunFolder.create(flags.out);
  const print = flags.json ? (event: RunEvent) => console.log(JSON.stringify(event)) : () => {};
  const result = await performRun(setup, { folder, progress, onEvent: print, ...flags });
  if (!flags.json) console.log(summary(settings, result));
}
