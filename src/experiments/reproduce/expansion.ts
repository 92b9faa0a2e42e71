/**
 * The programs behind §5: what k steps of SGD contribute to each algorithm's gradient, and the two terms the
 * paper expands it in. All gradients are of the mini-batch losses L_1 … L_k of one task, from one φ.
 */
import { add, mul, sub } from '../../graph/elementwise.ts';
import { grad } from '../../graph/grad.ts';
import { sum } from '../../graph/reductions.ts';
import { stack, take } from '../../graph/shaping.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { type Graph, trace } from '../../graph/trace.ts';
import type { TensorType } from '../../graph/type.ts';
import type { Learner } from '../../meta/inner-loop.ts';

/** What is differentiated: a learner without its optimizer, since the inner loop here is always plain SGD. */
export type Problem = Omit<Learner, 'optimizer'>;

export interface ExpansionSize {
  /** k: mini-batches of a task, one an inner step. */
  readonly steps: number;
  /** Examples in a mini-batch. */
  readonly batch: number;
}

type BatchInputs = 'parameters' | 'inputs' | 'targets';

/** Types of φ [P], and the mini-batches' inputs [k, batch, …] and targets [k, batch, …]. */
function typesOf({ model, target, dtype = 'float32' }: Problem, { steps, batch }: ExpansionSize) {
  return {
    parameters: { dtype, shape: [model.layout.size] },
    inputs: { dtype, shape: [steps, batch, ...model.inputShape] },
    targets: { dtype: target.dtype, shape: [steps, batch, ...target.shape] },
  } satisfies Record<BatchInputs, TensorType>;
}

/** L_1 … L_k as functions of the parameters. */
function lossesOf(
  { model, loss }: Problem,
  { steps }: ExpansionSize,
  { inputs, targets }: Readonly<Record<'inputs' | 'targets', Tensor>>,
): ((parameters: Tensor) => Tensor)[] {
  return Array.from({ length: steps }, (_, i) => {
    const [batch, labels] = [take(inputs, i), take(targets, i)];
    return (parameters: Tensor) => loss(model.apply(parameters, batch), labels);
  });
}

/**
 * The gradients g of the algorithms (§5.1) for one task and one order of its mini-batches, each [P]:
 * Reptile g_1 + … + g_k, FOMAML g_k, MAML ∂L_k(φ_k)/∂φ_1, with φ_{i+1} = φ_i − α·g_i. α is an input.
 */
export function traceGradients(
  problem: Problem,
  size: ExpansionSize,
): Graph<BatchInputs | 'alpha', 'reptile' | 'fomaml' | 'maml'> {
  const types = { ...typesOf(problem, size), alpha: { dtype: problem.dtype ?? 'float32', shape: [] } };
  return trace(types, ({ parameters, alpha, ...batches }) => {
    const losses = lossesOf(problem, size, batches);
    const tail = losses.pop()!;
    const gradients: Tensor[] = []; // g_1 … g_k
    let adapted = parameters; // φ_k
    const maml = grad((initial: Tensor) => {
      adapted = initial;
      for (const loss of losses) {
        const gradient = grad(loss)(adapted);
        gradients.push(gradient);
        adapted = sub(adapted, mul(gradient, alpha));
      }
      return tail(adapted);
    })(parameters);
    const fomaml = grad(tail)(adapted);
    return { maml, fomaml, reptile: [...gradients, fomaml].reduce((a, b) => add(a, b)) };
  });
}

/**
 * The terms of the expansion for one task, averaged over all orders of its mini-batches, each [P]:
 * avgGrad = (1/k)·Σ_i ḡ_i and avgGradInner = 1/(k(k−1))·Σ_{i≠j} H̄_i·ḡ_j, gradients and Hessians at φ. The
 * products with Hessians are exact: H̄·v is the gradient of ḡ·v.
 */
export function traceTerms(
  problem: Problem,
  size: ExpansionSize,
): Graph<BatchInputs, 'avgGrad' | 'avgGradInner'> {
  const { steps } = size;
  return trace(typesOf(problem, size), ({ parameters, ...batches }) => {
    const losses = lossesOf(problem, size, batches);
    const gradients = losses.map((loss) => grad(loss)(parameters)); // ḡ_1 … ḡ_k
    const total = gradients.reduce((a, b) => add(a, b));
    const products = losses.map((loss, i) => {
      const others = sub(total, gradients[i]!); // a constant to `grad`, which differentiates by φ alone
      return grad((phi: Tensor) => sum(mul(grad(loss)(phi), others)))(parameters); // H̄_i·Σ_{j≠i} ḡ_j
    });
    const inner = products.reduce((a, b) => add(a, b));
    return { avgGrad: mul(total, 1 / steps), avgGradInner: mul(inner, 1 / (steps * (steps - 1))) };
  });
}

/**
 * How far the gradients of two mini-batches of one task agree at φ: their inner product ḡ_1·ḡ_2, which
 * AvgGradInner raises, and their squared lengths.
 */
export function traceAgreement(problem: Problem, batch: number): Graph<BatchInputs, 'product' | 'squares'> {
  const size = { steps: 2, batch };
  return trace(typesOf(problem, size), ({ parameters, ...batches }) => {
    const [first, second] = lossesOf(problem, size, batches).map((loss) => grad(loss)(parameters));
    return {
      product: sum(mul(first!, second!)),
      squares: stack([sum(mul(first!, first!)), sum(mul(second!, second!))], 0),
    };
  });
}
