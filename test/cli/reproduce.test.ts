/** `anole reproduce` as it is typed: the table, the record, the pictures, and going on where it was. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { comparison } from '../../src/cli/reproduce.ts';
import { checkSvg } from './check-svg.ts';

const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'anole-reproduce-cli-'));
after(() => rmSync(root, { recursive: true }));

function anole(args: string) {
  const run = spawnSync(process.execPath, [main, 'reproduce', ...args.split(' ')], {
    cwd: root,
    encoding: 'utf8',
  });
  return { code: run.status, stdout: run.stdout, stderr: run.stderr };
}

describe('anole reproduce', () => {
  it('ends with a table, a record and a picture; the second time there is nothing left to do', () => {
    const first = anole('figure2 --scale 0.02');
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /ours +theory +difference/);
    assert.match(first.stdout, /exact projections +\S+ +0 +[+−]/);
    assert.match(first.stdout, /its unit is done/);
    const folder = join(root, 'runs', 'reproduce', 'figure2-at-0.02');
    assert.deepEqual(readdirSync(folder).sort(), ['figure2.json', 'figure2.svg', 'state.json']);
    checkSvg(readFileSync(join(folder, 'figure2.svg'), 'utf8'));
    const record = JSON.parse(readFileSync(join(folder, 'figure2.json'), 'utf8'));
    assert.equal(record.complete, true);
    assert.equal(record.options.scale, 0.02);
    assert.ok(record.machine.cpu && record.machine.node && record.machine.onnxruntime && record.seconds > 0);
    assert.ok(['cpu', 'native'].includes(record.machine.device));
    assert.equal(record.units.plane.settings.iterations, 20);

    const again = anole('figure2 --scale 0.02 --json --quiet');
    assert.equal(again.stderr, '');
    assert.deepEqual(JSON.parse(again.stdout).measured, record.measured);
    assert.match(anole('figure2 --scale 0.02 --list').stdout, /^done {2}plane/);
  });

  it('says what is wrong with what was typed', () => {
    for (const [args, message] of [
      ['figur2', /unknown experiment "figur2"; did you mean "figure2"\?/],
      ['figure2 --scale 2', /--scale: expected a number above 0, at most 1, got "2"/],
      [
        'figure1 --only sarsa',
        /only: no part of this experiment has "sarsa" in its name, such as random\/seed-0/,
      ],
      ['figure2 --scale 0.5 --out runs/reproduce/figure2-at-0.02', /has "plane" with iterations 20, not 500/],
    ] as const) {
      const { code, stderr } = anole(args);
      assert.equal(code, 2, args);
      assert.match(stderr, message);
    }
  });
});

describe('the table', () => {
  it('gives accuracies in percent, differences in points, and spreads where there are any', () => {
    const text = comparison([
      {
        title: 'Reptile',
        unit: 'percent',
        rows: [
          {
            label: '1-shot',
            ours: { value: 0.951, deviation: 0.001, ci95: 0.002 },
            paper: { value: 0.9539, deviation: 0.0009 },
          },
          { label: '5-shot', remark: 'diverged', paper: { value: 0.989 } },
        ],
      },
    ]);
    assert.deepEqual(
      text.split('\n').map((line) => line.split(/ {2,}/).filter(Boolean)),
      [
        ['Reptile', 'ours', '± seeds', '± 95%', 'paper', 'difference'],
        ['1-shot', '95.10%', '0.10%', '0.20%', '95.39% ± 0.09%', '−0.29'],
        ['5-shot', 'diverged', '98.90%'],
      ],
    );
  });

  it('gives differences from theory in percent of it', () => {
    const text = comparison([
      {
        title: 't',
        unit: 'number',
        reference: 'theory',
        rows: [{ label: 'c', ours: { value: -1.98 }, paper: { value: -2 } }],
      },
    ]);
    assert.match(text, /−1\.98 +−2\.00 +\+1\.00%$/);
  });
});
