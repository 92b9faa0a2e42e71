// Prints in Node what the page computes.
import { nodeRuntime } from 'anole';
import { fitPictures } from './pictures.js';
import { work } from './work.js';

const pictures = await fitPictures((name) => `public/pictures/${name}`);
console.log(JSON.stringify({ ...(await work(await nodeRuntime())), pictures }));
