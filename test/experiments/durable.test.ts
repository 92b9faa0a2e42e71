/** Training with a checkpoint file: stopped and gone on with, and files that are of no use. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { lockOf } from '../../src/data/lock.ts';
import { decodeSafetensors, encodeSafetensors } from '../../src/data/safetensors.ts';
import { DataError, OptionError, TrainingError } from '../../src/errors.ts';
import { DurableTraining, readCheckpoint, trainDurably } from '../../src/experiments/durable.ts';
import { decodeProgress, encodeProgress } from '../../src/experiments/progress.ts';
import type { CurvePoint } from '../../src/experiments/run.ts';
import { resolveSettings, type Settings } from '../../src/experiments/settings.ts';
import { type Setup, setUp } from '../../src/experiments/setup.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';

const runtime = await nodeRuntime();
const folder = mkdtempSync(join(tmpdir(), 'anole-durable-'));
after(async () => {
  rmSync(folder, { recursive: true });
  await runtime.dispose();
});

const sine = (given: Partial<Settings> = {}): Setup =>
  setUp(resolveSettings({ task: 'sine', given: { metaIterations: 40, evalEvery: 20, ...given } }));

describe('training with a checkpoint file', () => {
  it('stopped at any meta-iteration goes on to the same state and curve', async () => {
    const setup = sine({ innerOptimizer: 'adam', outerOptimizer: 'adam', metaStep: 1e-3, metaBatch: 2 });
    const alone = await trainDurably(setup, { file: join(folder, 'alone'), runtime });
    assert.deepEqual(
      alone.curve.map(({ iteration }) => iteration),
      [0, 20, 40],
    );
    for (const stopAt of [1, 19, 20, 21, 40]) {
      const file = join(folder, `new/folder/stopped-${stopAt}`);
      const controller = new AbortController();
      const stopped = trainDurably(setup, {
        file,
        runtime,
        signal: controller.signal,
        onProgress: ({ iteration }) => {
          if (iteration === stopAt) controller.abort(new Error('enough')); // before its point of the curve
        },
      });
      await assert.rejects(stopped, /enough/);
      assert.equal((await readCheckpoint(file))?.iteration, stopAt);
      const seen: number[] = [];
      const { state, curve, found, innerSteps } = await trainDurably(setup, {
        file,
        runtime,
        onCurvePoint: ({ iteration }) => void seen.push(iteration),
      });
      assert.equal(found?.iteration, stopAt);
      assert.deepEqual(state, alone.state);
      assert.deepEqual(curve, alone.curve);
      assert.deepEqual(
        seen,
        [20, 40].filter((iteration) => iteration >= stopAt),
      );
      assert.equal(innerSteps, alone.innerSteps);
    }
  });

  it('that is done trains nothing, writes nothing and returns the same', async () => {
    const file = join(folder, 'done');
    const first = await trainDurably(sine(), { file, runtime });
    const { mtimeMs } = statSync(file);
    const compiled = runtime.compilations;
    const fail = () => assert.fail('there is nothing to do');
    const again = await trainDurably(sine(), { file, runtime, onProgress: fail, onCurvePoint: fail });
    assert.deepEqual(again.state, first.state);
    assert.deepEqual(again.curve, first.curve);
    assert.equal(again.trainSeconds, first.trainSeconds);
    assert.equal(statSync(file).mtimeMs, mtimeMs);
    assert.equal(runtime.compilations, compiled);
  });

  it('is closed to another process while one trains with it', async () => {
    const file = join(folder, 'taken');
    const first = trainDurably(sine(), { file, runtime });
    await assert.rejects(trainDurably(sine(), { file, runtime }), DataError);
    await first;
    assert.ok(!existsSync(lockOf(file)));
    await trainDurably(sine(), { file, runtime });
  });

  it('keeps notes, and clears away what a killed process left', async () => {
    const file = join(folder, 'notes');
    writeFileSync(`${file}.${randomUUID()}.tmp`, 'half');
    writeFileSync(`${file}.other.tmp`, 'not ours');
    let asked = 0;
    const training = await DurableTraining.open(sine(), { file, notes: () => ({ asked: ++asked }) });
    assert.equal(training.found, undefined);
    await training.save();
    const again = await DurableTraining.open(sine(), { file });
    assert.deepEqual(again.found, { iteration: 0, sealed: false, changes: [], notes: { asked: 1 } });
    assert.deepEqual(
      readdirSync(folder)
        .filter((name) => name.startsWith('notes'))
        .sort(),
      ['notes', 'notes.other.tmp'],
    );
  });

  it('that is sealed has the same bytes whenever and however fast it ran', async () => {
    const seal = async (name: string) => {
      const training = await DurableTraining.open(sine(), {
        file: join(folder, name),
        notes: () => ({ at: Date.now() }),
      });
      await training.run({ runtime });
      await training.seal();
      await training.save(); // too late
      return readFileSync(join(folder, name));
    };
    assert.ok((await seal('sealed-1')).equals(await seal('sealed-2')));
    const { found } = await DurableTraining.open(sine(), { file: join(folder, 'sealed-1') });
    assert.deepEqual(found, { iteration: 40, sealed: true, changes: [] });
  });

  it('saves the last good state when the loss is no longer finite', async () => {
    const file = join(folder, 'diverged');
    const diverging = trainDurably(sine({ innerLr: 1e12 }), { file, runtime });
    await assert.rejects(diverging, TrainingError);
    assert.equal((await readCheckpoint(file))?.iteration, 0);
  });
});

describe('a checkpoint file', () => {
  const file = join(folder, 'given');

  it('of other settings is refused with each difference, unless that is allowed', async () => {
    await trainDurably(sine(), { file, runtime });
    const open = (given: Partial<Settings>, allowChanges = false) =>
      DurableTraining.open(sine(given), { file, allowChanges });
    await assert.rejects(open({ innerLr: 0.1, metaStep: 0.2 }), (error) => {
      assert.ok(error instanceof OptionError);
      const differences = 'innerLr 0.02, not 0.1; metaStep 0.1, not 0.2';
      assert.equal(
        error.message,
        `resume: ${file} was trained with ${differences}: leave that out, or allow it with allowChanges`,
      );
      return true;
    });
    const changed = await open({ innerLr: 0.1, metaIterations: 60 }, true);
    assert.deepEqual(changed.found?.changes, ['innerLr 0.02 → 0.1', 'metaIterations 40 → 60']);
    await assert.rejects(
      open({ seed: 1 }, true),
      /^OptionError: seed: .* with 0, not 1, and this can not change/,
    );
    await assert.rejects(
      open({ metaIterations: 39 }, true),
      /^OptionError: metaIterations: .* 40 done already/,
    );
    await assert.rejects(
      open({ innerOptimizer: 'adam' }, true),
      /^OptionError: innerOptimizer: .* can not change/,
    );
  });

  it('that is damaged or none is refused', async () => {
    const refused = async (bytes: Uint8Array | string, message: RegExp) => {
      const damaged = join(folder, 'damaged');
      writeFileSync(damaged, bytes);
      await assert.rejects(
        DurableTraining.open(sine(), { file: damaged }),
        (error) =>
          error instanceof DataError && error.message.startsWith(damaged) && message.test(error.message),
      );
      assert.deepEqual(readFileSync(damaged), Buffer.from(bytes));
    };
    await refused('', /not a sound safetensors file/);
    await refused(readFileSync(file).subarray(0, -1), /not a sound safetensors file/);
    const { tensors, metadata } = decodeSafetensors(readFileSync(file), file);
    const progress = JSON.parse(metadata.progress!);
    for (const [wrong, message] of [
      ['[]', /progress is not a JSON object/],
      [{ ...progress, curve: 1 }, /learning curve or seconds are damaged/],
      [{ ...progress, curve: [{ ...progress.curve[0], values: ['1'] }] }, /learning curve or seconds/],
      [{ ...progress, trainSeconds: -1 }, /learning curve or seconds/],
      [{ ...progress, notes: 'none' }, /notes are damaged/],
    ] as const) {
      const text = typeof wrong === 'string' ? wrong : JSON.stringify(wrong);
      await refused(encodeSafetensors(tensors, { ...metadata, progress: text }), message);
    }
  });

  it('that can not be written or read ends in its name and the reason', async () => {
    writeFileSync(join(folder, 'a-file'), '');
    const below = join(folder, 'a-file', 'checkpoint');
    await assert.rejects(
      trainDurably(sine(), { file: below, runtime }),
      (error) =>
        error instanceof DataError && error.message.includes(`${join(folder, 'a-file')} (it is a file): `),
    );
    await assert.rejects(
      trainDurably(sine(), { file: folder, runtime }),
      (error) => error instanceof DataError && /could not read .* \(it is a folder\)/.test(error.message),
    );
    assert.ok(!existsSync(below));
    await assert.rejects(trainDurably(sine(), { file, runtime, checkpointEvery: -1 }), OptionError);
  });
});

it('numbers of a curve that are not finite survive JSON', () => {
  const point: CurvePoint = {
    iteration: 3,
    metric: 'meanSquaredError',
    mean: Number.NaN,
    ci95: Number.POSITIVE_INFINITY,
    values: Float64Array.of(0.1, Number.NaN, Number.NEGATIVE_INFINITY),
  };
  const text = JSON.stringify(encodeProgress({ curve: [point], sealed: true }));
  assert.deepEqual(decodeProgress(JSON.parse(text), 'file'), { curve: [point], sealed: true });
});
