/** A graph as text: one line an operation, in an order that can be run. */
import { isKind, type Tensor } from './tensor.ts';
import { type Graph, nodesOf } from './trace.ts';
import { formatType } from './type.ts';

/**
 *     (x: float32[5,4], w: float32[4,2])
 *       %0 = matmul(x, w)      float32[5,2]
 *       %1 = tanh(%0)          float32[5,2]
 *     return y: %1
 */
export function printGraph(graph: Graph): string {
  const names = new Map<Tensor, string>();
  const lines: string[] = [];
  const nodes = nodesOf(Object.values(graph.outputs));
  const rows: [string, string][] = [];
  for (const node of nodes) {
    if (isKind(node, 'input')) {
      names.set(node, node.attributes.name);
    } else if (isKind(node, 'constant')) {
      names.set(node, formatConstant(node));
    } else {
      const name = `%${rows.length}`;
      names.set(node, name);
      const parts = [...node.inputs.map((source) => names.get(source)!), ...formatAttributes(node)];
      rows.push([`${name} = ${node.kind}(${parts.join(', ')})`, formatType(node)]);
    }
  }
  const inputs = Object.entries(graph.inputs).map(([name, node]) => `${name}: ${formatType(node)}`);
  lines.push(`(${inputs.join(', ')})`);
  const width = rows.reduce((most, [left]) => Math.max(most, Math.min(left.length, 60)), 0);
  for (const [left, right] of rows) lines.push(`  ${left.padEnd(width)}  ${right}`);
  const outputs = Object.entries(graph.outputs).map(([name, node]) => `${name}: ${names.get(node)!}`);
  lines.push(`return ${outputs.join(', ')}`);
  return lines.join('\n');
}

function formatConstant(node: Tensor<'constant'>): string {
  const { data } = node.attributes;
  if (node.rank === 0) return String(Number(data[0]!.toPrecision(7)));
  return data.length <= 8
    ? `[${Array.from(data, (x) => Number(x.toPrecision(7))).join(' ')}]`
    : formatType(node);
}

function formatAttributes(node: Tensor): string[] {
  return Object.entries(node.attributes).flatMap(([name, value]) =>
    value === false ? [] : [value === true ? name : `${name} ${JSON.stringify(value)}`],
  );
}
