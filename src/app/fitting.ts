/** Fitting: the inner loop on the examples of one task, in pieces between which it can be stopped. */
import { miniBatches } from '../data/mini-batches.ts';
import { Random } from '../data/random.ts';
import { checkCount, TrainingError } from '../errors.ts';
import type { Settings } from '../experiments/settings.ts';
import type { Initialization } from '../meta/adapt.ts';
import { InnerLoop, type Learner, prefixState } from '../meta/inner-loop.ts';
import { reptile } from '../meta/reptile.ts';
import type { SharedRuntime } from './shared-runtime.ts';

export interface FitOptions {
  /** Gradient steps; 0 predicts with the weights as they are. @default `evalSteps` of the training: 50 for images */
  readonly steps?: number;
  /** Examples in a step. @default `evalBatch` of the training, 5 for images, or all examples if there are fewer */
  readonly batch?: number;
  /** Of the mini-batches: the same seed and examples give the same bits. @default 0 */
  readonly seed?: number;
  /** Stops between two pieces of the work (a fifth of the steps each), by throwing its reason. */
  readonly signal?: AbortSignal;
  /** Called as steps are done. */
  readonly onProgress?: (steps: number, of: number) => void;
}

/** Options with their defaults. */
export interface FitPlan {
  readonly steps: number;
  readonly batch: number;
  readonly seed: number;
}

/**
 * @param examples how many there are
 * @throws {OptionError} when an option is out of range
 */
export function planFit(options: FitOptions, examples: number, settings: Settings): FitPlan {
  const { steps = settings.evalSteps, seed = 0 } = options;
  const { batch = Math.min(settings.evalBatch, examples) } = options;
  checkCount('fit: steps', steps, {
    from: 0,
    to: 10_000,
    remedy: 'more would only learn the examples by heart',
  });
  checkCount('fit: batch', batch, { to: examples, remedy: 'a step takes no more examples than there are' });
  checkCount('fit: seed', seed, { from: 0, remedy: 'leave it out for 0' });
  return { steps, batch, seed };
}

/** Between so many pieces it looks up. */
const pieces = 5;

export interface Fitting {
  readonly runtime: SharedRuntime;
  readonly learner: Learner;
  /** Under which the compiled inner loop is kept, beside its sizes. */
  readonly key: string;
  readonly start: Initialization;
  /** float32 [examples, …]. */
  readonly inputs: Float32Array;
  /** int32 [examples] or float32 [examples, outputs]. */
  readonly targets: Int32Array | Float32Array;
  readonly examples: number;
  readonly plan: FitPlan;
  readonly options: FitOptions;
}

export interface Fitted {
  /** φ̃, float32 [P]. */
  readonly parameters: Float32Array;
  /** Mean loss of the steps; 0 without steps. */
  readonly loss: number;
}

/** Adapts to the examples. */
export async function fitTo(fitting: Fitting): Promise<Fitted> {
  const { runtime, learner, key, start, inputs, targets, examples, plan, options } = fitting;
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const { steps, batch, seed } = plan;
  if (steps === 0) return { parameters: start.parameters, loss: 0 };
  const loop = await runtime.compiled(`fit ${key} ${examples} ${steps} ${batch}`, (here) =>
    InnerLoop.compile(here, { learner, algorithm: reptile, examples, segments: [{ steps, batch }] }),
  );
  const here = await runtime.get();
  const state = prefixState(start.innerState);
  const first = {
    initial: start.parameters,
    parameters: start.parameters,
    ...state,
    lossTotal: new Float32Array(1),
  };
  const random = Random.stream(seed, 'fit');
  const batches = miniBatches(random, { examples, batch, batches: steps });
  const chunks = loop.chunks({ start: { ...first, inputs, targets }, batches }, pieces);
  let known: Record<string, Int32Array | Float32Array> = {};
  for (const [i, { executable, inputs: given }] of chunks.entries()) {
    signal?.throwIfAborted();
    known = { ...known, ...(given as typeof known) };
    const results = await here.run(
      [{ executable, inputs: known }],
      ['parameters', 'lossTotal', ...Object.keys(state)],
    );
    known = { ...known, ...(results as typeof known) };
    onProgress?.(Math.round((steps * (i + 1)) / chunks.length), steps);
    await nextTurn();
  }
  signal?.throwIfAborted();
  const [parameters, lossTotal] = [known.parameters as Float32Array, known.lossTotal as Float32Array];
  if (!parameters.every(Number.isFinite)) {
    throw new TrainingError(
      'fit: the parameters are not finite any more: see that the examples are like those trained on',
    );
  }
  return { parameters, loss: lossTotal[0]! / steps };
}

/** The next turn of the event loop: a page may draw, a button be pressed. Sooner than by `setTimeout`. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
