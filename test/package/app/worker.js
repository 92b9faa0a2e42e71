import { webRuntime } from 'anole';
import { work } from './work.js';

postMessage(await work(await webRuntime()));
