/** The directions of imports: the layers of docs/ARCHITECTURE.md, and what may be loaded in a browser. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../../src', import.meta.url)); // from dist/test

/** Each folder imports only from itself and from rows above its own. */
const layers = [
  ['graph'],
  ['onnx', 'native'],
  ['runtime'],
  ['nn', 'optim'],
  ['data'],
  ['meta'],
  ['experiments'],
  ['app'],
  ['cli'],
];

/** The only files that load ONNX Runtime; its types may stand anywhere. */
const onnxRuntimeFiles: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['runtime/node.ts', 'runtime/worker.ts'],
  'onnxruntime-web/wasm': ['runtime/web.ts'],
  'onnxruntime-web/webgpu': ['runtime/web.ts'],
  'onnxruntime-web': [],
};

interface Import {
  /** The file, relative to src, with `/`. */
  readonly from: string;
  /** A file relative to src, or a package. */
  readonly to: string;
  /** Whether anything is loaded: `import type` leaves nothing behind. */
  readonly typeOnly: boolean;
}

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'));
const imports = files.flatMap(importsOf);

function importsOf(from: string): Import[] {
  const text = readFileSync(join(source, from), 'utf8').replace(/\/\*[\s\S]*?\*\//g, ''); // no examples in comments
  const statements = text.matchAll(
    /^(?:import|export)\b(?<type> type\b)?(?:[^'";]*?\bfrom)?\s*'(?<static>[^']+)'|\bimport\('(?<dynamic>[^']+)'\)/gm,
  );
  return [...statements].map(({ groups }) => {
    const path = groups!.static ?? groups!.dynamic!;
    const to = path.startsWith('.')
      ? relative(source, resolve(source, dirname(from), path)).replaceAll('\\', '/')
      : path;
    return { from, to, typeOnly: groups!.type !== undefined };
  });
}

function rowOf(file: string): number {
  return layers.findIndex((row) => row.includes(file.split('/')[0]!));
}

describe('imports', () => {
  it('are all found, and every file is in a layer or an entry point', () => {
    const loose = files.filter((file) => rowOf(file) < 0).sort();
    assert.deepEqual(loose, ['errors.ts', 'files.ts', 'index.ts', 'node.ts', 'web.ts']);
    const local = imports.filter(({ to }) => to.endsWith('.ts'));
    assert.deepEqual(
      local.filter(({ to }) => !files.includes(to)),
      [],
    );
    assert.ok(local.length > 150 && imports.some(({ to }) => to === 'commander'));
  });

  it('go from a layer to those above it', () => {
    const wrong = imports.filter(({ from, to }) => {
      if (rowOf(from) < 0 || !to.endsWith('.ts') || ['errors.ts', 'files.ts'].includes(to)) return false;
      const sameFolder = from.split('/')[0] === to.split('/')[0];
      return !sameFolder && !(rowOf(to) >= 0 && rowOf(to) < rowOf(from));
    });
    assert.deepEqual(wrong, []);
  });

  it('load ONNX Runtime in three files only', () => {
    for (const [name, allowed] of Object.entries(onnxRuntimeFiles)) {
      const loading = imports.filter(({ to, typeOnly }) => to === name && !typeOnly).map(({ from }) => from);
      assert.deepEqual(loading.sort(), allowed, name);
    }
  });

  for (const entry of ['index.ts', 'web.ts']) {
    it(`of ${entry} reach nothing that a browser lacks`, () => {
      const reached = new Set([entry]);
      for (const file of reached) {
        for (const { from, to, typeOnly } of imports) if (from === file && !typeOnly) reached.add(to);
      }
      assert.ok(reached.has('meta/train.ts') && reached.has('experiments/setup.ts'));
      const lacking = [...reached].filter((name) => name.startsWith('node:') || name === 'onnxruntime-node');
      assert.deepEqual(lacking, []);
    });
  }
});
