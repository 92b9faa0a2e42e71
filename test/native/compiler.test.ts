/** Which compiler is found, and where its libraries lie. The answers are kept for good: each test is a process. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { withoutNative } from '../runtime/engines.ts';

const folder = mkdtempSync(join(tmpdir(), 'anole-compiler-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const source = (path: string) => JSON.stringify(new URL(`../../src/${path}`, import.meta.url));

/** What a script in a process of its own prints, as JSON. */
async function inChild<T>(body: string, environment: Record<string, string>): Promise<T> {
  const script = `
    import { defaultProvider, nodeRuntime } from ${source('runtime/node.js')};
    import { constant, float32, gather, int32, mul, trace } from ${source('graph/index.js')};
    const scaled = (factor) => trace({ x: float32(3) }, ({ x }) => ({ y: mul(x, factor) }));
    const fault = (promise) => promise.then(() => 'none', ({ name, message }) => name + ': ' + message);
    const run = async (runtime, graph) => [...(await (await runtime.compile(graph)).run({ x: Float32Array.of(1, 2, 3) })).y];
    ${body}`;
  const options = { env: { ...process.env, ...environment } };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--eval', script],
    options,
  );
  return JSON.parse(stdout) as T;
}

const faults = `
  console.log(JSON.stringify({
    provider: await defaultProvider(),
    byDefault: (await nodeRuntime()).provider,
    native: await fault(nodeRuntime({ provider: 'native' })),
  }));`;

type Faults = Record<'provider' | 'byDefault' | 'native', string>;

const freshCache = () => mkdtempSync(join(folder, 'cache-'));
const librariesOf = (cache: string) =>
  readdirSync(join(cache, 'native'))
    .filter((name) => name.endsWith('.node'))
    .sort();

test('without a compiler programs run on ONNX Runtime, and native says what to install', async () => {
  for (const CC of ['/no/such/compiler', process.execPath]) {
    const found = await inChild<Faults>(faults, { CC, ANOLE_CACHE: freshCache() });
    assert.deepEqual(found, {
      provider: 'cpu',
      byDefault: 'cpu',
      native: `OptionError: device: "native" can not be used here, use cpu: there is no C compiler, ${CC} can not be run: install one (apt-get install gcc)`,
    });
  }
});

test('a cache that can not be written leaves ONNX Runtime, and native says why', {
  skip: withoutNative,
}, async () => {
  const file = join(folder, 'a file');
  writeFileSync(file, '');
  const { provider, byDefault, native } = await inChild<Faults>(faults, { ANOLE_CACHE: join(file, 'cache') });
  assert.deepEqual([provider, byDefault], ['cpu', 'cpu']);
  assert.match(
    native,
    /^OptionError: device: "native" can not be used here, use cpu: could not write \S.*\.node/,
  );
  assert.match(native, /\(a part of the path is a file\): make room, or set ANOLE_CACHE to another folder/);
});

test('a compiler that fails leaves ONNX Runtime', {
  skip: withoutNative || (process.platform === 'win32' && 'needs a shell'),
}, async () => {
  const CC = join(folder, 'fails');
  const known = 'case "$*" in *-E*) exec cc "$@" ;; esac'; // it can tell what it is
  writeFileSync(CC, `#!/bin/sh\n${known}\necho out of patience >&2\nexit 1\n`);
  chmodSync(CC, 0o755);
  const cache = freshCache();
  const { provider, native } = await inChild<Faults>(faults, { CC, ANOLE_CACHE: cache });
  assert.equal(provider, 'cpu');
  assert.match(native, /internal: \S+ does not compile a program: out of patience/);
  assert.deepEqual(librariesOf(cache), []);
});

test('equal programs are one library, whoever compiles them and whatever their tables hold', {
  skip: withoutNative,
}, async () => {
  const cache = freshCache();
  const body = `
    const runtimes = await Promise.all([1, 2, 3].map(() => nodeRuntime({ provider: 'native' })));
    const results = await Promise.all(runtimes.map((runtime) => run(runtime, scaled(5))));
    const table = (...places) => trace({ x: float32(3) }, ({ x }) => ({ y: gather(x, constant(int32(7), Int32Array.from(places))) }));
    results.push(await run(runtimes[0], table(0, 2, 1, 1, 0, 2, 2)), await run(runtimes[1], table(2, 2, 0, 1, 0, 1, 1)));
    await Promise.all(runtimes.map((runtime) => runtime.dispose()));
    console.log(JSON.stringify(results));`;
  const expected = [...[1, 2, 3].map(() => [5, 10, 15]), [1, 3, 2, 2, 1, 3, 3], [3, 3, 1, 2, 1, 2, 2]];
  const together = await Promise.all([1, 2].map(() => inChild(body, { ANOLE_CACHE: cache })));
  assert.deepEqual(together, [expected, expected]);
  const libraries = librariesOf(cache);
  assert.equal(libraries.length, 3); // one of them to try the compiler; no sources, no drafts
  assert.ok(libraries.every((name) => /^[0-9a-f]{32}\.node$/.test(name)));
  const times = () => libraries.map((name) => statSync(join(cache, 'native', name)).birthtimeMs);
  const before = times();
  assert.deepEqual(await inChild(body, { ANOLE_CACHE: cache }), expected);
  assert.deepEqual([librariesOf(cache), times()], [libraries, before]);
});

const runOne = `
  const runtime = await nodeRuntime({ provider: 'native' });
  console.log(JSON.stringify(await run(runtime, scaled(Number(process.env.FACTOR)))));`;

test('libraries that nobody used for a month go when another is made', { skip: withoutNative }, async () => {
  const cache = freshCache();
  await inChild(runOne, { ANOLE_CACHE: cache, FACTOR: '5' });
  const old = new Date(Date.now() - 31 * 24 * 3600 * 1000);
  const first = librariesOf(cache);
  assert.equal(first.length, 2);
  for (const name of first) utimesSync(join(cache, 'native', name), old, old);
  // The one that the compiler is tried with is used again, ×5 is not.
  await inChild(runOne, { ANOLE_CACHE: cache, FACTOR: '6' });
  const second = librariesOf(cache);
  assert.equal(second.length, 2);
  assert.equal(first.filter((name) => second.includes(name)).length, 1);
});

for (const [how, length] of [
  ['is empty', 0],
  ['ends in the middle', 8000],
] as const) {
  test(`a library that ${how} is made anew`, {
    skip: withoutNative,
  }, async () => {
    const cache = freshCache();
    await inChild(runOne, { ANOLE_CACHE: cache, FACTOR: '5' });
    for (const name of librariesOf(cache)) truncateSync(join(cache, 'native', name), length);
    assert.deepEqual(await inChild(runOne, { ANOLE_CACHE: cache, FACTOR: '5' }), [5, 10, 15]);
  });
}
