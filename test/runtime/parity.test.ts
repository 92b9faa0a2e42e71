/** The same model bytes on onnxruntime-node and on onnxruntime-web, whose WebAssembly runs in Node too. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import * as native from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { Random } from '../../src/data/random.ts';
import {
  evaluate,
  float32,
  int32,
  type Tensor,
  type TensorType,
  trace,
  valueAndGrad,
} from '../../src/graph/index.ts';
import { isFloat, size, type TypedArray } from '../../src/graph/type.ts';
import {
  type Loss,
  type Model,
  miniImagenetNet,
  mlp,
  omniglotNet,
  softmaxCrossEntropy,
  squaredError,
} from '../../src/nn/index.ts';
import { adam } from '../../src/optim/index.ts';
import { LoadedModel, lowerProgram } from '../../src/runtime/onnx.ts';
import { ArrayStore } from '../../src/runtime/program.ts';
import { webRuntime } from '../../src/runtime/web.ts';
import { cases } from '../graph/cases.ts';
import { assertClose, caseGraph, caseInputs, floatsOf } from '../graph/contract.ts';

const runtime = await webRuntime();
after(() => runtime.dispose());

const batch = 10;
const optimizer = adam({ learningRate: 1e-3 });

/** Forward pass, loss, gradient and one step of Adam. */
function stepGraph(model: Model, loss: Loss, target: TensorType) {
  const vector = float32(model.layout.size);
  const types: Record<string, TensorType> = {
    parameters: vector,
    inputs: float32(batch, ...model.inputShape),
    targets: { dtype: target.dtype, shape: [batch, ...target.shape] },
    ...optimizer.state(vector),
  };
  return trace(types, ({ parameters, inputs, targets, ...state }) => {
    const lossAt = (at: Tensor) => loss(model.apply(at, inputs!), targets!);
    const { value, gradient } = valueAndGrad(lossAt)(parameters!);
    const next = optimizer.update({ parameters: parameters!, gradient, state });
    const outputs = model.apply(parameters!, inputs!);
    return { outputs, loss: value, gradient, parameters: next.parameters, ...next.state };
  });
}

/** Random inputs; moments as after some steps, since from zeros Adam's step is the sign of rounding errors. */
function stepInputs(model: Model, types: Readonly<Record<string, TensorType>>): Record<string, TypedArray> {
  const random = Random.stream(5, 'parity');
  const fill = (name: string, { dtype, shape }: TensorType): TypedArray => {
    if (name === 'parameters') return model.init(random);
    const count = size(shape);
    if (dtype === 'int32') return Int32Array.from({ length: count }, () => random.integer(5));
    if (name === 'secondMoments')
      return Float32Array.from({ length: count }, () => random.uniform(1e-4, 1e-3));
    return Float32Array.from({ length: count }, () => random.uniform(0, 1));
  };
  return Object.fromEntries(Object.entries(types).map(([name, type]) => [name, fill(name, type)]));
}

const networks: Readonly<Record<string, [Model, Loss, TensorType]>> = {
  'the sine MLP': [mlp(), squaredError(), float32(1)],
  'the Omniglot network': [omniglotNet({ ways: 5, filters: 8 }), softmaxCrossEntropy(), int32()],
  'the Mini-ImageNet network': [
    miniImagenetNet({ ways: 5, filters: 8, inputShape: [21, 21, 3] }),
    softmaxCrossEntropy(),
    int32(),
  ],
};

for (const [name, [model, loss, target]] of Object.entries(networks)) {
  test(`${name}: one file, forward, gradient and a step of Adam agree`, async () => {
    const graph = stepGraph(model, loss, target);
    const program = lowerProgram(graph, { provider: 'cpu' });
    const again = lowerProgram(stepGraph(model, loss, target), { provider: 'cpu' });
    assert.deepEqual(again.model, program.model); // lowering is a function of the program
    const inputs = stepInputs(model, program.inputs);
    const threads = { provider: 'cpu', threads: 1 } as const;
    const here = await LoadedModel.load(native, program, {
      ...threads,
      executionProvider: 'cpu',
      writesInPlace: true,
    });
    const there = await LoadedModel.load(web, program, {
      ...threads,
      executionProvider: 'wasm',
      writesInPlace: false,
    });
    const [expected, actual] = [
      await here.run(inputs, new ArrayStore()),
      await there.run(inputs, new ArrayStore()),
    ];
    assert.deepEqual(Object.keys(actual), Object.keys(program.outputs));
    for (const output of Object.keys(program.outputs)) {
      const scale = expected[output]!.map(Math.abs).sort().at(-1)!;
      assert.ok(scale > 0, `${output} is all zeros`);
      for (let i = 0; i < expected[output]!.length; i++) {
        const error = Math.abs(actual[output]![i]! - expected[output]![i]!) / scale;
        assert.ok(error < 2e-5, `${output}[${i}]: ${actual[output]![i]} and ${expected[output]![i]}`);
      }
    }
    await Promise.all([here.release(), there.release()]);
  });
}

for (const [operator, list] of Object.entries(cases)) {
  test(`${operator} in WebAssembly agrees with the reference evaluation`, async () => {
    for (const one of list) {
      for (const float of floatsOf(one)) {
        const graph = caseGraph(one, float);
        const inputs = caseInputs(one, float);
        const expected = evaluate(graph, inputs);
        const actual = await (await runtime.compile(graph)).run(inputs);
        for (const [name, { dtype }] of Object.entries(graph.outputs)) {
          const rounding = !isFloat(dtype) ? 0 : float === 'float32' ? 4e-6 : 1e-14;
          assertClose(actual[name]!, expected[name]!, rounding, `${one.about}, ${float}: ${name}`);
        }
      }
    }
  });
}
