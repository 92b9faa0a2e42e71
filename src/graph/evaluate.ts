/** Reference evaluation: every operator by its plain rule, one after another. Slow and simple, for tests. */
import { DataError } from '../errors.ts';
import { isOperation, rulesOf } from './operators.ts';
import { isKind, type Operator, type Tensor } from './tensor.ts';
import { type Graph, mapRecord, nodesOf } from './trace.ts';
import { arrayOf, formatType, type TypedArray, type Value } from './type.ts';

/** The value of one operation whose inputs' values are known. */
export function evaluateNode(node: Tensor<Operator>, inputs: readonly Value[]): Value {
  const out: Value = { dtype: node.dtype, shape: node.shape, data: arrayOf(node.dtype, node.size) };
  rulesOf(node).evaluate(inputs, node.attributes, out);
  return out;
}

/** The outputs of `graph` for the given inputs, row-major. @throws {DataError} when one is absent or of another length */
export function evaluate<In extends string, Out extends string>(
  graph: Graph<In, Out>,
  inputs: Readonly<Record<In, TypedArray>>,
): Record<Out, TypedArray> {
  const values = new Map<Tensor, Value>();
  for (const node of nodesOf(Object.values(graph.outputs))) {
    if (isKind(node, 'input')) {
      const data = inputs[node.attributes.name as In] as TypedArray | undefined;
      if (data?.length !== node.size) {
        throw new DataError(
          `evaluate: input "${node.attributes.name}" is ${formatType(node)}, got ${data === undefined ? 'nothing' : `${data.length} elements`}`,
        );
      }
      values.set(node, { dtype: node.dtype, shape: node.shape, data });
    } else if (isKind(node, 'constant')) {
      values.set(node, { dtype: node.dtype, shape: node.shape, data: node.attributes.data });
    } else if (isOperation(node)) {
      const known = node.inputs.map((source) => values.get(source)!);
      values.set(node, evaluateNode(node, known));
    }
  }
  return mapRecord(graph.outputs, (node) => values.get(node)!.data);
}
