/** The command line as people and scripts meet it: processes, their output, exit codes and files. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { resolveSettings } from '../../src/experiments/settings.ts';
import { setUp } from '../../src/experiments/setup.ts';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/meta/checkpoint.ts';
import { initialState } from '../../src/meta/train.ts';
import { omniglotNet } from '../../src/nn/networks.ts';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anole-cli-'));
after(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Runs the command line; `onLine` may send the process a signal. */
function anole(
  args: string,
  onLine: (line: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ANOLE_DATA: join(folder, 'data'), ANOLE_CACHE: join(folder, 'cache') };
    const child = spawn(process.execPath, [main, ...args.split(' ').filter(Boolean)], { cwd: folder, env });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      for (const line of text.split('\n')) onLine(line, (signal) => child.kill(signal));
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** Runs with `--json` and returns what is printed, line by line. */
async function json(args: string): Promise<Json[]> {
  const { code, stdout, stderr } = await anole(`${args} --json`);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Json);
}

async function result(args: string): Promise<Json> {
  const last = (await json(args)).at(-1)!;
  assert.equal(last.event, 'result');
  return last;
}

/** A small training that takes a second or two. */
const tinySine = '--meta-iters 60 --eval-tasks 20 --eval-every 60';
const tinyGlyphs =
  '--ways 2 --shots 2 --train-shots 4 --inner-batch 3 --inner-iters 3 --meta-batch 2 --meta-iters 4 ' +
  '--eval-iters 2 --eval-batch 3 --eval-tasks 12 --eval-every 4';

describe('help', () => {
  it('shows every flag of train with its default', async () => {
    const { code, stdout } = await anole('train --help');
    assert.equal(code, 0);
    const flags = [...stdout.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag]) => flag);
    assert.deepEqual(flags.filter((flag) => flag !== '--help').sort(), [
      ...[
        '--algorithm',
        '--allow-changes',
        '--checkpoint-every',
        '--config',
        '--data',
        '--device',
        '--eval-batch',
        '--eval-every',
        '--eval-iters',
        '--eval-tasks',
      ],
      ...[
        '--gray',
        '--image-size',
        '--inner-batch',
        '--inner-iters',
        '--inner-lr',
        '--inner-optimizer',
        '--inner-optimizer-state',
      ],
      ...[
        '--json',
        '--loss',
        '--meta-batch',
        '--meta-iters',
        '--meta-step',
        '--meta-step-final',
        '--min-images',
      ],
      ...[
        '--no-config',
        '--out',
        '--outer-optimizer',
        '--preset',
        '--quiet',
        '--resume',
        '--sampling',
        '--seed',
      ],
      ...[
        '--shots',
        '--tail-shots',
        '--tensorboard',
        '--train-shots',
        '--transductive',
        '--ways',
        '--workers',
      ],
    ]);
    const text = stdout.replace(/\s+/g, ' ');
    assert.match(text, /--inner-lr <x> [^-]*\(default: 0\.001; sine 0\.02\)/);
    assert.match(text, /--meta-iters <n> [^-]*\(default: 100,000; glyphs 1,000; images 1,000; sine 30,000\)/);
    const defaults = text.split('(default: ').length - 1;
    assert.equal(
      defaults,
      flags.filter((flag) => !['--help', '--no-config', '--preset'].includes(flag!)).length,
    );
    for (const line of stdout.split('\n')) assert.ok(line.length <= 100, line);
  });

  it('is there for every verb, and in place of one', async () => {
    for (const verb of ['', 'eval', 'export', 'data', 'data info', 'data prepare', 'data fetch', 'demo']) {
      const { code, stdout } = await anole(`${verb} --help`);
      assert.equal(code, 0);
      assert.match(stdout, new RegExp(`^Usage: anole ${verb}`));
    }
    const { code, stderr } = await anole('');
    assert.equal(code, 2);
    assert.match(stderr, /^Usage: anole/);
  });

  it('prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
    assert.equal((await anole('--version')).stdout, `${version}\n`);
  });
});

