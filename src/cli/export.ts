/** `anole export`: the weights of a run in formats that other tools read. */
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { fileFault, writeAtomically } from '../data/folders.ts';
import { encodeNpz } from '../data/npz.ts';
import { encodeSafetensors, type StoredTensor } from '../data/safetensors.ts';
import { DataError, OptionError } from '../errors.ts';
import { oneOf, rules, type Settings } from '../experiments/settings.ts';
import { layoutFor } from '../experiments/setup.ts';
import { size } from '../graph/type.ts';
import { exportOnnx } from '../meta/export-onnx.ts';
import type { Model } from '../nn/model.ts';
import { aligned, count, describeTask } from './format.ts';
import { withValue } from './options.ts';
import { readRun } from './saved-run.ts';

const fileNames = {
  onnx: 'model.onnx',
  safetensors: 'parameters.safetensors',
  npz: 'parameters.npz',
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
    .summary('write the weights of a run as ONNX, safetensors or NumPy arrays')
    .description(
      'Writes the weights of a run, without the optimizers, for other tools.\n' +
        'onnx: a model for any onnxruntime. It takes x [N, …] and, to tell classes apart, the support set\n' +
        '[ways × shots, …] beside which every x is normalized; it gives probabilities [N, ways], or the\n' +
        'values [N, 1] of a sine. safetensors and npz (numpy.load): an array for each parameter.',
    )
    .argument('<run>', 'folder of a run, or its weights.safetensors')
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
      ].join('\n'),
    )
    .action(exportRun);
}

async function exportRun(run: string, flags: ExportFlags): Promise<void> {
  const { format, shots } = flags;
  const { folder, path, settings, checkpoint } = await readRun(run);
  if (shots !== undefined && (format !== 'onnx' || settings.task === 'sine')) {
    throw new OptionError('shots: only the onnx model of a classifier has a support set: leave it out');
  }
  const out = flags.out ?? join(folder, fileNames[format]);
  if (resolve(out) === resolve(path)) {
    throw new OptionError(`out: ${out} is what is exported, and holds more than that: give another file`);
  }
  const layout = layoutFor(settings);
  const { parameters } = checkpoint.state(layout);
  const bytes = encode(format, {
    settings: { ...settings, shots: shots ?? settings.shots },
    parameters,
    ...layout,
  });
  await writeAtomically(out, bytes).catch((cause) => {
    throw new DataError(`could not write ${out} (${fileFault(cause)}): make room or give another --out`, {
      cause,
    });
  });
  const facts = { format, bytes: bytes.length, parameters: parameters.length, file: out };
  console.log(
    flags.json ? JSON.stringify({ event: 'export', ...facts, run: path }) : summary(settings, facts),
  );
}

interface Weights {
  readonly settings: Settings;
  readonly model: Model;
  /** float32 [P]. */
  readonly parameters: Float32Array;
}

function encode(format: keyof typeof fileNames, { settings, model, parameters }: Weights): Uint8Array {
  const metadata = { settings: JSON.stringify(settings) };
  if (format === 'onnx') {
    const isSine = settings.task === 'sine';
    const support = isSine ? 0 : settings.ways * settings.shots;
    return exportOnnx({ model, parameters, targets: isSine ? 'values' : 'classes', support, metadata });
  }
  const tensors = Object.fromEntries(
    model.layout.leaves.map(({ name, shape, offset }): [string, StoredTensor] => [
      name,
      { dtype: 'float32', shape, data: parameters.slice(offset, offset + size(shape)) },
    ]),
  );
  return format === 'npz' ? encodeNpz(tensors) : encodeSafetensors(tensors, metadata);
}

function summary(
  settings: Settings,
  facts: { readonly bytes: number; readonly parameters: number; readonly file: string },
): string {
  const { bytes, parameters, file } = facts;
  const weights = `${count(parameters)} parameters, ${count(bytes / 1000)} kB`;
  return [
    describeTask(settings),
    '',
    aligned([
      ['saved in', file],
      ['holds', weights],
    ]),
  ].join('\n');
}
