/** The full table of operators and their rules. */
import { convolution } from './convolution.ts';
import { elementwise } from './elementwise.ts';
import { linear } from './linear.ts';
import { reductions } from './reductions.ts';
import { shaping } from './shaping.ts';
import type { NodeKind, Operator, Rules, RulesOf, Tensor } from './tensor.ts';

export const operators: RulesOf<Operator> = {
  ...elementwise,
  ...shaping,
  ...reductions,
  ...linear,
  ...convolution,
};

/** True for nodes made by an operator: all but inputs and constants. */
export function isOperation(tensor: Tensor): tensor is Tensor<Operator> {
  return Object.hasOwn(operators, tensor.kind satisfies NodeKind);
}

/** The rules of the operator that made `node`, with their attributes' type forgotten. */
export function rulesOf(node: Tensor<Operator>): Rules<Operator> {
  return operators[node.kind] as unknown as Rules<Operator>;
}
