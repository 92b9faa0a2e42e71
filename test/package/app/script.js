// The ten lines of somebody who has just installed the package.
import { evaluate, metaTrain, mlp, nodeRuntime, sgd, sineTasks } from 'anole';

const runtime = await nodeRuntime();
const learner = { runtime, tasks: sineTasks(), model: mlp(), innerOptimizer: sgd({ learningRate: 0.02 }) };
const training = { trainShots: 50, innerSteps: 5, innerBatch: 10, metaIterations: 500, metaStep: 0.1 };
let state;
for await (const progress of metaTrain({ ...learner, ...training })) state = progress.state;
const few = { evalTasks: 50, shots: 10, queryShots: 50, innerSteps: 32, innerBatch: 10 };
console.log((await evaluate({ ...learner, ...state, ...few })).mean);
await runtime.dispose();
