/** The other end of `pool.ts`: a thread that loads programs and runs stages of them. */
import { parentPort, workerData } from 'node:worker_threads';
import { DataError } from '../errors.ts';
import { loadNative } from './native.ts';
import { OnnxEngine } from './onnx.ts';
import type { Reply, Request, WorkerOptions } from './pool.ts';
import { ArrayStore, type Engine, type Loaded, runStages } from './program.ts';
import type { Arrays } from './runtime.ts';

const options = workerData as WorkerOptions;
const port = parentPort!;
const engine = options === 'native' ? undefined : new OnnxEngine(await import('onnxruntime-node'), options);
const load: Engine['load'] = async (program) => engine?.load(program) ?? loadNative(program);
const programs = new Map<number, Loaded>();
const store = new ArrayStore();

async function answer(request: Request): Promise<Arrays> {
  if ('load' in request) {
    programs.set(request.program, await load(request.load));
    return {};
  }
  if ('end' in request) {
    await Promise.all([...programs.values()].map((program) => program.release()));
    port.close(); // nothing keeps the thread alive any more
    return {};
  }
  for (const array of request.recycled) store.adopt(array);
  const stages = request.stages.map(({ program, inputs }) => ({ program: programs.get(program)!, inputs }));
  return runStages(stages, request.fetch, store);
}

async function reply(request: Request): Promise<void> {
  const { job } = request;
  try {
    const outputs = await answer(request);
    const buffers = new Set(Object.values(outputs).map(({ buffer }) => buffer));
    const own = [...buffers].filter((buffer) => buffer instanceof ArrayBuffer); // shared ones stay in place
    port.postMessage({ job, outputs } satisfies Reply, own);
  } catch (error) {
    const isDataError = error instanceof DataError;
    port.postMessage({ job, error: error as Error, isDataError } satisfies Reply);
  }
}

let last = Promise.resolve();
port.on('message', (request: Request) => {
  last = last.then(() => reply(request)); // one after another
});
