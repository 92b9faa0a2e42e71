/** The runner: whatever stops it, the same command ends with the same results. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { glyphsSplit } from '../../../src/data/glyphs.ts';
import { DataError, OptionError } from '../../../src/errors.ts';
import { table2 } from '../../../src/experiments/paper.ts';
import type { Json, Plan, Unit } from '../../../src/experiments/reproduce/experiment.ts';
import { experiments } from '../../../src/experiments/reproduce/index.ts';
import { firstChange, Runner, stateFile } from '../../../src/experiments/reproduce/runner.ts';
import { tableExperiment } from '../../../src/experiments/reproduce/tables.ts';
import { nodeRuntime } from '../../../src/runtime/node.ts';

const root = mkdtempSync(join(tmpdir(), 'anole-reproduce-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;
const freshFolder = () => join(root, `${folders++}`);

interface Options {
  readonly folder: string;
  readonly signal?: AbortSignal;
  readonly only?: readonly string[];
  readonly name?: string;
  readonly onProgress?: (note: string) => void;
}

function open(plan: Plan, { folder, signal, only, name = 'test', onProgress }: Options): Promise<Runner> {
  return Runner.open(plan, {
    name,
    folder,
    workers: 2,
    signal: signal ?? new AbortController().signal,
    ...(only === undefined ? {} : { only }),
    startRuntime: () => nodeRuntime(),
    images: async ({ task, seed }) => (task === 'omniglot' ? glyphsSplit(seed + 7) : undefined),
    onProgress: ({ note }) => onProgress?.(note),
  });
}

/** Counts to ten, keeping each number; `interrupt` is called at each. */
function counting(id: string, interrupt: (at: number) => void, settings: Json = { to: 10 }): Unit {
  return {
    id,
    settings,
    work: 10,
    async run({ kept, keep, progress, signal }) {
      const numbers = [...((kept ?? []) as number[])];
      while (numbers.length < 10) {
        signal.throwIfAborted();
        interrupt(numbers.length);
        numbers.push(Math.sin(numbers.length));
        await keep(numbers);
        progress(numbers.length / 10);
      }
      return numbers;
    },
  };
}

function planOf(units: readonly Unit[], parallelUnits: boolean): Plan {
  return {
    title: 'a test',
    units,
    parallelUnits,
    report: (done) => ({
      groups: [],
      measured: units.map((unit) => done(unit) ?? null),
      pictures: {},
      remarks: [],
    }),
  };
}

describe('Runner', () => {
  for (const parallel of [false, true]) {
    it(`goes on where it was, ${parallel ? 'units side by side' : 'one unit after another'}`, async () => {
      const whole = planOf(
        ['a', 'b', 'c'].map((id) => counting(id, () => {})),
        parallel,
      );
      const once = await open(whole, { folder: freshFolder() });
      await once.run();
      const expected = once.report().measured;

      const folder = freshFolder();
      let steps = 0;
      let stops = 0;
      for (let done = false; !done; stops++) {
        const interrupted = planOf(
          ['a', 'b', 'c'].map((id) =>
            counting(id, () => {
              if (++steps % 7 === 0) throw new Error('stopped'); // as if the process had ended here
            }),
          ),
          parallel,
        );
        const runner = await open(interrupted, { folder });
        done = await runner.run().then(
          () => true,
          (error: Error) => {
            assert.equal(error.message, 'stopped');
            return false;
          },
        );
        if (done) assert.deepEqual(runner.report().measured, expected);
      }
      assert.ok(stops > 3, `${stops} stops`);
      const again = await open(whole, { folder });
      await again.run(); // nothing is left to do
      assert.deepEqual(again.report().measured, expected);
      assert.ok(again.seconds > 0);
    });
  }

  it('tells what was begun with other settings, is of another experiment, or is damaged', async () => {
    const folder = freshFolder();
    const runner = await open(planOf([counting('a', () => {})], false), { folder });
    await runner.run();
    const changed = planOf([counting('a', () => {}, { to: 20 })], false);
    await assert.rejects(open(changed, { folder }), (error) => {
      assert.ok(error instanceof OptionError);
      assert.match(error.message, /has "a" with to 10, not 20: give another folder/);
      return true;
    });
    await assert.rejects(open(changed, { folder, name: 'other' }), /holds "test", not "other"/);
    writeFileSync(join(folder, stateFile), '{"format":"anole repro');
    await assert.rejects(open(changed, { folder }), DataError);
  });

  it('does only what is asked for, and reports what there is', async () => {
    const plan = planOf(
      ['a/one', 'a/two', 'b/one'].map((id) => counting(id, () => {})),
      false,
    );
    const folder = freshFolder();
    const part = await open(plan, { folder, only: ['a/', 'nothing'] });
    assert.throws(
      () => part.chosen,
      /only: no part of this experiment has "nothing" in its name, such as a\/one/,
    );
    const some = await open(plan, { folder, only: ['a/'] });
    await some.run();
    const [first, , third] = some.report().measured as Json[];
    assert.equal((first as Json[]).length, 10);
    assert.equal(third, null);
  });

  it('names the first setting that differs', () => {
    assert.equal(firstChange({ a: 1, b: { c: [1, 2] } }, { a: 1, b: { c: [1, 2] } }), undefined);
    assert.equal(firstChange({ a: 1, b: { c: [1, 2] } }, { a: 1, b: { c: [1, 3] } }), 'b.c [1,2], not [1,3]');
    assert.equal(firstChange({ a: 1 }, { a: 1, b: true }), 'b null, not true');
  });
});

