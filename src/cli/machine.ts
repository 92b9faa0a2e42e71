/** What a run needs of the machine: its runtimes, and how to name it. */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { version as nodeVersion, resourceUsage } from 'node:process';
import type { Settings } from '../experiments/settings.ts';
import { nodeRuntime } from '../runtime/node.ts';
import type { Provider, Runtime } from '../runtime/runtime.ts';

interface Package {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const packageFile = new URL('../../../package.json', import.meta.url);
const { version, dependencies } = JSON.parse(readFileSync(packageFile, 'utf8')) as Package;

export { version };

/** Runtimes of a run, started together and disposed together. */
export interface Runtimes {
  readonly training: Runtime;
  readonly evaluation: Runtime;
  dispose(): Promise<void>;
}

/**
 * Without `workers`, training has as many as tasks run at the same time, and the evaluation one a core. A
 * sine's tasks are too small to be worth another thread.
 */
export async function startRuntimes(
  { task, metaBatch, evalTasks }: Pick<Settings, 'task' | 'metaBatch' | 'evalTasks'>,
  { workers, device }: { readonly workers?: number; readonly device?: Provider },
): Promise<Runtimes> {
  const most = device !== 'webgpu' && task !== 'sine' ? availableParallelism() : 1;
  const start = (tasks: number) =>
    nodeRuntime({ provider: device, workers: workers ?? Math.min(most, tasks) });
  const training = await start(metaBatch);
  const shared = workers !== undefined || Math.min(most, metaBatch) === Math.min(most, evalTasks);
  const evaluation = shared ? training : await start(evalTasks);
  return {
    training,
    evaluation,
    dispose: async () => {
      await training.dispose();
      if (!shared) await evaluation.dispose();
    },
  };
}

/** Hardware and versions, to stand beside a measurement. */
export function machine(): Readonly<Record<string, string | number>> {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    node: nodeVersion.slice(1),
    onnxruntime: dependencies['onnxruntime-node'] ?? 'unknown',
  };
}

/** The most memory the process has used, in MB. */
export function peakMemoryMB(): number {
  return Math.round(resourceUsage().maxRSS / 1024);
}
