// The page: adapts on its main thread, then in a worker, and leaves the results where the test reads them.
import { webRuntime } from 'anole';
import { fitPictures } from './pictures.js';
import { work } from './work.js';

async function inWorker() {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

const address = (name) => `/pictures/${name}`;

async function imageData(name) {
  const image = new Image();
  image.src = address(name);
  await image.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

/** As of a file that the user chose. */
async function objectAddress(name) {
  return URL.createObjectURL(await (await fetch(address(name))).blob());
}

async function results() {
  return {
    main: await work(await webRuntime()),
    worker: await inWorker(),
    pictures: {
      address: await fitPictures(address),
      url: await fitPictures((name) => new URL(address(name), location)),
      imageData: await fitPictures(imageData),
      objectAddress: await fitPictures(objectAddress),
    },
  };
}

globalThis.results = results();
