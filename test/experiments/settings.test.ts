/** Settings: the paper's numbers, what gives way to what, and what is refused. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OptionError } from '../../src/errors.ts';
import { presets } from '../../src/experiments/presets.ts';
import { checkSettings, resolveSettings, type Settings } from '../../src/experiments/settings.ts';
import { setUp } from '../../src/experiments/setup.ts';

function rejects(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error) => error instanceof OptionError && message.test(error.message));
}

describe('presets', () => {
  // Appendix A of the paper, and what the authors' names mean.
  const table = [
    ['o15', 5, 1, false],
    ['o15t', 5, 1, true],
    ['o55', 5, 5, false],
    ['o55t', 5, 5, true],
    ['o120', 20, 1, false],
    ['o120t', 20, 1, true],
    ['o520', 20, 5, false],
    ['o520t', 20, 5, true],
  ] as const;
  for (const [preset, ways, shots, transductive] of table) {
    it(`${preset} is ${shots}-shot ${ways}-way Omniglot${transductive ? ', transductive' : ''}`, () => {
      const twenty = ways === 20;
      assert.deepEqual(resolveSettings({ task: 'omniglot', preset }), {
        task: 'omniglot',
        algorithm: 'reptile',
        seed: 0,
        ways,
        shots,
        trainShots: 10,
        tailShots: 0,
        innerSteps: twenty ? 10 : 5,
        innerBatch: twenty ? 20 : 10,
        sampling: 'cycle',
        innerOptimizer: 'adam',
        innerOptimizerState: 'carry',
        innerLr: twenty ? 5e-4 : 1e-3,
        loss: 'mean',
        metaStep: 1,
        metaStepFinal: 0,
        metaBatch: 5,
        metaIterations: twenty ? 200_000 : 100_000,
        outerOptimizer: 'sgd',
        evalSteps: 50,
        evalBatch: !twenty ? 5 : 10,
        evalTasks: 10_000,
        evalEvery: 1000,
        transductive,
      } satisfies Settings);
    });
  }

  for (const [preset, shots, transductive] of [
    ['m15', 1, false],
    ['m15t', 1, true],
    ['m55', 5, false],
    ['m55t', 5, true],
  ] as const) {
    it(`${preset} is ${shots}-shot 5-way Mini-ImageNet${transductive ? ', transductive' : ''}`, () => {
      assert.deepEqual(resolveSettings({ task: 'mini-imagenet', preset }), {
        task: 'mini-imagenet',
        algorithm: 'reptile',
        seed: 0,
        ways: 5,
        shots,
        trainShots: 15,
        tailShots: 0,
        innerSteps: 8,
        innerBatch: 10,
        sampling: 'cycle',
        innerOptimizer: 'adam',
        innerOptimizerState: 'carry',
        innerLr: 1e-3,
        loss: 'mean',
        metaStep: 1,
        metaStepFinal: 0,
        metaBatch: 5,
        metaIterations: 100_000,
        outerOptimizer: 'sgd',
        evalSteps: 50,
        evalBatch: shots === 1 ? 5 : 15,
        evalTasks: 10_000,
        evalEvery: 1000,
        transductive,
      } satisfies Settings);
    });
  }

  it('sine is the default of the task, o55 that of Omniglot, m55 that of Mini-ImageNet', () => {
    assert.deepEqual(
      resolveSettings({ task: 'mini-imagenet', preset: 'm55' }),
      resolveSettings({ task: 'mini-imagenet' }),
    );
    assert.deepEqual(resolveSettings({ task: 'mini-imagenet', given: { shots: 1 } }).evalBatch, 5);
    assert.deepEqual(resolveSettings({ task: 'sine', preset: 'sine' }), resolveSettings({ task: 'sine' }));
    assert.deepEqual(
      resolveSettings({ task: 'omniglot', preset: 'o55' }),
      resolveSettings({ task: 'omniglot' }),
    );
  });

  it('are all sound, for glyphs too', () => {
    for (const [preset, { task }] of Object.entries(presets)) {
      const settings = resolveSettings({ task, preset });
      assert.deepEqual(checkSettings(settings), settings);
      if (task === 'omniglot') setUp(resolveSettings({ task: 'glyphs', preset }));
    }
  });
});

describe('resolveSettings', () => {
  it('lets what is given go before the algorithm, the preset and the task', () => {
    const maml = resolveSettings({ task: 'omniglot', preset: 'o520', given: { algorithm: 'maml' } });
    assert.equal(maml.ways, 20, 'the preset');
    assert.equal(maml.outerOptimizer, 'adam', 'the algorithm');
    const given = { algorithm: 'maml', outerOptimizer: 'sgd', ways: 7 } as const;
    const own = resolveSettings({ task: 'omniglot', preset: 'o520', given });
    assert.equal(own.outerOptimizer, 'sgd');
    assert.equal(own.ways, 7);
  });

  it('makes batches small enough that nobody asked for, and keeps those asked for', () => {
    const small = resolveSettings({ task: 'glyphs', given: { ways: 2, shots: 1, trainShots: 3 } });
    assert.equal(small.evalBatch, 2);
    assert.equal(small.innerBatch, 6);
    const tail = { algorithm: 'fomaml', ways: 2, trainShots: 3, tailShots: 1 } as const;
    assert.equal(resolveSettings({ task: 'glyphs', given: tail }).innerBatch, 4);
    rejects(
      () => resolveSettings({ task: 'glyphs', given: { ways: 2, shots: 1, evalBatch: 3 } }),
      /^evalBatch: 3 is more than the 2 support examples of an evaluation task \(2 ways × 1 shots\)/,
    );
    const asked = resolveSettings({ task: 'glyphs', given: { ways: 2, trainShots: 3, innerBatch: 7 } });
    rejects(() => setUp(asked), /^innerBatch: 7 is more than the 6 examples a task is trained on/);
  });

  it('gives the images of one’s own a size, and nothing else one', () => {
    const images = (given: Partial<Settings> = {}) => {
      const { imageSize, gray, minImages } = resolveSettings({ task: 'images', given });
      return [imageSize, gray, minImages];
    };
    assert.deepEqual(images(), [84, false, 0]);
    assert.deepEqual(images({ gray: true }), [28, true, 0]);
    assert.deepEqual(images({ gray: true, imageSize: 64, minImages: 9 }), [64, true, 9]);
    rejects(
      () => resolveSettings({ task: 'omniglot', given: { imageSize: 28 } }),
      /^imageSize: only the task "images" has it, not "omniglot": leave it out/,
    );
    rejects(
      () => checkSettings({ ...resolveSettings({ task: 'images' }), gray: undefined }),
      /^gray: expected/,
    );
  });

  it('spreads the learning curve over the run', () => {
    const every = (metaIterations: number, evalEvery?: number) =>
      resolveSettings({ task: 'glyphs', given: { metaIterations, evalEvery } }).evalEvery;
    assert.deepEqual(
      [every(3), every(50), every(1000), every(100_000), every(50, 7), every(50, 0)],
      [1, 10, 200, 1000, 7, 0],
    );
  });
});

describe('checkSettings', () => {
  const good = resolveSettings({ task: 'omniglot' });
  const withValue = (name: string, value: unknown) => () =>
    checkSettings({ ...good, [name]: value } as Record<keyof Settings, unknown>);

  it('refuses every setting that is absent or of a wrong kind', () => {
    for (const name of Object.keys(good)) {
      for (const value of [undefined, null, 'x', -1, Number.NaN, {}]) {
        rejects(withValue(name, value), new RegExp(`^${name}: expected `));
      }
    }
  });

  it('says what was expected, and what may have been meant', () => {
    rejects(withValue('ways', 1), /^ways: expected a whole number from 2 on, got 1$/);
    rejects(withValue('innerSteps', 1001), /from 1 to 1,000, got 1001$/);
    rejects(withValue('algorithm', 'reptil'), /got "reptil"; did you mean "reptile"\?$/);
    rejects(withValue('inerLr', 1), /^"inerLr" is not a setting; did you mean "innerLr"\?$/);
  });
});