describe('train sine', () => {
  it('learns to adapt, and joint training does not', async () => {
    const flags = '--meta-iters 3000 --eval-tasks 100 --eval-every 1500';
    const lines = await json(`train sine ${flags} --out learns`);
    const [start] = lines;
    const end = lines.at(-1)!;
    assert.equal(start!.event, 'start');
    assert.equal(start!.parameters, 64 + 64 + 64 * 64 + 64 + 64 + 1);
    assert.equal(lines.filter(({ event }) => event === 'progress').length, 100);
    const curve = lines.filter(({ event }) => event === 'evaluation');
    assert.deepEqual(
      curve.map(({ iteration }) => iteration),
      [0, 1500, 3000],
    );
    assert.ok(Number(curve[2]!.mse) < 0.8 * Number(curve[0]!.mse));
    assert.equal(end.metaIterations, 3000);
    assert.equal(end.innerSteps, 15_000);
    assert.ok(Number(end.trainSeconds) > 0 && Number(end.trainSeconds) < Number(end.totalSeconds));
    const speed = 15_000 / Number(end.trainSeconds);
    assert.ok(Math.abs(Number(end.innerStepsPerSecond) / speed - 1) < 0.01);
    assert.equal(end.workers, 1);
    assert.ok(Number(end.mseAfter) < 0.9 * Number(end.mseBefore), JSON.stringify(end));
    const joint = await result(`train sine ${flags} --algorithm joint --out joint`);
    assert.ok(Number(joint.testMse) > 1.3 * Number(end.testMse), `${joint.testMse} ${end.testMse}`);

    const { out, files } = end as { readonly out: string; readonly files: readonly string[] };
    assert.equal(out, 'learns');
    assert.deepEqual(files, ['adaptation.svg', 'learning-curve.svg', 'metrics.jsonl', 'weights.safetensors']);
    assert.deepEqual(readdirSync(join(folder, out)).sort(), files);
    const metrics = readFileSync(join(folder, out, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n');
    assert.deepEqual(
      metrics.map((line) => JSON.parse(line)),
      lines,
    );
    assert.match(readFileSync(join(folder, out, 'adaptation.svg'), 'utf8'), /Figure 1's task/);
  });

  for (const algorithm of ['fomaml', 'maml']) {
    it(`runs ${algorithm}`, async () => {
      const end = await result(`train sine --algorithm ${algorithm} ${tinySine} --out sine-${algorithm}`);
      assert.equal(end.algorithm, algorithm);
      assert.ok(Number.isFinite(end.mseAfter));
    });
  }

  it('prints a summary for people, and nothing on stderr where it is no terminal', async () => {
    const { code, stdout, stderr } = await anole(`train sine ${tinySine} --seed 3`);
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.match(stdout, /^Sine waves, 10 points; Reptile, seed 3\n/);
    assert.match(stdout, /Figure 1's task +mean squared error [\d.]+ before, [\d.]+ after 32 gradient steps/);
    const [, out] = stdout.match(/saved in +(runs\/sine-\d{8}-\d{6}(-\d)?)\//)!;
    assert.ok(readdirSync(join(folder, out!)).includes('weights.safetensors'));
  });
});

describe('train with a configuration file', () => {
  it('takes task and settings from it, flags before it, and saves what came of that', async () => {
    writeFileSync(
      join(folder, 'sine.json'),
      JSON.stringify({
        task: 'sine',
        metaIterations: 20,
        evalTasks: 5,
        evalEvery: 0,
        shots: 7,
        innerLr: 0.01,
      }),
    );
    const [start] = await json('train --config sine.json --shots 8 --out configured');
    assert.equal(start!.configuration, 'sine.json');
    const saved = decodeCheckpoint(
      readFileSync(join(folder, 'configured', 'weights.safetensors')),
      'weights',
    );
    assert.deepEqual(saved.settings, start!.settings);
    const { task, metaIterations, shots, innerLr, trainShots } = saved.settings;
    assert.deepEqual([task, metaIterations, shots, innerLr, trainShots], ['sine', 20, 8, 0.01, 50]);
    const { code, stderr } = await anole('train glyphs --config sine.json --shots 30');
    assert.deepEqual([code, stderr.split(':')[1]], [2, ' --shots']);
  });
});

describe('train glyphs', () => {
  const algorithms = [
    ['reptile', '--sampling replacement --loss sum'],
    ['fomaml', '--tail-shots 1 --inner-optimizer-state reset'],
    ['maml', '--inner-optimizer sgd --inner-lr 0.05'],
    ['joint', '--outer-optimizer adam --meta-step 0.001 --transductive'],
  ] as const;
  for (const [algorithm, flags] of algorithms) {
    it(`runs ${algorithm}, and eval repeats its result to the last digit`, async () => {
      const out = `glyphs-${algorithm}`;
      const end = await result(`train glyphs --algorithm ${algorithm} ${flags} ${tinyGlyphs} --out ${out}`);
      assert.equal(end.algorithm, algorithm);
      assert.equal(end.innerSteps, 4 * 2 * 3);
      assert.equal(end.transductive, algorithm === 'joint');
      const accuracy = Number(end.testAccuracy);
      assert.ok(accuracy > 0 && accuracy <= 1 && Math.round(accuracy * 24) === 24 * accuracy);
      const again = await result(`eval ${out} --workers 2`);
      assert.equal(again.testAccuracy, end.testAccuracy);
      assert.equal(again.testAccuracyCi95, end.testAccuracyCi95);
      assert.match(readFileSync(join(folder, out, 'task.svg'), 'utf8'), /2-way 2-shot/);
    });
  }

  it('gives the same weights for any number of workers, others for another seed', async () => {
    const weights = async (out: string, flags: string) => {
      await result(`train glyphs ${tinyGlyphs} --meta-batch 5 --eval-every 0 ${flags} --out ${out}`);
      return readFileSync(join(folder, out, 'weights.safetensors'));
    };
    const one = await weights('workers-1', '--workers 1');
    assert.ok(one.equals(await weights('workers-2', '--workers 2')));
    assert.ok(one.equals(await weights('workers-3', '--workers 3')));
    assert.ok(!one.equals(await weights('seed-1', '--workers 2 --seed 1')));
  });
});

describe('eval', () => {
  it('takes other shots, steps and tasks', async () => {
    const run = 'for-eval';
    await result(`train glyphs ${tinyGlyphs} --meta-iters 20 --out ${run}`);
    const five = await result(`eval ${run}/weights.safetensors --shots 5 --eval-tasks 30 --eval-iters 20`);
    assert.equal(five.shots, 5);
    assert.equal(five.evalTasks, 30);
    assert.ok(Number(five.testAccuracy) > Number(five.testAccuracyBefore) + 0.1, JSON.stringify(five));
    const one = await result(`eval ${run} --shots 1`);
    assert.equal(one.evalBatch, 2, 'the batch gives way to the shots');
    const other = await result(`eval ${run} --shots 5 --eval-tasks 30 --eval-iters 20 --seed 5`);
    assert.notEqual(other.testAccuracy, five.testAccuracy);
    const { code, stdout } = await anole(`eval ${run} --transductive`);
    assert.equal(code, 0);
    assert.match(stdout, /^Glyphs, 2-way 2-shot, transductive; Reptile, 20 meta-iterations/);
    assert.match(stdout, /after 2 steps {4}[\d.]+% ± [\d.]+% {2}\(95% interval over 12 tasks/);
  });

  it('judges shipped weights by their name, and on more classes with a fresh last layer', async () => {
    const shipped = await result('eval glyphs-5way --shots 1 --eval-tasks 10');
    assert.ok(Number(shipped.testAccuracy) > 0.6, JSON.stringify(shipped));
    const wider = await result('eval glyphs-5way --ways 8 --head fresh --eval-batch 8 --eval-tasks 10');
    assert.deepEqual([wider.ways, wider.head, wider.testAccuracyBefore], [8, 'fresh', 1 / 8]);
    assert.ok(Number(wider.testAccuracy) > 0.6, JSON.stringify(wider));
  });

  it('judges a sine on Figure 1 and on fresh waves', async () => {
    const trained = await result(`train sine ${tinySine} --out sine-eval`);
    const again = await result('eval sine-eval');
    for (const key of ['mseBefore', 'mseAfter', 'testMse', 'testMseCi95'])
      assert.equal(again[key], trained[key]);
    assert.ok(Number(again.testMseBefore) > 0);
  });
});

describe('data', () => {
  it('says where Omniglot is, or what to do', async () => {
    const [missing] = await json('data info omniglot');
    assert.deepEqual(missing!.sources, []);
    assert.equal(missing!.classes, 1623);
    const { stdout } = await anole('data info');
    assert.match(stdout, /run `anole data fetch omniglot`/);
  });
});

describe('bad input ends with one line, its exit code, and nothing left behind', () => {
  mkdirSync(join(folder, 'damaged'));
  for (const name of ['images_background.zip', 'images_evaluation.zip']) {
    writeFileSync(join(folder, 'damaged', name), 'PK\u0003\u0004 not a zip any more');
  }
  writeFileSync(join(folder, 'file'), '');
  writeFileSync(join(folder, 'not-weights'), 'weights');

  const cases: readonly (readonly [args: string, code: number, message: RegExp])[] = [
    ['trian sine', 2, /unknown command 'trian'; did you mean train\?/],
    [
      'train',
      2,
      /task: expected one of sine, glyphs, omniglot, mini-imagenet, images, got none: name one, or a run with --resume/,
    ],
    ['train sine --checkpoint-every -1', 2, /--checkpoint-every: expected seconds from 0 on, got "-1"/],
    ['train sine --allow-changes', 2, /--allow-changes: there is no run to change: add --resume/],
    ['train --resume nothing', 1, /nothing: no weights there: give the folder of a run/],
    ['train --resume damaged', 1, /damaged\/weights\.safetensors: no weights there/],
    ['train --resume not-weights', 1, /not-weights: not a sound safetensors file/],
    [
      'train glyph',
      2,
      /task: expected one of sine, glyphs, omniglot, mini-imagenet, images, got "glyph"; did you mean "glyphs"\?/,
    ],
    ['train sine --inner-iter 3', 2, /unknown option '--inner-iter'; did you mean --inner-iters\?/],
    ['train sine --preset snie', 2, /--preset: .* got "snie"; did you mean "sine"\?/],
    ['train sine --preset o55', 2, /--preset: "o55" is for omniglot, not for sine/],
    ['train glyphs --ways x', 2, /--ways: expected a whole number from 2 on, got "x"/],
    ['train glyphs --ways 1', 2, /--ways: expected a whole number from 2 on, got "1"/],
    ['train glyphs --ways 1001', 2, /--ways: 1001 is more than the 1000 classes there are to train on/],
    ['train glyphs --ways 201', 2, /--ways: 201 is more than the 200 classes there are to test on/],
    ['train glyphs --shots 20', 2, /--shots: class .* has 20 images, not 20 support \+ 1 query/],
    ['train glyphs --train-shots 21', 2, /--train-shots: class .* has 20 images, not 21/],
    ['train sine --train-shots 51', 2, /--train-shots: a sine has 50 points, got 51/],
    ['train sine --ways 5', 2, /--ways: the examples of a sine belong to no class/],
    ['train glyphs --train-shots 1 --inner-batch 6', 2, /--inner-batch: 6 is more than the 5 examples/],
    ['train glyphs --shots 1 --eval-batch 6', 2, /--eval-batch: 6 is more than the 5 support examples/],
    ['train glyphs --tail-shots 5', 2, /--tail-shots: reptile has no tail/],
    ['train glyphs --algorithm fomaml --tail-shots 10', 2, /--tail-shots: 10 of 10 train shots leaves none/],
    ['train sine --meta-iters 0', 2, /--meta-iters: expected a whole number from 1 on, got "0"/],
    ['train sine --inner-lr -1', 2, /--inner-lr: expected a number above 0, got "-1"/],
    ['train sine --inner-lr 0x1', 2, /--inner-lr: expected a number above 0, got "0x1"/],
    ['train sine --seed 1e99', 2, /--seed: expected a whole number from 0 on, got "1e99"/],
    ['train sine --workers 0', 2, /--workers: expected a whole number from 1 to 256, got "0"/],
    ['train sine --device tpu', 2, /--device: expected one of cpu, native, webgpu, got "tpu"/],
    ['train sine --device webgpu --workers 2', 2, /--workers: the device "webgpu" is one for all/],
    ['train sine --out file/run', 2, /--out: can not write to file\/run \(a part of the path is a file\)/],
    ['train sine --out file', 2, /--out: can not write to file \(it is a file\)/],
    ['train sine --out damaged', 2, /--out: damaged already has files in it: give another folder/],
    ['train omniglot', 1, /Omniglot is neither in .*; run `anole data fetch omniglot`, or pass --data DIR/],
    ['train omniglot --data nowhere', 1, /Omniglot is neither in nowhere/],
    [
      'train omniglot --data damaged',
      1,
      /images_background\.zip is not a whole zip archive .*fetch it again/,
    ],
    ['eval nothing', 1, /nothing: no weights there: give the folder of a run/],
    ['eval not-weights', 1, /not-weights: not a sound safetensors file/],
    ['export nothing --format npz', 1, /nothing: no weights there: give the folder of a run/],
    ['export not-weights --format npz', 1, /not-weights: not a sound safetensors file/],
    ['export nothing', 2, /required option '--format <name>' not specified/],
    ['export nothing --format onxx', 2, /--format: expected one of .*, got "onxx"; did you mean "onnx"\?/],
    ['train sine --config none.json', 1, /could not read none\.json \(there is nothing of that name\)/],
    ['data fetch omniglto', 2, /got "omniglto"; did you mean "omniglot"\?/],
  ];
  for (const [args, code, message] of cases) {
    it(`anole ${args}`, async () => {
      const before = readdirSync(folder, { recursive: true }).sort();
      const ended = await anole(args);
      assert.match(ended.stderr, /^error: [^\n]+\n$/);
      assert.match(ended.stderr, message);
      assert.equal(ended.code, code);
      assert.equal(ended.stdout, '');
      assert.deepEqual(readdirSync(folder, { recursive: true }).sort(), before);
    });
  }

  it('weights of another layout', async () => {
    const settings = resolveSettings({ task: 'glyphs' });
    const setup = { ...setUp(settings), model: omniglotNet({ ways: 5, filters: 32 }) };
    const state = initialState(setup);
    mkdirSync(join(folder, 'narrow'));
    const bytes = encodeCheckpoint({ ...setup, settings: { ...settings }, state });
    writeFileSync(join(folder, 'narrow', 'weights.safetensors'), bytes);
    const { code, stderr } = await anole('eval narrow');
    assert.equal(code, 1);
    assert.match(
      stderr,
      /"conv1\/filter": expected float32\[3,3,1,64\], found float32\[3,3,1,32\]: give weights/,
    );
    const ways = await anole('eval glyphs-reptile --ways 3');
    assert.equal(ways.code, 2);
    assert.match(
      ways.stderr,
      /--ways: the weights have an output for each of 2 classes: train with --ways 3, or pass --head fresh/,
    );
  });
});

describe('a run that ends early leaves its last good weights', () => {
  /** The weights a run left: they load, are finite, and say how far it came. */
  const left = (out: string) => {
    const path = join(folder, out, 'weights.safetensors');
    const checkpoint = decodeCheckpoint(readFileSync(path), path);
    const settings = resolveSettings({ task: 'sine' });
    checkpoint.state(setUp(settings));
    return checkpoint;
  };

  it('when the loss is no longer finite', async () => {
    const { code, stderr, stdout } = await anole(
      'train sine --inner-lr 1e12 --meta-iters 100 --out diverged --json',
    );
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: meta-iteration 1: .* not finite .*; the weights after 0 of 100 meta-iterations are in diverged\/weights\.safetensors\n$/,
    );
    assert.equal(left('diverged').iteration, 0);
    assert.equal(JSON.parse(stdout.trim().split('\n').at(-1)!).event, 'stopped');
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`on ${signal}`, async () => {
      const out = signal.toLowerCase();
      let sent = false;
      const { code, stderr } = await anole(
        `train sine --meta-iters 100000 --eval-every 0 --out ${out} --json`,
        (line, kill) => {
          if (sent || !line.includes('"progress"')) return;
          sent = true;
          kill(signal);
        },
      );
      assert.equal(code, signal === 'SIGINT' ? 130 : 143);
      const [, iteration] = stderr.match(
        /^interrupted; the weights after ([\d,]+) of 100,000 meta-iterations are in (\w+)\/weights\.safetensors; go on with: anole train --resume \2\n$/,
      )!;
      assert.equal(left(out).iteration, Number(iteration!.replace(',', '')));
      assert.ok(left(out).iteration >= 1000 && left(out).iteration < 100_000);
    });
  }

  it('with worker threads at work', async () => {
    const { code, stderr } = await anole(
      'train glyphs --workers 2 --eval-iters 5 --out busy --json',
      (line, kill) => {
        if (line.includes('"evaluation"')) setTimeout(() => kill('SIGINT'), 300);
      },
    );
    assert.equal(code, 130, stderr);
    assert.match(stderr, /^interrupted; [^\n]*\n$/);
    const again = await result('eval busy --eval-tasks 2 --eval-iters 1');
    assert.ok(Number.isFinite(again.testAccuracy));
  });
});
