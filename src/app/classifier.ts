/** A classifier adapted to one task: predictions, and the file it is kept in. */
import { DataError, OptionError } from '../errors.ts';
import { type AdaptedModel, encodeAdapted } from '../experiments/adapted.ts';
import { type Shape, size } from '../graph/type.ts';
import { tracePredictor } from '../meta/adapt.ts';
import { softmax } from '../meta/evaluate.ts';
import type { Model } from '../nn/model.ts';
import type { Environment } from './environment.ts';
import { type ImageInput, type RawImage, writeImage } from './pixels.ts';
import type { SharedRuntime } from './shared-runtime.ts';

/** What is said of one input. */
export interface Prediction<L extends string = string> {
  /** The likeliest class. */
  readonly label: L;
  /** Its probability. */
  readonly probability: number;
  /** Of every class; they sum to 1. */
  readonly probabilities: Readonly<Record<L, number>>;
}

/**
 * A classifier that was fitted to a few examples.
 *
 * Batch norm has no running averages here, as in the paper: every input is normalized together with the
 * support set, the examples it was fitted to, and each input on its own (the paper's protocol without
 * transduction). So a prediction does not depend on what else is asked, the examples belong to the model
 * and are saved with it, and a prediction costs one forward pass over support + 1 images.
 */
export class Classifier<L extends string = string> {
  /** The classes, in the order they were first met in the examples. */
  readonly labels: readonly L[];
  /** Shape of one input, [height, width, channels]. */
  readonly inputShape: readonly number[];
  readonly #adapted: AdaptedModel;
  readonly #model: Model;
  readonly #environment: Environment;
  readonly #runtime: SharedRuntime;
  readonly #release: () => Promise<void>;
  #disposed = false;

  /** Made by `fit` and `loadAdapted`. */
  constructor(
    adapted: AdaptedModel & { readonly model: Model },
    environment: Environment,
    runtime: SharedRuntime,
  ) {
    this.#adapted = adapted;
    this.#model = adapted.model;
    this.labels = adapted.labels as readonly L[];
    this.inputShape = this.#model.inputShape;
    this.#environment = environment;
    this.#runtime = runtime;
    this.#release = runtime.hold();
  }

  /** How it was adapted: steps, batch, seed, mean loss of the steps. */
  get made(): Readonly<Record<string, unknown>> {
    return this.#adapted.made;
  }

  /**
   * Classes and probabilities of one input, or of each of many.
   * @throws {DataError} when an input has another size or is no brightness
   */
  predict(input: ImageInput, options?: PredictOptions): Promise<Prediction<L>>;
  predict(inputs: readonly ImageInput[], options?: PredictOptions): Promise<Prediction<L>[]>;
  async predict(
    given: ImageInput | readonly ImageInput[],
    { signal }: PredictOptions = {},
  ): Promise<Prediction<L> | Prediction<L>[]> {
    if (this.#disposed) throw new OptionError('predict: this classifier was disposed: load or fit it again');
    const isMany = Array.isArray(given);
    const inputs: readonly ImageInput[] = isMany ? given : [given as ImageInput];
    const release = this.#runtime.hold(); // also where it is disposed in the meantime
    try {
      const where = (i: number) => (isMany ? `predict: input ${i}` : 'predict');
      const predictions = await this.#predictAll(inputs, where, signal);
      return isMany ? predictions : predictions[0]!;
    } finally {
      await release();
    }
  }

  async #predictAll(
    inputs: readonly ImageInput[],
    where: (index: number) => string,
    signal?: AbortSignal,
  ): Promise<Prediction<L>[]> {
    const { settings, parameters, support } = this.#adapted;
    const count = support.length / size(this.inputShape);
    const predictor = await this.#runtime.compiled(`predict ${settings.ways} ${count}`, (here) =>
      here.compile(tracePredictor(this.#model, { support: count, query: 1, transductive: false })),
    );
    const runtime = await this.#runtime.get();
    const predictions: Prediction<L>[] = [];
    for (const [i, input] of inputs.entries()) {
      signal?.throwIfAborted();
      const queries = new Float32Array(size(this.inputShape));
      const image = await rawImage(input, {
        shape: this.inputShape,
        environment: this.#environment,
        where: where(i),
      });
      writeImage(image, this.inputShape, queries, 0, where(i));
      const stage = { executable: predictor, inputs: { parameters, inputs: support, queries } };
      const { outputs } = await runtime.run([stage], ['outputs']);
      predictions.push(this.#prediction(softmax(outputs as Float32Array)));
    }
    return predictions;
  }

  #prediction(values: readonly number[]): Prediction<L> {
    const best = values.indexOf(Math.max(...values));
    const entries = this.labels.map((label, i) => [label, values[i]!] as const);
    return {
      label: this.labels[best]!,
      probability: values[best]!,
      probabilities: Object.fromEntries(entries) as Record<L, number>,
    };
  }

  /** The bytes of a safetensors file that `loadAdapted` reads: weights, examples, labels. */
  save(): Uint8Array {
    return encodeAdapted(this.#adapted);
  }

  /** Frees what it holds; the last of a learner and its classifiers takes the compiled programs along. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#release();
  }
}

export interface PredictOptions {
  /** Stops between two inputs, by throwing its reason. */
  readonly signal?: AbortSignal;
}

/** Decodes what is only named. */
export async function rawImage(
  input: ImageInput,
  { shape, environment, where }: { shape: Shape; environment: Environment; where: string },
): Promise<RawImage> {
  if (typeof input !== 'string' && !(input instanceof URL)) return input;
  try {
    return await environment.readImage(input, shape);
  } catch (cause) {
    throw new DataError(`${where}: ${(cause as Error).message}`, { cause });
  }
}
