/** `anole export`: the weights of a run, or an adapted model, in formats that apps and other tools read. */
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { leafTensors } from '../data/model-tensors.ts';
import { encodeNpz } from '../data/npz.ts';
import { encodeSafetensors } from '../data/safetensors.ts';
import { OptionError } from '../errors.ts';
import { type AdaptedModel, decodeAdapted, isAdapted } from '../experiments/adapted.ts';
import { oneOf, rules, type Settings } from '../experiments/settings.ts';
import { layoutFor } from '../experiments/setup.ts';
import { decodeWeights, encodeWeights, type TrainedWeights } from '../experiments/weights.ts';
import { writeAtomically } from '../files.ts';
import { exportOnnx } from '../meta/export-onnx.ts';
import type { Model } from '../nn/model.ts';
import { aligned, count, describeTask } from './format.ts';
import { version } from './machine.ts';
import { withValue } from './options.ts';
import { weightsFile } from './run-folder.ts';
import { readModelFile, readResult } from './saved-run.ts';

const fileNames = {
  onnx: 'model.onnx',
  safetensors: 'parameters.safetensors',
  npz: 'parameters.npz',
  weights: 'shipped.safetensors',
} as const;

interface ExportFlags {
  readonly format: keyof typeof fileNames;
  readonly shots?: number;
  readonly out?: string;
  readonly json?: boolean;
}

export function exportCommand(): Command {
  const formats = Object.keys(fileNames);
  const format = new Option('--format <name>', formats.join(', ')).makeOptionMandatory();
  const shots = new Option('--shots <n>', 'of onnx: support examples a class it takes (default: as trained)');
  const out = `file to write (default: ${Object.values(fileNames).join(', ')} in the run)`;
  return new Command('export')
    .summary('write the weights of a run, or an adapted model, for other tools and for apps')
    .description(
      'Writes the weights of a run, without the optimizers, for other tools.\n' +
        'onnx: a model for any onnxruntime. It takes x [N, …] and, to tell classes apart, the support set\n' +
        '[ways × shots, …] beside which every x is normalized; it gives probabilities [N, ways], or the\n' +
        'values [N, 1] of a sine. The model of an adapted file carries its support set. safetensors and npz\n' +
        '(numpy.load): an array for each parameter. weights: a small file for apps, with the second moments\n' +
        'of Adam in brief and how it was made, for `load` and `anole adapt`.',
    )
    .argument('<run>', 'folder of a run, a file of weights or of `anole adapt`, or the name of shipped ones')
    .addOption(withValue(format, oneOf(...formats)))
    .addOption(withValue(shots, rules.shots))
    .option('--out <file>', out)
    .option('--json', 'print one JSON object in place of text')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  anole export runs/demo/glyphs --format onnx',
        '  anole export runs/demo/sine --format npz --out sine.npz',
        '  anole export runs/demo/glyphs --format weights --out glyphs-5way.safetensors',
        '  anole export adapted.safetensors --format onnx',
      ].join('\n'),
    )
    .action(exportRun);
}

async function exportRun(run: string, flags: ExportFlags): Promise<void> {
  const { format } = flags;
  const { folder, path, bytes: file } = await readModelFile(run);
  const content = isAdapted(file, path) ? adaptedContent(file, path) : await runContent(file, path, folder);
  const { parameters } = content;
  checkFlags(flags, content);
  const out = flags.out ?? join(folder, fileNames[format]);
  if (resolve(out) === resolve(path)) {
    throw new OptionError(`out: ${out} is what is exported, and holds more than that: give another file`);
  }
  const bytes = encode(content, flags);
  await writeAtomically(out, bytes);
  const facts = { format, bytes: bytes.length, parameters: parameters.length, file: out };
  console.log(
    flags.json ? JSON.stringify({ event: 'export', ...facts, run: path }) : summary(content, facts),
  );
}

/** What is exported. */
interface Content {
  readonly settings: Settings;
  readonly model: Model;
  /** float32 [P]. */
  readonly parameters: Float32Array;
  /** Of an adapted model. */
  readonly adapted?: AdaptedModel;
  /** Of a run. */
  readonly weights?: TrainedWeights;
}

function adaptedContent(bytes: Uint8Array, path: string): Content {
  const adapted = decodeAdapted(bytes, path);
  return { ...adapted, adapted };
}

/** With how it was made, as far as the run says. */
async function runContent(bytes: Uint8Array, path: string, folder: string): Promise<Content> {
  const { settings, start, made } = decodeWeights(bytes, path);
  const result = await readResult(folder);
  const isOfThese = path === join(folder, weightsFile) && result?.metaIterations === made.metaIterations;
  const { testAccuracy, testAccuracyCi95, testMse, testMseCi95, evalTasks } = result ?? {};
  const { shots } = settings;
  const measured = { testAccuracy, testAccuracyCi95, testMse, testMseCi95, evalTasks, shots };
  const weights = { settings, start, made: { ...(isOfThese && measured), ...made, version } };
  return { settings, model: layoutFor(settings).model, parameters: start.parameters, weights };
}

function checkFlags({ format, shots }: ExportFlags, { settings, adapted, weights }: Content): void {
  if (shots !== undefined && (format !== 'onnx' || settings.task === 'sine')) {
    throw new OptionError('shots: only the onnx model of a classifier has a support set: leave it out');
  }
  if (shots !== undefined && adapted !== undefined) {
    throw new OptionError('shots: an adapted model carries its own support set: leave it out');
  }
  if (format === 'weights' && weights === undefined) {
    throw new OptionError('format: an adapted model is a file for apps already: ship it as it is');
  }
}

function encode({ settings, model, parameters, adapted, weights }: Content, flags: ExportFlags): Uint8Array {
  const { format, shots = settings.shots } = flags;
  if (format === 'weights') return encodeWeights(weights!);
  const metadata: Record<string, string> = { settings: JSON.stringify({ ...settings, shots }) };
  if (adapted !== undefined) metadata.labels = JSON.stringify(adapted.labels);
  if (format === 'onnx') {
    const isSine = settings.task === 'sine';
    const support = isSine ? 0 : (adapted?.support ?? settings.ways * shots);
    return exportOnnx({ model, parameters, targets: isSine ? 'values' : 'classes', support, metadata });
  }
  const tensors = Object.fromEntries(leafTensors(parameters, model.layout));
  return format === 'npz' ? encodeNpz(tensors) : encodeSafetensors(tensors, metadata);
}

function summary(
  { settings, adapted }: Content,
  facts: { readonly bytes: number; readonly parameters: number; readonly file: string },
): string {
  const { bytes, parameters, file } = facts;
  const weights = `${count(parameters)} parameters, ${count(bytes / 1000)} kB`;
  return [
    adapted === undefined ? describeTask(settings) : `Adapted to ${adapted.labels.join(', ') || 'values'}`,
    '',
    aligned([
      ['saved in', file],
      ['holds', weights],
    ]),
  ].join('\n');
}
