import { webRuntime } from 'anole';
import { fitPictures } from './pictures.js';
import { work } from './work.js';

async function results() {
  const runtime = await webRuntime({ wasmFolder: '/wasm' });
  const pictures = await fitPictures((name) => `/pictures/${name}`, { runtime });
  return { ...(await work(runtime)), pictures };
}

results().then(postMessage);
