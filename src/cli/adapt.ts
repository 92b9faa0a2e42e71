/** `anole adapt`: fits weights to a folder of class folders. `anole predict`: what comes of it, on files. */
import { Command, Option } from 'commander';
import type { Prediction } from '../app/classifier.ts';
import { load, loadAdapted } from '../app/node.ts';
import { isShipped } from '../app/shipped.ts';
import { labelledFolder } from '../data/labelled-folder.ts';
import { OptionError } from '../errors.ts';
import type { HeadStart } from '../experiments/heads.ts';
import { rules } from '../experiments/settings.ts';
import { writeAtomically } from '../files.ts';
import { aligned, count, counted, percent, significant } from './format.ts';
import { untilInterrupted } from './interrupt.ts';
import { headOption, withValue } from './options.ts';
import { terminalProgress } from './progress.ts';
import { locateWeights } from './saved-run.ts';

interface AdaptFlags {
  readonly data: string;
  readonly out: string;
  readonly steps?: number;
  readonly batch?: number;
  readonly seed?: number;
  readonly head?: HeadStart;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function adaptCommand(): Command {
  const steps = new Option('--steps <n>', 'gradient steps (default: as the weights were evaluated with, 50)');
  const batch = new Option(
    '--batch <n>',
    'examples in a step (default: as evaluated with, 5, or all if fewer)',
  );
  const seed = new Option('--seed <n>', 'of the mini-batches (default: 0)');
  return new Command('adapt')
    .summary('fit weights to a few examples of your own classes')
    .description(
      'Fits the weights of a run, or shipped ones, to a folder of class folders with a few images each\n' +
        '(dark ink on light paper), and writes the adapted model with its examples.',
    )
    .argument('<weights>', 'folder of a run, a file of weights, or the name of shipped ones')
    .requiredOption('--data <folder>', 'a folder for each class, with its images')
    .option('--out <file>', 'file to write', 'adapted.safetensors')
    .addOption(withValue(steps, rules.evalSteps))
    .addOption(withValue(batch, rules.evalBatch))
    .addOption(withValue(seed, rules.seed))
    .addOption(headOption())
    .option('--json', 'print one JSON object in place of text')
    .option('--quiet', 'no progress on stderr')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  anole adapt omniglot-5way --data letters            letters/a/1.png, letters/b/1.png, …',
        '  anole predict adapted.safetensors new.png',
        '  anole export adapted.safetensors --format onnx',
      ].join('\n'),
    )
    .action(adapt);
}

async function adapt(weights: string, flags: AdaptFlags): Promise<void> {
  const { data, out, json, quiet, steps, batch, seed, head } = flags;
  const learner = await load(isShipped(weights) ? weights : (await locateWeights(weights)).path);
  const progress = terminalProgress({ quiet: quiet === true || json === true });
  try {
    const examples = await labelledFolder(data, learner.inputShape as readonly [number, number, number]);
    progress.start('adapting', steps ?? learner.settings.evalSteps);
    const classifier = await untilInterrupted((signal) =>
      learner.fit(examples, {
        steps,
        batch,
        seed,
        head,
        signal,
        onProgress: (done) => progress.update(done),
      }),
    );
    progress.stop();
    const bytes = classifier.save();
    await writeAtomically(out, bytes);
    const classes = classifier.labels.map((label) => ({
      label,
      examples: examples.filter((example) => example.label === label).length,
    }));
    const { loss } = classifier.made;
    const fitted = Number(classifier.made.steps);
    const facts = { event: 'adapted', weights, classes, ...classifier.made, file: out, bytes: bytes.length };
    if (json) return console.log(JSON.stringify(facts));
    const listed = classes.map(({ label, examples: n }) => `${label} (${n})`).join(', ');
    console.log(
      aligned([
        ['classes', `${listed}`],
        [
          'fitted',
          fitted === 0
            ? 'in no steps'
            : `in ${counted(fitted, 'step')}, mean loss ${significant(Number(loss))}`,
        ],
        ['saved in', `${out}, ${count(bytes.length / 1000)} kB`],
        ['try next', `npx anole predict ${out} FILE…`],
      ]),
    );
    await classifier.dispose();
  } finally {
    progress.stop();
    await learner.dispose();
  }
}

export function predictCommand(): Command {
  return new Command('predict')
    .summary('classify images with an adapted model')
    .description('Classifies images with a model that `anole adapt` fitted, each on its own.')
    .argument('<adapted>', 'file that `anole adapt` wrote')
    .argument('<files...>', 'images')
    .option('--json', 'print one JSON object a line')
    .action(predict);
}

async function predict(adapted: string, files: readonly string[], flags: { readonly json?: boolean }) {
  if (files.length === 0) throw new OptionError('predict: no files: name one or more images');
  const classifier = await loadAdapted(adapted);
  try {
    const rows: (readonly [string, Prediction])[] = [];
    for (const file of files) {
      const prediction = await classifier.predict(file);
      if (flags.json) console.log(JSON.stringify({ file, ...prediction }));
      else rows.push([file, prediction]);
    }
    if (!flags.json) console.log(table(classifier.labels, rows));
  } finally {
    await classifier.dispose();
  }
}

/** A line a file: its class, then the probability of every class. */
function table(labels: readonly string[], rows: readonly (readonly [string, Prediction])[]): string {
  const cells = [
    ['file', 'class', ...labels],
    ...rows.map(([file, { label, probabilities }]) => [
      file,
      label,
      ...labels.map((one) => percent(probabilities[one]!)),
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ');
  return cells.map((row) => line(row).trimEnd()).join('\n');
}
