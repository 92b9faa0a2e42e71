/** Optimizers on flat parameter vectors, written once as traced arithmetic. */
import { OptionError } from '../errors.ts';
import { add, div, mul, sqrt, sub } from '../graph/elementwise.ts';
import type { Tensor } from '../graph/tensor.ts';
import { mapRecord } from '../graph/trace.ts';
import { float32, size, type TensorType } from '../graph/type.ts';

/** State vectors by name, as they lie in memory between programs. */
export type OptimizerState = Readonly<Record<string, Float32Array>>;

/** What a step is made from: parameters [P], their gradient [P], the state. */
export interface OptimizerStep {
  readonly parameters: Tensor;
  /** Multiplied by the optimizer's `gradientFactor`. */
  readonly gradient: Tensor;
  readonly state: Readonly<Record<string, Tensor>>;
  /** A learning rate known only at run time, as of a schedule. @default the optimizer's own */
  readonly learningRate?: Tensor;
}

/** A rule for gradient steps, in traced arithmetic; `sgd` and `adam` are two. */
export interface Optimizer {
  /** α of a step that is given no other. */
  readonly learningRate: number;
  /** What `update` wants the gradient multiplied by. A factor of the loss, it costs no pass over the gradient. */
  readonly gradientFactor: number;
  /** Types of the state's vectors, for parameters of type `parameters`. They start as zeros. */
  state(parameters: TensorType): Readonly<Record<string, TensorType>>;
  /** One step on traced values. */
  update(step: OptimizerStep): Pick<OptimizerStep, 'parameters' | 'state'>;
  /** By what each state vector decays in a step: v ← decay·v + new. */
  readonly decay: Readonly<Record<string, number>>;
}

/**
 * θ ← θ − α·g
 * @throws {OptionError} when the learning rate is not a number above 0
 */
export function sgd(options: { learningRate: number }): Optimizer {
  checkAbove0('sgd', options.learningRate);
  const gradientFactor = options.learningRate;
  return {
    learningRate: options.learningRate,
    gradientFactor,
    decay: {},
    state: () => ({}),
    update: ({ parameters, gradient, state, learningRate }) => ({
      parameters: sub(
        parameters,
        learningRate === undefined ? gradient : mul(gradient, mul(learningRate, 1 / gradientFactor)),
      ),
      state,
    }),
  };
}

export interface AdamOptions {
  learningRate: number;
  /** Decay of the first moments; 0, as the paper's inner loop has it, leaves them out. @default 0.9 */
  beta1?: number;
  /** Decay of the second moments. @default 0.999 */
  beta2?: number;
  /** ε̂, in TensorFlow's place: beside √v before its bias is corrected. @default 1e-8 */
  epsilon?: number;
}

/**
 * Adam in TensorFlow's form: θ ← θ − α·√(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε̂). In place of the step count t the
 * state carries 1−βᵗ, the sum of the weights in each moving average: it follows the recursion of the
 * average itself and loses no digits in float32.
 * @throws {OptionError} when the learning rate is not a number above 0, a decay not in [0, 1), or ε̂ below 0
 */
export function adam(options: AdamOptions): Optimizer {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = options;
  checkAbove0('adam', options.learningRate);
  for (const [name, value] of Object.entries({ beta1, beta2 })) {
    if (value >= 0 && value < 1) continue;
    throw new OptionError(`adam: ${name}: expected a number from 0 on and below 1, got ${value}`);
  }
  if (!(epsilon >= 0)) throw new OptionError(`adam: epsilon: expected a number from 0 on, got ${epsilon}`);
  const totalWeight = (old: Tensor, beta: number) => add(mul(old, beta), 1 - beta);
  const gradientFactor = Math.sqrt(1 - beta2); // its square is the weight of the newest second moment
  const first = { firstMoments: beta1, firstMomentsWeight: beta1 };
  const second = { secondMoments: beta2, secondMomentsWeight: beta2 };
  const decay: Record<string, number> = beta1 === 0 ? second : { ...first, ...second };
  return {
    learningRate: options.learningRate,
    gradientFactor,
    decay,
    state: (parameters) =>
      Object.fromEntries(
        Object.keys(decay).map((name) => [
          name,
          { ...parameters, shape: name.endsWith('Weight') ? [] : parameters.shape },
        ]),
      ),
    update({ parameters, gradient, state, learningRate = options.learningRate }) {
      const v = add(mul(state.secondMoments!, beta2), mul(gradient, gradient));
      const vWeight = totalWeight(state.secondMomentsWeight!, beta2);
      const secondState = { secondMoments: v, secondMomentsWeight: vWeight };
      const scale = mul(mul(sqrt(vWeight), learningRate), 1 / gradientFactor);
      const denominator = add(sqrt(v), epsilon);
      if (beta1 === 0) {
        const step = div(mul(gradient, scale), denominator);
        return { parameters: sub(parameters, step), state: secondState };
      }
      const m = add(mul(state.firstMoments!, beta1), mul(gradient, (1 - beta1) / gradientFactor));
      const mWeight = totalWeight(state.firstMomentsWeight!, beta1);
      const step = div(mul(m, mul(div(scale, mWeight), gradientFactor)), denominator);
      return {
        parameters: sub(parameters, step),
        state: { firstMoments: m, firstMomentsWeight: mWeight, ...secondState },
      };
    },
  };
}

function checkAbove0(where: string, learningRate: number): void {
  if (Number.isFinite(learningRate) && learningRate > 0) return;
  throw new OptionError(`${where}: learningRate: expected a number above 0, got ${learningRate}`);
}

/** A state of zeros for `parameters` parameters: no step taken. */
export function freshState(optimizer: Optimizer, parameters: number): OptimizerState {
  return Object.fromEntries(
    Object.entries(optimizer.state(float32(parameters))).map(([name, { shape }]) => [
      name,
      new Float32Array(size(shape)),
    ]),
  );
}

/**
 * The state after n tasks of k steps each, as if they had been taken one after another, from the states
 * `after` that each reached on its own from `state`. A moving average is a linear recursion, so
 * v ← β^(nk)·v + Σᵢ β^((n−i)k)·(vᵢ − β^k·v) is exact but for the gradients themselves, which saw the moments of
 * the start of the meta-batch.
 */
export function composeStates(
  optimizer: Optimizer,
  state: Readonly<Record<string, Tensor>>,
  after: readonly Readonly<Record<string, Tensor>>[],
  steps: number,
): Record<string, Tensor> {
  return mapRecord(state, (before, name) => {
    const decay = optimizer.decay[name]! ** steps;
    const decayed = mul(before, decay);
    return after.reduce(
      (value, { [name]: reached }) => add(mul(value, decay), sub(reached!, decayed)),
      before,
    );
  });
}
