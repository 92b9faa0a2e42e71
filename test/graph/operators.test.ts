/** The contract of every operator, on the cases of cases.ts. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { evaluate, type Operator } from '../../src/graph/index.ts';
import { nodesOf } from '../../src/graph/trace.ts';
import { isFloat } from '../../src/graph/type.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import { engines } from '../runtime/engines.ts';
import { cases, compositions } from './cases.ts';
import {
  assertClose,
  type Case,
  caseGraph,
  caseInputs,
  centralDifferences,
  expectedType,
  type Float,
  floatsOf,
  variablesOf,
} from './contract.ts';

const runtimes = await Promise.all(engines.map((provider) => nodeRuntime({ provider })));
after(() => Promise.all(runtimes.map((runtime) => runtime.dispose())));

/** Operators that only move or compare elements: every engine must agree to the bit. */
const exact: ReadonlySet<string> = new Set<Operator>([
  ...(['neg', 'relu', 'abs', 'sign', 'maximum', 'minimum', 'select', 'identity', 'stopGradient'] as const),
  ...(['reshape', 'broadcastTo', 'transpose', 'slice', 'pad', 'concat', 'gather', 'max'] as const),
]);

/** The graph of an operator's case has that operator in it, and its value is of the expected type. */
function checkType(one: Case, float: Float, operator: string): void {
  const { y } = caseGraph(one, float).outputs;
  const { dtype, shape } = y!;
  assert.deepEqual({ dtype, shape }, expectedType(one, float));
  if (operator in cases) assert.ok(nodesOf([y!]).some(({ kind }) => kind === operator));
}

/** The gradient agrees with central differences, and so does the gradient of the gradient. */
function checkGradients(one: Case): void {
  const graph = caseGraph(one, 'float64');
  const inputs = caseInputs(one, 'float64');
  const values = evaluate(graph, inputs);
  for (const name of variablesOf(one)) {
    const { first, second } = centralDifferences(graph, inputs, name);
    const zeros = new Float64Array(first.length);
    assertClose(values[`first ${name}`]!, one.stopped ? zeros : first, 1e-6, `gradient by ${name}`);
    assertClose(values[`second ${name}`]!, one.stopped ? zeros : second, 1e-5, `second gradient by ${name}`);
  }
}

/** Every engine computes what the reference evaluation does: the value and both gradients. */
async function checkEngines(one: Case, float: Float, operator: string): Promise<void> {
  const graph = caseGraph(one, float);
  const inputs = caseInputs(one, float);
  const expected = evaluate(graph, inputs);
  const rounding = float === 'float32' ? 4e-6 : 1e-14;
  for (const runtime of runtimes) {
    const actual = await (await runtime.compile(graph)).run(inputs);
    for (const [name, { dtype }] of Object.entries(graph.outputs)) {
      const same = !isFloat(dtype) || (name === 'y' && exact.has(operator));
      assertClose(actual[name]!, expected[name]!, same ? 0 : rounding, `${runtime.provider}: ${name}`);
    }
  }
}

for (const [operator, list] of Object.entries({ ...cases, ...compositions })) {
  describe(operator, () => {
    for (const one of list) {
      for (const float of floatsOf(one)) {
        test(`${one.about}, ${float}`, async () => {
          checkType(one, float, operator);
          await checkEngines(one, float, operator);
          if (float === 'float64') checkGradients(one);
        });
      }
    }
  });
}
