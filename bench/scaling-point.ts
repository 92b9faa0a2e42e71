/** One point of `scaling.ts`: a meta-training in this process. Prints a line of JSON. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import process, { argv } from 'node:process';
import {
  adam,
  fewShotTasks,
  loadOmniglot,
  metaTrain,
  nodeRuntime,
  omniglotNet,
  omniglotSplit,
} from '../src/node.ts';
import { root } from './machine.ts';
import { quantile } from './statistics.ts';

export interface PointSettings {
  readonly innerSteps: number;
  readonly innerBatch: number;
  readonly metaBatch: number;
  readonly ways: number;
  readonly workers: number;
}

export interface PointResult {
  /** Median of a meta-iteration. */
  readonly ms: number;
  /** Peak resident memory of the process. */
  readonly peakMB: number;
}

async function measure(settings: PointSettings, seconds: number): Promise<PointResult> {
  const { ways, workers, ...others } = settings;
  const beside = join(root, '../shared/data/omniglot');
  const images = await loadOmniglot({ data: existsSync(beside) ? beside : undefined });
  const runtime = await nodeRuntime({ workers });
  const times: number[] = [];
  let last = performance.now();
  const training = metaTrain({
    runtime,
    tasks: fewShotTasks(omniglotSplit(images, 0).train, { ways }),
    model: omniglotNet({ ways }),
    innerOptimizer: adam({ learningRate: 1e-3, beta1: 0 }),
    trainShots: 20,
    metaIterations: 1e9,
    metaStep: 1,
    ...others,
  });
  for await (const _ of training) {
    const now = performance.now();
    times.push(now - last);
    last = now;
    const steady = times.slice(3); // the first compile and warm up
    if (steady.length >= 5 && steady.reduce((a, b) => a + b) > 1000 * seconds) break;
  }
  await runtime.dispose();
  return { ms: quantile(times.slice(3), 0.5), peakMB: process.resourceUsage().maxRSS / 1024 };
}

console.log(JSON.stringify(await measure(JSON.parse(argv[2]!) as PointSettings, Number(argv[3]))));
