// Fits shipped weights to picture files, given in whichever way, and says what others are.
import { load } from 'anole';

const examples = { hook: ['0-0.png', '0-1.png'], loop: ['1-0.png', '1-1.png'], star: ['2-0.png'] };
const queries = ['0-2.png', '1-2.png', '2-2.png', '2-2-doubled.png'];

/** Probabilities of every class for every query; `inputOf` turns a file's name into an input. */
export async function fitPictures(inputOf, options) {
  const learner = await load('glyphs-5way', options);
  const task = await learner.fit(
    Object.fromEntries(
      await Promise.all(
        Object.entries(examples).map(async ([name, files]) => [name, await Promise.all(files.map(inputOf))]),
      ),
    ),
  );
  const predictions = await task.predict(await Promise.all(queries.map(inputOf)));
  await Promise.all([learner.dispose(), task.dispose()]);
  return predictions.map(({ probabilities }) => Object.values(probabilities));
}
