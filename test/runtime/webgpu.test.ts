/**
 * The `webgpu` provider of onnxruntime-node held to its CPU provider. Without a GPU it runs on SwiftShader,
 * a Vulkan device in software that Debian's `chromium` brings along. The driver is chosen by environment
 * variables that must be there before the library is loaded, so a child process does the work.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Comparison, Difference } from './providers.ts';

/** Where Chromium packages keep SwiftShader and the Vulkan loader. */
const folders = ['/usr/lib/chromium', '/usr/lib64/chromium-browser', '/opt/google/chrome'];
const icd = 'vk_swiftshader_icd.json';

function environment(): NodeJS.ProcessEnv {
  const folder = folders.find((name) => existsSync(path.join(name, icd)));
  if (folder === undefined || process.env.VK_DRIVER_FILES !== undefined) return process.env;
  const libraries = [process.env.LD_LIBRARY_PATH, folder].filter(Boolean).join(':'); // libvulkan.so.1
  return { ...process.env, VK_DRIVER_FILES: path.join(folder, icd), LD_LIBRARY_PATH: libraries };
}

/** Set before the answer on standard output, where libraries may write too. */
const marker = 'comparison: ';

/** The answer is written before the process ends, so a driver that crashes while unloading does not lose it. */
function compareInChild(): Promise<Comparison> {
  const script = `
    import { writeSync } from 'node:fs';
    import { compareWithCpu } from ${JSON.stringify(new URL('./providers.js', import.meta.url))};
    writeSync(1, ${JSON.stringify(`\n${marker}`)} + JSON.stringify(await compareWithCpu('webgpu')) + '\\n');
    process.exit(0);`;
  const options = {
    env: environment(),
    timeout: 180_000,
    killSignal: 'SIGKILL',
    maxBuffer: 2 ** 26,
  } as const;
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      ['--input-type=module', '--eval', script],
      options,
      (error, stdout, stderr) => {
        const answer = stdout.split('\n').find((line) => line.startsWith(marker));
        if (answer !== undefined) resolve(JSON.parse(answer.slice(marker.length)) as Comparison);
        else reject(new Error(`the child process gave no answer: ${stderr.slice(-2000)}`, { cause: error }));
      },
    );
  });
}

/** WGSL promises sine and cosine to 2⁻¹¹ only, and the other functions to a few units in the last place. */
function tolerance(program: string): number {
  return /^(sin|cos),/.test(program) ? 2 ** -10 : 2e-5;
}

function assertWithin(differences: readonly Difference[], limit: (program: string) => number): void {
  // JSON has no infinity: it arrives as null.
  const apart = differences.filter(
    ({ program, difference }) => !(difference !== null && difference <= limit(program)),
  );
  assert.deepEqual(apart, []);
}

test('webgpu agrees with the CPU: inner loops, second-order gradients, every operator', async (t: TestContext) => {
  const comparison = await compareInChild();
  if ('unavailable' in comparison) {
    t.skip(`no GPU, and no SwiftShader of Chromium in ${folders.join(', ')}: ${comparison.unavailable}`);
    return;
  }
  for (const { program, difference } of comparison.programs)
    t.diagnostic(`${difference.toExponential(1)} ${program}`);
  assertWithin(comparison.programs, () => 1e-3);
  assert.ok(comparison.operators.length > 300);
  assertWithin(comparison.operators, tolerance);
});
