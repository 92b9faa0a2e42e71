import {
  defineConfig,
  evaluate,
  lastState,
  metaTrain,
  mlp,
  nodeRuntime,
  type Runtime,
  sgd,
  sineTasks,
} from 'anole';
import { webRuntime } from 'anole/web';

export const config = defineConfig({ task: 'glyphs', workers: 2 });
export const runtimes: Promise<Runtime>[] = [nodeRuntime({ workers: 2 }), webRuntime()];

/** README's first example, with types. */
export async function adapted(runtime: Runtime): Promise<number> {
  const learner = { runtime, tasks: sineTasks(), model: mlp(), innerOptimizer: sgd({ learningRate: 0.02 }) };
  const training = { trainShots: 50, innerSteps: 5, innerBatch: 10, metaIterations: 5000, metaStep: 0.1 };
  const state = await lastState(metaTrain({ ...learner, ...training }));
  const few = { evalTasks: 200, shots: 10, queryShots: 50, innerSteps: 32, innerBatch: 10 };
  return (await evaluate({ ...learner, ...state, ...few })).mean;
}
