/** The package as npm's users, their bundlers and their type checkers meet it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { encode } from 'fast-png';
import { build, createServer, type InlineConfig, preview } from 'vite';
import { glyphsSplit } from '../../src/data/glyphs.ts';
import { firstMessage, launch, noChromium, resultsOf } from './chromium.ts';
import { filesBelow, type Installed, install, remove, root, run, tool } from './installed.ts';

interface Adapted {
  readonly outputs: readonly number[];
  /** Median of a few adaptations. */
  readonly milliseconds: number;
}

type Work = Readonly<Record<'sine' | 'glyphs', Adapted>>;

/** Probabilities of each class for each query. */
type Probabilities = readonly (readonly number[])[];
type WithPictures = Work & { readonly pictures: Probabilities };

/** Of the browser entry without ONNX Runtime, minified and gzipped. */
const sizeBudget = 60_000;

const fixtures = join(root, 'test/package');
const omniglot = join(root, '../shared/data/omniglot');
const noOmniglot = existsSync(omniglot) ? false : `there is no ${omniglot}`;
let installed: Installed;
before(async () => {
  installed = await install();
});
after(() => remove(installed));

/** Glyphs that the shipped weights were not trained on, 28 × 28 in gray as the model takes them, and one twice as large. */
async function writePictures(path: string): Promise<void> {
  const { test } = glyphsSplit();
  await mkdir(path, { recursive: true });
  const write = (name: string, width: number, data: Uint8Array) =>
    writeFile(join(path, name), encode({ width, height: width, data, depth: 8, channels: 1 }));
  for (const glyph of [0, 1, 2]) {
    for (const drawing of [0, 1, 2]) {
      const values = new Float32Array(28 * 28);
      test.read(glyph, drawing, values, 0);
      const pixels = Uint8Array.from(values, (value) => Math.round(255 * value));
      await write(`${glyph}-${drawing}.png`, 28, pixels);
      const doubled = Uint8Array.from(
        { length: 56 * 56 },
        (_, i) => pixels[28 * Math.floor(i / 112) + Math.floor((i % 56) / 2)]!,
      );
      await write(`${glyph}-${drawing}-doubled.png`, 56, doubled);
    }
  }
}

/**
 * Gray pictures of the model's size are the same values wherever they are decoded, so what differs are the roundings
 * of two sets of float32 kernels: 6e-8 of a value each, a few times that after 50 steps of Adam, 3e-7 measured. A
 * picture decoded one gray level off moves the answers by more than 1e-5. The doubled picture is for browsers, where
 * the mean of four equal pixels is that pixel; Node resamples by Lanczos.
 */
function sameAnswers(found: Probabilities, expected: Probabilities, way: string): void {
  const [single, doubled] = found.slice(2);
  assert.deepEqual(doubled, single, way);
  for (const [query, probabilities] of expected.slice(0, 3).entries()) {
    const difference = Math.max(...probabilities.map((p, i) => Math.abs(p - found[query]![i]!)));
    assert.ok(difference < 1e-5, `query ${query} by ${way}: ${difference}`);
  }
}

describe('the tarball', () => {
  it('holds the compiled library, weights to load by name, and nothing else', () => {
    const own = /^dist\/src\/.*\.(js|d\.ts|js\.map)$|^weights\/[\w-]+\.safetensors$/;
    const others = installed.files.filter((path) => !own.test(path));
    assert.deepEqual(others.sort(), ['LICENSE', 'README.md', 'package.json']);
    assert.ok(installed.files.includes('dist/src/runtime/worker.js'));
  });

  it('has sound metadata and exports (publint)', async () => {
    assert.match(await run(tool('publint'), ['run', '--strict', installed.tarball], root), /All good!/);
  });

  it('has types that resolve like its code (@arethetypeswrong/cli)', async () => {
    await run(tool('attw'), [installed.tarball, '--profile', 'esm-only'], root);
  });
});

describe('installed in an empty folder', () => {
  it('meta-trains in ten lines', async () => {
    await cp(join(fixtures, 'app'), installed.project, { recursive: true });
    const error = Number(await run(process.execPath, ['script.js'], installed.project));
    assert.ok(error > 0 && error < 4.5, `mean squared error ${error}`);
  });

  it('tells five new characters apart from one drawing of each', { skip: noOmniglot }, async () => {
    await cp(join(fixtures, 'app'), installed.project, { recursive: true });
    const args = ['stranger.js', omniglot, '100'];
    const { accuracy } = JSON.parse(await run(process.execPath, args, installed.project));
    // 95% of 1,000 tasks (docs/guides/first-classifier.md); of 100 tasks the standard error is 1.
    assert.ok(accuracy > 0.91 && accuracy < 0.99, `accuracy ${accuracy}`);
  });

  it('brings the command', async () => {
    const help = await run(join(installed.project, 'node_modules/.bin/anole'), ['--help'], installed.project);
    assert.match(help, /reproduce/);
  });

  for (const [environment, options] of Object.entries({
    node: { module: 'nodenext', lib: ['es2023'], types: ['node'] },
    browser: { module: 'esnext', moduleResolution: 'bundler', lib: ['es2023', 'dom'], types: [] },
  })) {
    it(`has the types of its entry for ${environment}`, async () => {
      const file = `${environment}.ts`;
      await cp(join(fixtures, 'types', file), join(installed.project, file));
      const config = `tsconfig.${environment}.json`;
      const typeRoots = [join(root, 'node_modules/@types')];
      const compilerOptions = { target: 'es2022', strict: true, noEmit: true, typeRoots, ...options };
      await writeFile(join(installed.project, config), JSON.stringify({ compilerOptions, files: [file] }));
      await run(tool('tsc'), ['-p', config], installed.project);
    });
  }
});

