import { webRuntime } from 'anole';
import { work } from './work.js';

webRuntime({ wasmFolder: '/wasm' }).then(work).then(postMessage);
