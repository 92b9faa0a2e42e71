/** Settings from flags, the environment and configuration files: which wins, and what is refused. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chdir, cwd, env } from 'node:process';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { explained, readConfiguration, withMachine } from '../../src/cli/configuration.ts';
import { DataError, OptionError } from '../../src/errors.ts';
import { defineConfig } from '../../src/experiments/config.ts';
import { resolveSettings } from '../../src/experiments/settings.ts';

const root = mkdtempSync(join(tmpdir(), 'anole-config-'));
const home = cwd();
after(() => {
  chdir(home);
  rmSync(root, { recursive: true });
});

const inherited = Object.keys(env).filter((name) => name.startsWith('ANOLE_'));
for (const name of inherited) delete env[name];

beforeEach(() => chdir(mkdtempSync(join(root, 'folder-'))));
afterEach(() => {
  for (const name of Object.keys(env)) if (name.startsWith('ANOLE_')) delete env[name];
});

const text = `{ innerLr: 0.5, preset: 'o15', task: 'omniglot', workers: 2, data: 'images', transductive: true }`;
const values = { innerLr: 0.5, preset: 'o15', task: 'omniglot', workers: 2, transductive: true };

describe('a configuration file', () => {
  it('is JSON', async () => {
    const json = JSON.stringify({ ...values, data: 'images' });
    writeFileSync('anole.config.json', json);
    const { values: read, file, sources } = await readConfiguration();
    assert.deepEqual(read, { ...values, data: join(cwd(), 'images') });
    assert.equal(file, 'anole.config.json');
    assert.equal(sources.innerLr, file);
  });

  it('is JavaScript', async () => {
    writeFileSync('anole.config.js', `export default ${text};`);
    assert.deepEqual((await readConfiguration()).values, { ...values, data: join(cwd(), 'images') });
  });

  it('is TypeScript that imports the package, wherever it lies', async () => {
    writeFileSync(
      'anole.config.ts',
      `import { type Config, defineConfig, presets } from 'anole/node';
       const base: Config = { ways: presets.o15.ways };
       export default defineConfig({ ...base, ...${text} } satisfies Config);`,
    );
    const read = await readConfiguration();
    assert.deepEqual(read.values, { ...values, ways: 5, data: join(cwd(), 'images') });
  });

  it('is the one that is chosen, relative to which its paths are', async () => {
    writeFileSync('anole.config.json', '{ "shots": 1 }');
    writeFileSync('other.json', '{ "shots": 2, "data": "../images" }');
    assert.deepEqual((await readConfiguration('other.json')).values, {
      shots: 2,
      data: join(cwd(), '../images'),
    });
    assert.deepEqual((await readConfiguration(false)).values, {});
  });

  const refused: readonly (readonly [content: string, message: RegExp])[] = [
    ['{ "innerLrr": 1 }', /^anole\.config\.json: "innerLrr" is no setting; did you mean "innerLr"\?$/],
    ['{ "zzzzzzzzzzz": 1 }', /"zzzzzzzzzzz" is no setting: take it out$/],
    ['{ "__proto__": { "shots": 1 } }', /"__proto__" is no setting/],
    ['{ "innerLr": "0.5" }', /^anole\.config\.json: innerLr: expected a number above 0, got "0\.5"$/],
    ['{ "task": "sien" }', /task: expected one of .*, got "sien"; did you mean "sine"\?$/],
    ['{ "transductive": 1 }', /transductive: expected true or false, got 1$/],
    ['{ "workers": null }', /workers: expected a whole number from 1 to 256, got null$/],
    ['{ "data": "" }', /data: expected a path, got ""$/],
    ['[1]', /expected an object of settings as its default export, got 1$/],
    ['{', /^anole\.config\.json: can not be loaded \(.*\): correct it$/],
  ];
  for (const [content, message] of refused) {
    it(`with ${content} is refused`, async () => {
      writeFileSync('anole.config.json', content);
      await assert.rejects(
        readConfiguration(),
        (error) => error instanceof DataError && message.test(error.message),
      );
    });
  }

  it('that is not there, of another kind, broken or one of two is refused', async () => {
    await assert.rejects(
      readConfiguration('none.json'),
      /could not read none\.json \(there is nothing of that name\)/,
    );
    writeFileSync('config.yaml', '');
    await assert.rejects(
      readConfiguration('config.yaml'),
      /expected a configuration file ending in \.ts, \.js or \.json/,
    );
    writeFileSync('anole.config.ts', 'export default {');
    await assert.rejects(readConfiguration(), /anole\.config\.ts: can not be loaded \(/);
    writeFileSync('anole.config.json', '{}');
    await assert.rejects(readConfiguration(), /anole\.config\.ts and anole\.config\.json: expected one/);
  });
});

describe('environment variables', () => {
  it('stand above the file and below the flags', async () => {
    writeFileSync('anole.config.json', '{ "shots": 1, "innerSteps": 3, "workers": 3, "device": "cpu" }');
    Object.assign(env, {
      ANOLE_INNER_ITERS: '4',
      ANOLE_WORKERS: '4',
      ANOLE_TRANSDUCTIVE: 'true',
      ANOLE_DATA: 'x',
    });
    const configuration = await readConfiguration();
    assert.deepEqual(configuration.values, {
      ...{ shots: 1, innerSteps: 4, workers: 4, device: 'cpu', transductive: true },
    });
    assert.equal(configuration.sources.innerSteps, 'ANOLE_INNER_ITERS');
    assert.deepEqual(withMachine({ workers: 5 }, configuration), { workers: 5, device: 'cpu' });
  });

  it('are refused when there is no such flag, or it takes no such value', async () => {
    const refused = async (name: string, value: string, message: RegExp) => {
      env[name] = value;
      const isRight = (error: unknown) => error instanceof OptionError && message.test(error.message);
      await assert.rejects(readConfiguration(), isRight);
      delete env[name];
    };
    await refused('ANOLE_INER_LR', '1', /^ANOLE_INER_LR: no flag .*; did you mean "ANOLE_INNER_LR"\?$/);
    await refused('ANOLE_INNER_LR', 'x', /^ANOLE_INNER_LR: expected a number above 0, got "x"$/);
    await refused('ANOLE_PRESET', 'o5', /^ANOLE_PRESET: expected one of .*, got "o5"; did you mean "o15"\?$/);
    await refused('ANOLE_TRANSDUCTIVE', 'yes', /^ANOLE_TRANSDUCTIVE: expected true or false, got "yes"$/);
  });
});

it('a complaint says where a setting stands that no flag gave', async () => {
  writeFileSync('anole.config.json', '{ "ways": 5 }');
  const configuration = await readConfiguration();
  const resolve = (flags: object) =>
    explained(configuration, flags, () => resolveSettings({ task: 'sine', given: { ways: 5 } }));
  assert.throws(() => resolve({}), /^OptionError: ways: .* \(it stands in anole\.config\.json\)$/);
  assert.throws(() => resolve({ ways: 5 }), /leave the ways out$/);
});

it('defineConfig returns what it is given', () => {
  const config = { task: 'sine', shots: 5 } as const;
  assert.equal(defineConfig(config), config);
});
