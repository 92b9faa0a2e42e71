// The page: adapts on its main thread, then in a worker, and leaves the results where the test reads them.
import { webRuntime } from 'anole';
import { work } from './work.js';

async function inWorker() {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

globalThis.results = (async () => ({ main: await work(await webRuntime()), worker: await inWorker() }))();
