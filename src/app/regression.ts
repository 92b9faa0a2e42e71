/** Regression: meta-trained weights fitted to a few points of a function, and the function that comes of it. */
import { DataError, OptionError } from '../errors.ts';
import { type AdaptedModel, encodeAdapted } from '../experiments/adapted.ts';
import type { Settings } from '../experiments/settings.ts';
import { layoutFor } from '../experiments/setup.ts';
import type { TrainedWeights } from '../experiments/weights.ts';
import { trace } from '../graph/trace.ts';
import { float32 } from '../graph/type.ts';
import { squaredError } from '../nn/losses.ts';
import { type FitOptions, fitTo, planFit } from './fitting.ts';
import type { SharedRuntime } from './shared-runtime.ts';

/** One point of the function. */
export interface Point {
  readonly input: number;
  readonly target: number;
}

/** Weights that a few points and gradient steps make a `Regressor` of. Made by `load` with `targets: 'values'`. */
export class ValueLearner {
  readonly made: Readonly<Record<string, unknown>>;
  readonly #weights: TrainedWeights;
  readonly #runtime: SharedRuntime;
  readonly #release: () => Promise<void>;
  #disposed = false;

  /** Made by `load`. */
  constructor(weights: TrainedWeights, runtime: SharedRuntime) {
    this.#weights = weights;
    this.made = weights.made;
    this.#runtime = runtime;
    this.#release = runtime.hold();
  }

  /** The settings of the training. */
  get settings(): Settings {
    return this.#weights.settings;
  }

  /**
   * Adapts to points of one function; the learner itself stays as it is.
   * @throws {DataError} when there are no points, or a number is not finite
   * @throws {OptionError} when an option is out of range
   */
  async fit(points: readonly Point[], options: FitOptions = {}): Promise<Regressor> {
    if (this.#disposed) throw new OptionError('fit: this learner was disposed: load it again');
    if (points.length === 0) throw new DataError('fit: no points: give one or more, as { input, target }');
    for (const [i, { input, target }] of points.entries()) {
      if (Number.isFinite(input) && Number.isFinite(target)) continue;
      throw new DataError(
        `fit: point ${i}: expected finite numbers, got ${input} and ${target}: leave it out`,
      );
    }
    const release = this.#runtime.hold();
    try {
      const { settings, start } = this.#weights;
      const plan = planFit(options, points.length, settings);
      const { model, innerOptimizer } = layoutFor(settings);
      const { parameters, loss } = await fitTo({
        runtime: this.#runtime,
        key: 'values',
        learner: {
          model,
          optimizer: innerOptimizer,
          loss: squaredError(settings.loss),
          target: float32(1),
        },
        start,
        inputs: Float32Array.from(points, ({ input }) => input),
        targets: Float32Array.from(points, ({ target }) => target),
        examples: points.length,
        plan,
        options,
      });
      const task = { ...settings, shots: points.length, evalBatch: plan.batch };
      const made = { ...plan, loss };
      const adapted = { settings: task, parameters, labels: [], support: new Float32Array(0), made };
      return new Regressor(adapted, this.#runtime);
    } finally {
      await release();
    }
  }

  /** Frees what it holds; regressors that came of it go on until they are disposed, too. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#release();
  }
}

/** Inputs of one run; the last run is filled up. */
const block = 64;

/** A function adapted to a few points. Made by `fit` and `loadAdapted`. */
export class Regressor {
  readonly #adapted: AdaptedModel;
  readonly #runtime: SharedRuntime;
  readonly #release: () => Promise<void>;
  #disposed = false;

  /** Made by `fit` and `loadAdapted`. */
  constructor(adapted: AdaptedModel, runtime: SharedRuntime) {
    this.#adapted = adapted;
    this.#runtime = runtime;
    this.#release = runtime.hold();
  }

  /** How it was adapted: steps, batch, seed, mean loss of the steps. */
  get made(): Readonly<Record<string, unknown>> {
    return this.#adapted.made;
  }

  /**
   * The value at one input, or at each of many.
   * @throws {DataError} when an input is not finite
   */
  predict(input: number): Promise<number>;
  predict(inputs: readonly number[] | Float32Array): Promise<number[]>;
  async predict(given: number | readonly number[] | Float32Array): Promise<number | number[]> {
    if (this.#disposed) throw new OptionError('predict: this regressor was disposed: load or fit it again');
    const inputs = typeof given === 'number' ? [given] : [...given];
    const bad = inputs.findIndex((input) => !Number.isFinite(input));
    if (bad >= 0) throw new DataError(`predict: input ${bad}: expected a finite number, got ${inputs[bad]}`);
    const release = this.#runtime.hold(); // also where it is disposed in the meantime
    try {
      const values = await this.#valuesAt(inputs);
      return typeof given === 'number' ? values[0]! : values;
    } finally {
      await release();
    }
  }

  async #valuesAt(inputs: readonly number[]): Promise<number[]> {
    const { settings, parameters } = this.#adapted;
    const { model } = layoutFor(settings);
    const types = { parameters: float32(model.layout.size), queries: float32(block, ...model.inputShape) };
    const predictor = await this.#runtime.compiled('predict values', (here) =>
      here.compile(
        trace(types, ({ parameters, queries }) => ({ outputs: model.apply(parameters, queries) })),
      ),
    );
    const runtime = await this.#runtime.get();
    const values: number[] = [];
    for (let i = 0; i < inputs.length; i += block) {
      const queries = new Float32Array(block);
      queries.set(inputs.slice(i, i + block));
      const stage = { executable: predictor, inputs: { parameters, queries } };
      const { outputs } = await runtime.run([stage], ['outputs']);
      values.push(...(outputs as Float32Array).subarray(0, inputs.length - i));
    }
    return values;
  }

  /** The bytes of a safetensors file that `loadAdapted` reads. */
  save(): Uint8Array {
    return encodeAdapted(this.#adapted);
  }

  /** Frees what it holds; the last of a learner and its regressors takes the compiled programs along. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#release();
  }
}
