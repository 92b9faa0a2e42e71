/** How often the shipped weights are right about one drawing of five new characters: `node stranger.js DATA TASKS`. */
import { fewShotTasks, load, loadOmniglot, omniglotSplit, Random } from 'anole';

const [data, count] = process.argv.slice(2);
const { test } = omniglotSplit(await loadOmniglot({ data })); // characters that the weights were not trained on
const tasks = fewShotTasks(test, { ways: 5 });
const random = Random.stream(7, 'tasks');
const learner = await load('omniglot-5way');
const listed = ({ inputs, targets }) =>
  Array.from(targets, (label, i) => ({ input: inputs.slice(784 * i, 784 * (i + 1)), label: `${label}` }));

let right = 0;
let milliseconds = 0;
for (let i = 0; i < count; i++) {
  const { support, query } = tasks.sample(random, { support: 1, query: 1 });
  const start = performance.now();
  const task = await learner.fit(listed(support), { steps: 20 }); // as good as 50 here, in less than half the time
  milliseconds += performance.now() - start;
  for (const { input, label } of listed(query)) right += (await task.predict(input)).label === label;
  await task.dispose();
}
await learner.dispose();
console.log(JSON.stringify({ accuracy: right / (5 * count), millisecondsOfAFit: milliseconds / count }));
