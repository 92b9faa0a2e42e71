/** Meta-trained weights of a classifier, to be fitted to tasks. */
import { DataError, OptionError } from '../errors.ts';
import { type HeadStart, withHead } from '../experiments/heads.ts';
import type { Settings } from '../experiments/settings.ts';
import { layoutFor } from '../experiments/setup.ts';
import type { TrainedWeights } from '../experiments/weights.ts';
import { int32, size } from '../graph/type.ts';
import type { CheckpointLayout } from '../meta/checkpoint.ts';
import { softmaxCrossEntropy } from '../nn/losses.ts';
import { Classifier, rawImage } from './classifier.ts';
import type { Environment } from './environment.ts';
import { type FitOptions, fitTo, planFit } from './fitting.ts';
import { type ImageInput, writeImage } from './pixels.ts';
import type { SharedRuntime } from './shared-runtime.ts';

/** One labelled example. */
export interface LabelledImage<L extends string = string> {
  readonly input: ImageInput;
  readonly label: L;
}

/** Examples as a list, or a list for each class: `{ cat: [image, image], dog: [image] }`. */
export type ClassExamples<L extends string = string> =
  | readonly LabelledImage<L>[]
  | Readonly<Record<L, readonly ImageInput[]>>;

export interface ClassFitOptions extends FitOptions {
  /**
   * The last layer to start from. `trained`: the one meta-trained, for as many classes as it has or fewer.
   * `fresh`: a new one for any number of classes, on the meta-trained body; for more classes than were
   * trained with. What it costs in accuracy stands in docs/guides/first-classifier.md. @default 'trained'
   */
  readonly head?: HeadStart;
}

/** Most classes of a task: the head's size is for a few. */
const mostClasses = 1000;

/** Weights that a few examples and gradient steps make a `Classifier` of. Made by `load`. */
export class ClassLearner {
  /** Shape of one input, [height, width, channels]. */
  readonly inputShape: readonly number[];
  /** Classes of the tasks it was trained on: the most without a fresh head. */
  readonly ways: number;
  /** How the weights came about: plain data, such as the accuracy measured. */
  readonly made: Readonly<Record<string, unknown>>;
  readonly #weights: TrainedWeights;
  readonly #environment: Environment;
  readonly #runtime: SharedRuntime;
  readonly #release: () => Promise<void>;
  /** By number of ways: tracing a network takes a while. */
  readonly #layouts = new Map<number, CheckpointLayout>();
  #disposed = false;

  /** Made by `load`. */
  constructor(weights: TrainedWeights, environment: Environment, runtime: SharedRuntime) {
    this.#weights = weights;
    this.#environment = environment;
    this.#runtime = runtime;
    this.#release = runtime.hold();
    this.ways = weights.settings.ways;
    this.inputShape = this.#layoutFor(this.ways).model.inputShape;
    this.made = weights.made;
  }

  /** The settings of the training. */
  get settings(): Settings {
    return this.#weights.settings;
  }

  /**
   * Adapts to examples of two classes or more, by the steps of Adam (β₁ = 0) it was evaluated with, from the
   * weights and second moments of the training; the learner itself stays as it is. Classes may have
   * different numbers of examples. The inner loop is compiled once for each number of classes, examples,
   * steps and batch, so tasks of one size are fast from the second on.
   *
   * @throws {DataError} when there are no examples, one class, an input of another size or a value that is no
   *   brightness
   * @throws {OptionError} when an option is out of range, or there are more classes than the head has
   */
  async fit<const L extends string>(
    examples: ClassExamples<L>,
    options: ClassFitOptions = {},
  ): Promise<Classifier<L>> {
    if (this.#disposed) throw new OptionError('fit: this learner was disposed: load it again');
    const { head = 'trained', signal } = options;
    signal?.throwIfAborted();
    const release = this.#runtime.hold(); // also where it is disposed in the meantime
    try {
      const list = listed(examples);
      const labels = [...new Set(list.map(({ label }) => label))];
      this.#checkClasses(labels, head);
      const pixels = size(this.inputShape);
      const inputs = new Float32Array(list.length * pixels); // [S, height, width, channels]
      for (const [i, { input, label }] of list.entries()) {
        const where = `fit: example ${i} ("${label}")`;
        const image = await rawImage(input, {
          shape: this.inputShape,
          environment: this.#environment,
          where,
        });
        writeImage(image, this.inputShape, inputs, i * pixels, where);
        signal?.throwIfAborted();
      }
      const { settings, start } = this.#weights;
      const plan = planFit(options, list.length, settings);
      const ways = labels.length;
      const task = { ...settings, ways, shots: Math.ceil(list.length / ways), evalBatch: plan.batch };
      const { model, innerOptimizer } = this.#layoutFor(ways);
      const { parameters, loss } = await fitTo({
        runtime: this.#runtime,
        key: `${ways}`,
        learner: {
          model,
          optimizer: innerOptimizer,
          loss: softmaxCrossEntropy(settings.loss),
          target: int32(),
        },
        start: withHead(start, {
          modelFor: (count) => this.#layoutFor(count).model,
          from: this.ways,
          to: ways,
          head,
        }),
        inputs,
        targets: Int32Array.from(list, ({ label }) => labels.indexOf(label)),
        examples: list.length,
        plan,
        options,
      });
      const made = { ...plan, head, loss };
      const adapted = { settings: task, parameters, labels, support: inputs, made, model };
      return new Classifier<L>(adapted, this.#environment, this.#runtime);
    } finally {
      await release();
    }
  }

  #layoutFor(ways: number): CheckpointLayout {
    const known = this.#layouts.get(ways);
    if (known !== undefined) return known;
    const layout = layoutFor({ ...this.#weights.settings, ways });
    this.#layouts.set(ways, layout);
    return layout;
  }

  #checkClasses(labels: readonly string[], head: HeadStart): void {
    const strange = labels.find((label) => typeof label !== 'string');
    if (strange !== undefined) {
      throw new DataError(`fit: expected labels that are strings, got ${String(strange)}: name the classes`);
    }
    if (head !== 'trained' && head !== 'fresh') {
      throw new OptionError(`fit: head: expected 'trained' or 'fresh', got ${String(head)}`);
    }
    if (labels.length === 0) {
      throw new DataError('fit: no examples: give one or more of every class, as { input, label }');
    }
    if (labels.length === 1) {
      throw new DataError(
        `fit: all examples are of one class, "${labels[0]}": give examples of another to tell it from`,
      );
    }
    if (head === 'trained' && labels.length > this.ways) {
      throw new OptionError(
        `fit: ${labels.length} classes, but the weights were trained for ${this.ways}: ` +
          "pass head: 'fresh' for a new last layer, or take weights for more ways",
      );
    }
    if (labels.length > mostClasses) {
      throw new OptionError(`fit: ${labels.length} classes are more than ${mostClasses}: give fewer`);
    }
  }

  /** Frees what it holds; classifiers that came of it go on until they are disposed, too. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#release();
  }
}

function listed<L extends string>(examples: ClassExamples<L>): LabelledImage<L>[] {
  if (Array.isArray(examples)) return [...(examples as readonly LabelledImage<L>[])];
  const classes = Object.entries(examples as Readonly<Record<L, readonly ImageInput[]>>);
  return (classes as [L, readonly ImageInput[]][]).flatMap(([label, inputs]) => {
    if (!Array.isArray(inputs) || inputs.length === 0) {
      throw new DataError(`fit: class "${label}" has no examples: give it a list of one or more`);
    }
    return inputs.map((input) => ({ input, label }));
  });
}
