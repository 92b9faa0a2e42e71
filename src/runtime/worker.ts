/** The other end of `pool.ts`: a thread that loads programs and runs stages of them. */
import { parentPort, workerData } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import type { Reply, Request } from './pool.ts';
import { LoadedProgram, type LoadOptions, runStages } from './program.ts';
import type { Arrays } from './runtime.ts';

const options = workerData as LoadOptions;
const port = parentPort!;
const programs = new Map<number, LoadedProgram>();

async function answer(request: Request): Promise<Arrays> {
  if ('load' in request) {
    programs.set(request.program, await LoadedProgram.load(ort, request.load, options));
    return {};
  }
  const stages = request.stages.map(({ program, inputs }) => ({ program: programs.get(program)!, inputs }));
  return runStages(stages, request.fetch);
}

port.on('message', async (request: Request) => {
  const { job } = request;
  try {
    const outputs = await answer(request);
    const buffers = new Set(Object.values(outputs).map(({ buffer }) => buffer as ArrayBuffer));
    port.postMessage({ job, outputs } satisfies Reply, [...buffers]);
  } catch (error) {
    port.postMessage({ job, error: error as Error } satisfies Reply);
  }
});
