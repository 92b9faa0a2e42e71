// The same adaptations in Node and in a browser: `anole` is another entry there, with the same names.
import {
  Adaptation,
  adam,
  fewShotTasks,
  figure1Task,
  glyphs,
  mlp,
  omniglotNet,
  Random,
  resolveLearner,
  sgd,
  sineTasks,
} from 'anole';

/** Predictions after a few inner steps on one sine wave, and the milliseconds they took. */
export async function adaptSine(runtime) {
  const options = { tasks: sineTasks(), model: mlp(), innerOptimizer: sgd({ learningRate: 0.02 }) };
  return adapt(runtime, options, figure1Task, { innerSteps: 8, transductive: true });
}

/** The same for five classes of glyphs, one image each. */
export async function adaptGlyphs(runtime) {
  const tasks = fewShotTasks(glyphs({ classes: 10 }), { ways: 5 });
  const model = omniglotNet({ ways: 5 });
  const innerOptimizer = adam({ learningRate: 1e-3, beta1: 0 });
  const task = tasks.sample(Random.stream(1, 'task'), { support: 1, query: 1 });
  return adapt(runtime, { tasks, model, innerOptimizer }, task, { innerSteps: 5, transductive: false });
}

async function adapt(runtime, options, task, steps) {
  const learner = resolveLearner(options);
  const size = { support: task.support.count, query: task.query.count, innerBatch: 5 };
  const adaptation = await Adaptation.compile({ runtime, learner, ...size, ...steps });
  const parameters = options.model.init(Random.stream(1, 'init'));
  const innerState = Object.fromEntries(
    Object.entries(learner.optimizer.state({ dtype: 'float32', shape: [parameters.length] })).map(
      ([name, { shape }]) => [
        name,
        new Float32Array(shape.reduce((product, length) => product * length, 1)).fill(0.01),
      ],
    ),
  );
  const milliseconds = [];
  let outputs;
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    outputs = await adaptation.predict(task, { parameters, innerState }, Random.stream(1, 'batches'));
    milliseconds.push(performance.now() - start);
  }
  return { outputs: [...outputs], milliseconds: milliseconds.sort((a, b) => a - b)[2] };
}

/** Both, on a runtime that is disposed of afterwards. */
export async function work(runtime) {
  const results = { sine: await adaptSine(runtime), glyphs: await adaptGlyphs(runtime) };
  await runtime.dispose();
  return results;
}
