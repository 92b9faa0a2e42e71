import { webRuntime } from 'anole';
import { work } from './work.js';

webRuntime().then(work).then(postMessage);
