/** The outer step: how the directions of a meta-batch move the initialization. */
import { trace } from '../graph/trace.ts';
import { float32 } from '../graph/type.ts';
import { adam, type Optimizer, type OptimizerState, sgd } from '../optim/optimizer.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { prefixState, unprefixState } from './inner-loop.ts';

export type OuterOptimizerName = 'sgd' | 'adam';

/** The outer optimizers; their learning rate is the outer step ε, given at every step. */
export const outerOptimizers: Readonly<Record<OuterOptimizerName, Optimizer>> = {
  sgd: sgd({ learningRate: 1 }),
  adam: adam({ learningRate: 1 }),
};

/** Moves φ in place by the mean of `directions`; false, leaving all as it was, when that is not finite. */
export type OuterStep = (
  state: { readonly parameters: Float32Array; readonly outerState: OptimizerState },
  directions: readonly Float32Array[],
  epsilon: number,
) => Promise<boolean>;

/**
 * `sgd`: φ ← φ + ε·(1/n)Σ directionᵢ, equation (5). `adam`: Adam with learning rate ε on −(1/n)Σ directionᵢ/α,
 * which for Reptile is the gradient (φ − φ̃)/α.
 */
export async function compileOuterStep(
  runtime: Runtime,
  options: { readonly name: OuterOptimizerName; readonly innerLearningRate: number; readonly size: number },
): Promise<OuterStep> {
  const { name, innerLearningRate, size } = options;
  if (name === 'sgd') {
    return async ({ parameters }, directions, epsilon) => {
      const mean = meanOf(directions);
      if (mean === undefined) return false;
      for (let i = 0; i < parameters.length; i++) parameters[i] = parameters[i]! + epsilon * mean[i]!;
      return true;
    };
  }
  const optimizer = outerOptimizers[name];
  const vector = float32(size);
  const types = {
    parameters: vector,
    gradient: vector,
    learningRate: float32(),
    ...prefixState(optimizer.state(vector)),
  };
  const update = await runtime.compile(
    trace(types, (values) => {
      const { parameters, gradient, learningRate } = values;
      const next = optimizer.update({ parameters, gradient, learningRate, state: unprefixState(values) });
      return { parameters: next.parameters, ...prefixState(next.state) };
    }),
  );
  return async ({ parameters, outerState }, directions, epsilon) => {
    const mean = meanOf(directions);
    if (mean === undefined) return false;
    const gradient = mean.map((x) => (-x / innerLearningRate) * optimizer.gradientFactor);
    const learningRate = Float32Array.of(epsilon);
    const result = await update.run({ parameters, gradient, learningRate, ...prefixState(outerState) });
    parameters.set(result.parameters!);
    for (const [key, vector] of Object.entries(unprefixState(result))) {
      outerState[key]!.set(vector);
    }
    return true;
  };
}

/** The mean vector, or undefined when an element is not finite. */
function meanOf(vectors: readonly Float32Array[]): Float32Array | undefined {
  const mean = new Float32Array(vectors[0]!.length);
  let sum = 0; // NaN and infinity never leave a sum again
  for (let i = 0; i < mean.length; i++) {
    let total = 0;
    for (const vector of vectors) total += vector[i]!;
    mean[i] = total / vectors.length;
    sum += total;
  }
  return Number.isFinite(sum) ? mean : undefined;
}