describe('in an app of vite', () => {
  const config = (): InlineConfig => ({ root: installed.project, configFile: false, logLevel: 'error' });
  before(async () => {
    await cp(join(fixtures, 'app'), installed.project, { recursive: true });
    const wasm = 'ort-wasm-simd-threaded.wasm'; // where the worker looks for it, while the page does not
    const dist = join(installed.project, 'node_modules/onnxruntime-web/dist');
    await cp(join(dist, wasm), join(installed.project, 'public/wasm', wasm));
    await writePictures(join(installed.project, 'public/pictures'));
  });

  /** Adaptations on the main thread and in a worker agree with Node's. */
  async function agreesWithNode(url: string): Promise<string> {
    const expected: WithPictures = JSON.parse(await run(process.execPath, ['node.js'], installed.project));
    const browser = await launch();
    try {
      const found = await resultsOf<{
        readonly main: Work;
        readonly worker: WithPictures;
        readonly pictures: Readonly<Record<string, Probabilities>>;
      }>(browser, url);
      for (const [way, probabilities] of Object.entries({
        ...found.pictures,
        worker: found.worker.pictures,
      })) {
        sameAnswers(probabilities, expected.pictures, way);
      }
      for (const [place, works] of Object.entries({ main: found.main, worker: found.worker })) {
        for (const work of ['sine', 'glyphs'] as const) {
          const { outputs } = works[work];
          assert.equal(outputs.length, expected[work].outputs.length);
          const difference = Math.max(...outputs.map((x, i) => Math.abs(x - expected[work].outputs[i]!)));
          assert.ok(difference < 1e-3, `${work} on ${place}: ${difference}`);
        }
      }
      const times = [expected, found.main, found.worker].map(({ glyphs }) => glyphs.milliseconds.toFixed(0));
      return `5-way 1-shot, 5 steps, in ms: Node ${times[0]}, main thread ${times[1]}, worker ${times[2]}`;
    } finally {
      await browser.close();
    }
  }

  it('builds without configuration and adapts in Chromium', { skip: noChromium }, async (t) => {
    await build(config());
    const server = await preview({ ...config(), preview: { port: 0, host: '127.0.0.1' } });
    try {
      t.diagnostic(await agreesWithNode(server.resolvedUrls!.local[0]!));
    } finally {
      await server.close();
    }
  });

  it('adapts in Chromium under the development server', { skip: noChromium }, async () => {
    const server = await createServer({ ...config(), server: { port: 0, host: '127.0.0.1' } });
    try {
      await server.listen();
      await agreesWithNode(server.resolvedUrls!.local[0]!);
    } finally {
      await server.close();
    }
  });

  it('runs the guide’s code', { skip: noChromium }, async () => {
    const guide = await readFile(join(root, 'docs/guides/in-the-browser.md'), 'utf8');
    const folder = join(installed.project, 'guide');
    await mkdir(folder);
    const blocks = [...guide.matchAll(/```js\n\/\/ (\S+\.js)[\s\S]*?```/g)];
    assert.deepEqual(
      blocks.map(([, file]) => file),
      ['main.js', 'worker.js'],
    );
    for (const [text, file] of blocks) await writeFile(join(folder, file!), text.slice(6, -3));
    const page = await readFile(join(fixtures, 'app/index.html'), 'utf8');
    await writeFile(join(folder, 'index.html'), page.replace('page.js', 'main.js'));
    await build({ ...config(), root: folder });
    const server = await preview({ ...config(), root: folder, preview: { port: 0, host: '127.0.0.1' } });
    const browser = await launch();
    try {
      const text = await firstMessage(browser, server.resolvedUrls!.local[0]!);
      const error = Number(/^mean squared error (\S+)$/.exec(text)?.[1]);
      assert.ok(error > 0 && error < 2.5, text);
    } finally {
      await browser.close();
      await server.close();
    }
  });

  it(`is at most ${sizeBudget / 1000} kB without ONNX Runtime`, async (t) => {
    const entry = join(installed.project, 'entry.js');
    await writeFile(entry, "export * from 'anole';\n");
    const external = /^onnxruntime-web/;
    const outDir = join(installed.project, 'size');
    const lib = { entry, formats: ['es' as const] };
    await build({ ...config(), build: { outDir, lib, minify: true, rollupOptions: { external } } });
    const bundles = (await filesBelow(outDir)).filter((file) => /\.m?js$/.test(file));
    const sizes = await Promise.all(
      bundles.map(async (file) => {
        const code = await readFile(file, 'utf8');
        return gzipSync(code.replace(/data:[\w/-]+;base64,[\w+/=]+/g, '')).length; // weights, files of their own in an app
      }),
    );
    const size = sizes.reduce((sum, one) => sum + one, 0);
    t.diagnostic(`${(size / 1000).toFixed(1)} kB gzipped`);
    assert.ok(size > 10_000 && size <= sizeBudget, `${size} bytes gzipped: the budget is ${sizeBudget}`);
  });
});
