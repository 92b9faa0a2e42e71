/** The API reference is complete: TypeDoc's warnings, such as a type that is not exported, are errors. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../../', import.meta.url));

test('the API reference builds without a warning', async () => {
  const typedoc = join(root, 'node_modules/.bin/typedoc');
  const { stdout, stderr } = await promisify(execFile)(typedoc, ['--emit', 'none'], { cwd: root });
  assert.doesNotMatch(stdout + stderr, /warning|error/i);
});