describe('experiments', () => {
  const planned = (name: string, scale: number, evalTasks = 4) =>
    experiments.find((one) => one.name === name)!.plan({ scale, seeds: 1, evalTasks });

  /** Runs some units of an experiment at a tiny scale and returns its report. */
  async function tiny(name: string, { scale, only }: { scale: number; only?: readonly string[] }) {
    const plan = planned(name, scale);
    const runner = await open(plan, { folder: freshFolder(), name, ...(only === undefined ? {} : { only }) });
    await runner.run();
    const report = runner.report();
    JSON.stringify(report.measured);
    return report;
  }

  it('have names of their own, and units with names of their own', () => {
    for (const { name } of experiments) {
      const ids = planned(name, 1).units.map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length, name);
      assert.ok(planned(name, 1).units.every(({ work }) => work > 0));
    }
    assert.equal(new Set(experiments.map(({ name }) => name)).size, experiments.length);
  });

  it('report before anything is done', () => {
    for (const { name } of experiments) {
      assert.doesNotThrow(() => planned(name, 1).report(() => undefined), name);
    }
  });

  it('figure1 ends with the same bits when it is stopped on the way', async () => {
    const name = 'figure1';
    const plan = planned(name, 0.002);
    const whole = await open(plan, { folder: freshFolder(), name });
    await whole.run();
    const expected = whole.report();
    assert.equal(expected.groups.length, 2);
    assert.ok('figure1.svg' in expected.pictures);

    const folder = freshFolder();
    const controller = new AbortController();
    const stopped = await open(plan, {
      folder,
      name,
      signal: controller.signal,
      onProgress: (note) => {
        if (note.startsWith('maml') && note.includes('30/')) controller.abort(new Error('stopped'));
      },
    });
    await assert.rejects(stopped.run(), /stopped/);
    const resumed = await open(plan, { folder, name });
    await resumed.run();
    assert.deepEqual(resumed.report().measured, expected.measured);
  });

  it('figure2 finds the least mean squared distance by projections, and nearly by many gradient steps', async () => {
    const { groups, pictures } = await tiny('figure2', { scale: 1 });
    const distances = groups[0]!.rows.map(({ ours }) => ours!.value);
    assert.ok(distances[0]! < 1e-3, `${distances[0]}`);
    assert.ok(distances.at(-1)! < 0.1 * distances[1]!, 'many steps end nearer than one');
    const losses = groups[1]!.rows.map(({ ours }) => ours!.value);
    assert.ok(losses[1]! < 0.02, 'one step ends where the mean loss is least');
    assert.ok('figure2.svg' in pictures);
  });

  it('analysis: coefficients of the sine network are those of the theory', async () => {
    const { groups, pictures } = await tiny('analysis', {
      scale: 0.01,
      only: ['expansion/sine/k-2', 'expansion/sine/k-4'],
    });
    const [sine] = groups;
    assert.equal(sine!.rows.length, 12);
    for (const { label, ours, paper } of sine!.rows) {
      assert.ok(
        Math.abs(ours!.value / paper!.value - 1) < 0.02,
        `${label}: ${ours!.value}, not ${paper!.value}`,
      );
    }
    assert.ok('analysis-breakdown.svg' in pictures);
  });

  it('analysis: the gradients of a task come to agree under Reptile', async () => {
    const { measured } = await tiny('analysis', { scale: 0.1, only: ['agreement/sine'] });
    const { agreements } = measured as unknown as {
      agreements: { algorithm: string; points?: { product: { sum: number } }[] }[];
    };
    const [reptile, joint] = agreements.map(({ points = [] }) => points.map(({ product }) => product.sum));
    assert.equal(reptile![0], joint![0]);
    assert.ok(reptile!.at(-1)! > 2 * joint!.at(-1)!, `${reptile!.at(-1)} and ${joint!.at(-1)}`);
  });

  it('table2 trains a network once for its four cells', async () => {
    const { groups, pictures, measured } = await tiny('table2', {
      scale: 2e-5,
      only: ['5-way/reptile', '5-way/maml'],
    });
    assert.deepEqual(
      groups.map(({ title }) => title),
      ['Reptile', 'Reptile + transduction', 'MAML', 'MAML + transduction'],
    );
    const [oneShot] = groups[0]!.rows;
    assert.equal(oneShot!.paper!.value, 0.9539);
    assert.ok(oneShot!.ours!.value >= 0 && oneShot!.ours!.value <= 1);
    const picture = pictures['table2.svg']!;
    assert.ok(picture.kind === 'ranges' && picture.groups.length === 4);
    for (const { rows } of picture.groups) {
      assert.deepEqual(
        rows.map(({ label }) => label),
        ['5-way 1-shot', '5-way 5-shot'], // no network of 20 ways was trained
      );
    }
    assert.match(JSON.stringify(measured), /5-way 5-shot \+ transduction/);
  });

  it('a table with a learning curve has its points wherever it was stopped', async () => {
    const name = 'small';
    const table = tableExperiment({
      ...{ name, title: 'A small table', summary: '', paper: table2, task: 'omniglot' },
      networks: [
        {
          name: '5-way',
          given: {
            ways: 5,
            trainShots: 4,
            innerSteps: 2,
            innerBatch: 5,
            metaBatch: 2,
            metaIterations: 8,
            evalSteps: 2,
          },
          columns: [{ name: '5-way 1-shot', shots: 1, evalBatch: 5 }],
        },
      ],
      curve: { at: [0, 0.25, 0.5], tasks: 3, accuracies: [0, 1] },
    });
    const plan = table.plan({ scale: 1, seeds: 1, evalTasks: 4 });
    const only = ['5-way/reptile'];
    const whole = await open(plan, { folder: freshFolder(), name, only });
    await whole.run();
    const { pictures, measured } = whole.report();
    const [{ seeds }] = measured as unknown as [{ seeds: [{ curve: { iteration: number }[] }] }];
    assert.deepEqual(
      seeds[0].curve.map(({ iteration }) => iteration),
      [0, 2, 4],
    );
    const picture = pictures['small-curve.svg']!;
    assert.ok(picture.kind === 'panels' && picture.panels.length === 2);
    const ours = picture.panels[0]!.series.find(({ role }) => role === 'ours')!;
    assert.deepEqual(
      ours.points.map(({ x }) => x),
      [0, 2, 4, 8],
    );

    const folder = freshFolder();
    for (const stop of ['2/8', '3/8', '4/8', '8/8', 'evaluating']) {
      const controller = new AbortController();
      const stopped = await open(plan, {
        ...{ folder, name, only },
        signal: controller.signal,
        onProgress: (note) => note.includes(stop) && controller.abort(new Error('stopped')),
      });
      await stopped.run().catch((error) => assert.match(error.message, /stopped/));
    }
    const resumed = await open(plan, { folder, name, only });
    await resumed.run();
    const withoutSeconds = (value: Json) => JSON.stringify(value).replace(/"trainSeconds":[^,]*/g, '');
    assert.equal(withoutSeconds(resumed.report().measured), withoutSeconds(measured));
  });

  it('figure3 follows a curve and sets the paper’s beside it', async () => {
    const { groups, pictures } = await tiny('figure3', {
      scale: 1e-4,
      only: ['g1+g2/', 'mean-g1+g2/', 'g4/'],
    });
    const done = groups[0]!.rows.filter(({ ours }) => ours !== undefined).map(({ label }) => label);
    assert.deepEqual(done, ['(g1+g2)/2', 'g1+g2', 'g4']);
    const picture = pictures['figure3.svg']!;
    assert.ok(picture.kind === 'panels' && picture.panels.length === 12);
  });

  it('figure4 takes every kind of tail, and says where training diverged', async () => {
    const only = ['a/reptile/1/', 'a/separate/2/', 'b/replacement/5/', 'c/cycling/6/'];
    const { groups } = await tiny('figure4', { scale: 1e-4, only });
    const rows = groups.flatMap(({ rows: all }) => all.filter(({ ours, remark }) => ours ?? remark));
    assert.equal(rows.length, 4);
  });

  it('figure4 trains what panels share once, known by either name', async () => {
    const { units } = planned('figure4', 1);
    assert.equal(units.length, 73);
    const { groups } = await tiny('figure4', { scale: 1e-4, only: ['c/cycling/0/'] });
    const done = groups.flatMap(({ title, rows }) =>
      rows.filter(({ ours }) => ours !== undefined).map(({ label, ours }) => ({ title, label, ours })),
    );
    assert.deepEqual(
      done.map(({ label }) => label),
      ['100', '0'],
    );
    assert.deepEqual(done[0]!.ours, done[1]!.ours);
  });

  it('transfer judges each initialization on both', async () => {
    const { groups } = await tiny('transfer', { scale: 1e-4 });
    assert.equal(groups.length, 4);
    assert.ok(groups.every(({ rows }) => rows.length === 3 && rows.every(({ ours }) => ours !== undefined)));
  });
});
