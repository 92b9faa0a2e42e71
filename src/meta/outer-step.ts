/** The outer step: how what a meta-batch comes to moves the initialization and the inner optimizer's state. */
import { add, mul } from '../graph/elementwise.ts';
import { sum } from '../graph/reductions.ts';
import type { Tensor } from '../graph/tensor.ts';
import { prefixed, trace, unprefixed } from '../graph/trace.ts';
import { float32, type TensorType } from '../graph/type.ts';
import { adam, composeStates, type Optimizer, type OptimizerState, sgd } from '../optim/optimizer.ts';
import type { Arrays, Runtime } from '../runtime/runtime.ts';

export type OuterOptimizerName = 'sgd' | 'adam';

/** The outer optimizers; their learning rate is the outer step ε, given at every step. */
export const outerOptimizers: Readonly<Record<OuterOptimizerName, Optimizer>> = {
  sgd: sgd({ learningRate: 1 }),
  adam: adam({ learningRate: 1 }),
};

export interface OuterStepOptions {
  readonly runtime: Runtime;
  readonly name: OuterOptimizerName;
  readonly innerOptimizer: Optimizer;
  /** P: parameters. */
  readonly size: number;
  /** n: tasks of a meta-batch. */
  readonly metaBatch: number;
  /** Updates of the inner optimizer's state in a task, if it is carried over from tasks run side by side. */
  readonly carriedUpdates: number | undefined;
}

/** What an outer step changes in place. */
export interface OuterStepState {
  readonly parameters: Float32Array;
  readonly innerState: OptimizerState;
  readonly outerState: OptimizerState;
}

/** What one task came to: the direction it pulls φ in, and the state it left the inner optimizer in. */
export interface TaskResult {
  readonly direction: Float32Array;
  readonly innerState: OptimizerState;
}

/** Makes the step; false, leaving all as it was, when the mean direction is not finite. */
export type OuterStep = (
  state: OuterStepState,
  results: readonly TaskResult[],
  epsilon: number,
) => Promise<boolean>;

/**
 * `sgd`: φ ← φ + ε·(1/n)Σ directionᵢ, equation (5). `adam`: Adam with learning rate ε on −(1/n)Σ directionᵢ/α,
 * which for Reptile is the gradient (φ − φ̃)/α. The inner optimizer's state is composed from those of the tasks.
 */
export async function compileOuterStep(options: OuterStepOptions): Promise<OuterStep> {
  const { name, innerOptimizer, size, metaBatch, carriedUpdates } = options;
  const runtime = options.runtime.here;
  const optimizer = outerOptimizers[name];
  const vector = float32(size);
  const tasks = Array.from({ length: metaBatch }, (_, task) => task);
  const inner = carriedUpdates === undefined ? {} : innerOptimizer.state(vector);
  const types: Record<string, TensorType> = {
    parameters: vector,
    epsilon: float32(),
    ...prefixed('outer.', optimizer.state(vector)),
    ...prefixed('inner.', inner),
  };
  for (const task of tasks) {
    types[`direction${task}`] = vector;
    Object.assign(types, prefixed(`inner${task}.`, inner));
  }
  const factor = name === 'adam' ? -optimizer.gradientFactor / innerOptimizer.learningRate : -1; // sgd's is 1
  const step = await runtime.compile(
    trace(types, (values) => {
      const total = tasks.map((task) => values[`direction${task}`]!).reduce((a, b) => add(a, b));
      const next = optimizer.update({
        parameters: values.parameters!,
        gradient: mul(total, factor / metaBatch),
        learningRate: values.epsilon,
        state: unprefixed('outer.', values),
      });
      const after = tasks.map((task) => unprefixed(`inner${task}.`, values));
      const composed = composeStates(
        innerOptimizer,
        unprefixed('inner.', values),
        after,
        carriedUpdates ?? 0,
      );
      return {
        parameters: next.parameters,
        ...prefixed('outer.', next.state),
        ...prefixed('inner.', composed),
        check: sum(total), // NaN and infinity never leave a sum again
      } as Record<string, Tensor>;
    }),
  );
  return async (state, results, epsilon) => {
    const given: Record<string, Float32Array> = {
      parameters: state.parameters,
      epsilon: Float32Array.of(epsilon),
      ...prefixed('outer.', state.outerState),
      ...(carriedUpdates === undefined ? {} : prefixed('inner.', state.innerState)),
    };
    results.forEach(({ direction, innerState }, task) => {
      given[`direction${task}`] = direction;
      if (carriedUpdates !== undefined) Object.assign(given, prefixed(`inner${task}.`, innerState));
    });
    const next: Arrays = await step.run(given);
    const finite = Number.isFinite(next.check![0]);
    if (finite) {
      state.parameters.set(next.parameters!);
      for (const [key, moments] of Object.entries(state.outerState)) moments.set(next[`outer.${key}`]!);
      for (const key of Object.keys(inner)) state.innerState[key]!.set(next[`inner.${key}`]!);
    }
    runtime.recycle(next);
    return finite;
  };
}
