// Prints in Node what the page computes.
import { nodeRuntime } from 'anole';
import { work } from './work.js';

console.log(JSON.stringify(await work(await nodeRuntime())));
