/** Native programs against the reference evaluation: whole random ones, and the cases their writer has to tell apart. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { DataError } from '../../src/errors.ts';
import {
  add,
  argMax,
  broadcastTo,
  cast,
  concat,
  constant,
  conv2d,
  evaluate,
  exp,
  float32,
  float64,
  type Graph,
  gather,
  grad,
  int32,
  type Loop,
  matmul,
  max,
  maximum,
  minimum,
  mul,
  neg,
  relu,
  scalar,
  scatterAdd,
  sigmoid,
  slice,
  sub,
  sum,
  type Tensor,
  type TypedArray,
  tanh,
  trace,
  transpose,
} from '../../src/graph/index.ts';
import { nodesOf } from '../../src/graph/trace.ts';
import { nodeRuntime } from '../../src/runtime/node.ts';
import type { Arrays, Runtime } from '../../src/runtime/runtime.ts';
import { assertClose } from '../graph/contract.ts';
import { withoutNative } from '../runtime/engines.ts';
import { randomGraph, randomInputs, randomLoop } from './random-graphs.ts';

const started = withoutNative === false ? await nodeRuntime({ provider: 'native' }) : undefined;
after(() => started?.dispose());

/** A test of native programs, where there are any. */
function testNative(name: string, body: (runtime: Runtime) => Promise<void>): void {
  test(name, { skip: withoutNative }, () => body(started!));
}

const f32 = (...values: number[]): Float32Array => Float32Array.of(...values);

/** The same elements with some in front of them and behind that would be seen if they were read. */
function surrounded(data: TypedArray): TypedArray {
  const Kind = data.constructor as Float32ArrayConstructor;
  const around = new Kind(data.length + 64).fill(data instanceof Int32Array ? 2 ** 30 : Number.NaN);
  around.set(data, 32);
  return around.subarray(32, 32 + data.length);
}

/** Equal elements; every zero is one. */
function assertSame(actual: Arrays, expected: Arrays, about: string): void {
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort(), about);
  for (const [name, values] of Object.entries(expected))
    assertClose(actual[name]!, values, 0, `${about}, ${name}`);
}

/** Runs a graph twice: what the first run leaves in memory must not matter to the second. */
async function assertComputes(
  runtime: Runtime,
  graph: Graph,
  inputs: Arrays,
  { tolerance = 0, about = '' } = {},
): Promise<void> {
  const expected = evaluate(graph, inputs as Record<string, TypedArray>);
  const executable = await runtime.compile(graph);
  const given = Object.fromEntries(Object.entries(inputs).map(([name, data]) => [name, surrounded(data)]));
  const first = await executable.run(given);
  const second = await executable.run(given);
  for (const [name, values] of Object.entries(expected)) {
    assertClose(first[name]!, values, tolerance, `${about}, ${name}`);
    assert.deepEqual(second[name], first[name], `${about}, ${name} once more`);
  }
  for (const [name, data] of Object.entries(inputs))
    assert.deepEqual(given[name], data, 'an input is left alone');
}

testNative('random graphs compute what the reference evaluation does, to the bit', async (runtime) => {
  let nodes = 0;
  const kinds = new Set<string>();
  for (let seed = 0; seed < 20; seed++) {
    const random = Random.stream(seed, 'graph');
    const graph = randomGraph(random, 30);
    for (const { kind } of nodesOf(Object.values(graph.outputs))) {
      nodes++;
      kinds.add(kind);
    }
    await assertComputes(runtime, graph, randomInputs(random, graph.inputs), { about: `graph ${seed}` });
  }
  assert.ok(nodes > 400 && kinds.size > 25, `${nodes} nodes of ${kinds.size} kinds`);
});

testNative('random graphs of smooth functions compute the same up to rounding', async (runtime) => {
  for (let seed = 0; seed < 10; seed++) {
    const random = Random.stream(seed, 'smooth graph');
    const graph = randomGraph(random, 30, true);
    const isDouble = Object.values(graph.inputs)[0]!.dtype === 'float64';
    const tolerance = isDouble ? 1e-12 : 1e-4;
    const inputs = randomInputs(random, graph.inputs);
    await assertComputes(runtime, graph, inputs, { tolerance, about: `smooth graph ${seed}` });
  }
});

/** What a loop computes, its body evaluated round by round. */
function evaluateLoop({ body, end }: Loop, inputs: Arrays, rounds: number, firstRound = 0): Arrays {
  let state: Arrays = inputs;
  for (let round = firstRound; round < firstRound + rounds; round++) {
    state = { ...state, ...evaluate(body, { ...state, round: Int32Array.of(round) }) };
  }
  return evaluate(end, state);
}

async function assertLoops(
  runtime: Runtime,
  loop: Loop,
  inputs: Arrays,
  { rounds = 3, firstRound = 0, about = '' } = {},
): Promise<void> {
  const executable = await runtime.compile(loop);
  const given = { ...inputs, firstRound: Int32Array.of(firstRound), rounds: Int32Array.of(rounds) };
  const expected = evaluateLoop(loop, inputs, rounds, firstRound);
  assertSame(await executable.run(given), expected, about);
  assertSame(await executable.run(given), expected, `${about} once more`);
}

testNative('random loops compute what their rounds do one after another', async (runtime) => {
  for (let seed = 0; seed < 30; seed++) {
    const random = Random.stream(seed, 'loop');
    const loop = randomLoop(random, 10);
    const { round: _, ...inputs } = randomInputs(random, loop.body.inputs);
    for (const rounds of [0, 1, 3]) {
      await assertLoops(runtime, loop, inputs, {
        rounds,
        firstRound: 1,
        about: `loop ${seed}, ${rounds} rounds`,
      });
    }
  }
});

testNative('loops over few elements are not joined across what waits for them', async (runtime) => {
  // The two single elements have a constant in common; one is read by, the other made of, the vector's loop.
  const graph = trace({ x: float32(3) }, ({ x }) => {
    const shifted = add(x, max(x, { axes: [0], keepDims: true }));
    const sums = scatterAdd(concat([shifted, neg(shifted)]), places(0, 1, 1, 0, 0, 1), { length: 2 });
    const largest = cast(minimum(argMax(x), 4), 'float32');
    const place = cast(minimum(argMax(maximum(sums, -4)), 4), 'float32');
    return { reads: sub(shifted, largest), place };
  });
  await assertComputes(runtime, graph, { x: f32(3, 1, 2) });
});

type Pair = Readonly<Record<'x' | 'y', Tensor>>;

/** A loop that carries two vectors of three, and returns them and twice each. */
function pairLoop(next: (pair: Pair & { round: Tensor }) => Record<'x' | 'y', Tensor>): Loop {
  const pair = { x: float32(3), y: float32(3) };
  return {
    body: trace({ ...pair, round: int32() }, next),
    end: trace(pair, ({ x, y }) => ({ x, y, twoX: mul(x, 2), twoY: mul(y, 2) })),
  };
}

const places = (...values: number[]): Tensor => constant(int32(values.length), Int32Array.from(values));

const pairs: Readonly<Record<string, Parameters<typeof pairLoop>[0]>> = {
  'swaps two values': ({ x, y }) => ({ x: y, y: x }),
  'carries a value unchanged': ({ x, y }) => ({ x, y: add(x, y) }),
  'carries both values unchanged': ({ x, y }) => ({ x, y }),
  'reads a value in several places': ({ x, y }) => ({
    x: add(mul(x, 2), max(x, { axes: [0], keepDims: true })),
    y: sub(add(x, y), sum(x)),
  }),
  'makes one value of the other and hands that on': ({ x, y }) => ({ x: sub(x, y), y: x }),
  'makes one value of what it hands on as the other': ({ x, y }) => {
    const sums = add(x, y);
    return { x: sums, y: concat([slice(sums, [1], [2]), slice(sums, [0], [1])]) };
  },
  'shifts a stretch from one vector to the other': ({ x, y }) => ({
    x: concat([slice(x, [1], [2]), slice(y, [0], [1])]),
    y: concat([slice(y, [1], [2]), slice(x, [0], [1])]),
  }),
  'makes a vector stretch by stretch': ({ x, y }) => ({
    x: concat([mul(slice(x, [0], [1]), 2), add(slice(x, [1], [2]), slice(y, [0], [2]))]),
    y: concat([add(slice(y, [1], [2]), slice(x, [0], [2])), mul(slice(y, [0], [1]), 2)]),
  }),
  'turns vectors around': ({ x, y }) => ({ x: gather(x, places(2, 1, 0)), y: gather(y, places(1, 2, 0)) }),
  'hands on one value twice, made in the round': ({ x, y }) => ({ x: add(x, y), y: add(x, y) }),
  'hands on one value twice, a carried one': ({ y }) => ({ x: y, y }),
  'makes a vector of parts of parts': ({ x, y }) => {
    const [first, second, third] = [0, 1, 2].map((i) => mul(slice(x, [i], [1]), i + 2)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const inner = concat([second, third]);
    return { x: concat([inner, first]), y: add(y, max(inner, { axes: [0], keepDims: true })) };
  },
  'forgets what it carried': ({ round, y }) => ({
    x: constant(float32(3), f32(1, 2, 3)),
    y: add(sub(y, y), cast(round, 'float32')),
  }),
};

for (const [name, next] of Object.entries(pairs)) {
  testNative(`a loop that ${name}`, async (runtime) => {
    const inputs = { x: f32(1, 2, 3), y: f32(10, 20, 30) };
    for (const rounds of [0, 1, 2, 5]) {
      await assertLoops(runtime, pairLoop(next), inputs, { rounds, about: `${rounds} rounds` });
    }
  });
}

/** Images and filters, and how they meet. */
const convolutions = [
  { size: [9, 13], kernel: [3, 3], channels: 3, filters: 5, stride: 3, padding: 'same' },
  { size: [11, 7], kernel: [5, 5], channels: 1, filters: 16, stride: 2, padding: 'valid' },
  { size: [17, 5], kernel: [2, 4], channels: 2, filters: 17, stride: 4, padding: 'same' },
  { size: [8, 8], kernel: [3, 3], channels: 16, filters: 32, stride: 1, padding: 'same' },
  { size: [7, 9], kernel: [1, 1], channels: 5, filters: 3, stride: 2, padding: 'same' },
  { size: [6, 10], kernel: [3, 1], channels: 17, filters: 1, stride: 5, padding: 'valid' },
  { size: [5, 5], kernel: [5, 5], channels: 4, filters: 8, stride: 1, padding: 'valid' },
] as const;

for (const { size, kernel, channels, filters, stride, padding } of convolutions) {
  const [height, width] = size;
  const about = `${height}×${width}, filters ${kernel.join('×')}, stride ${stride}, ${padding}`;
  testNative(`convolution and its gradients: ${about}`, async (runtime) => {
    for (const float of [float32, float64]) {
      const types = { x: float(3, height, width, channels), w: float(...kernel, channels, filters) };
      const graph = trace(types, ({ x, w }) => {
        const square = (at: typeof types extends infer T ? Record<keyof T, Tensor> : never) => {
          const y = conv2d(at.x, at.w, { stride, padding });
          return sum(mul(y, y));
        };
        const { x: dx, w: dw } = grad(square)({ x, w });
        return { y: conv2d(x, w, { stride, padding }), dx, dw };
      });
      // Whole numbers: sums are exact in any order.
      await assertComputes(runtime, graph, randomInputs(Random.stream(2, about), types), { about });
    }
  });
}

const sizes = [1, 5, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100];

for (const [transposeA, transposeB] of [
  [false, false],
  [false, true],
  [true, false],
  [true, true],
] as const) {
  const about = `${transposeA ? 'Aᵀ' : 'A'} · ${transposeB ? 'Bᵀ' : 'B'}`;
  testNative(`${about} of sizes around those of vectors and blocks`, async (runtime) => {
    for (const float of [float32, float64]) {
      // Every size thrice as rows, inner length and columns, in company of others each time.
      const products = [0, 1, 2].flatMap((turn) =>
        sizes.map((rows, i) => ({
          rows,
          inner: sizes[(i + 5 * turn) % sizes.length]!,
          columns: sizes[(5 * i + 7 * turn) % sizes.length]!,
        })),
      );
      const types = Object.fromEntries(
        products.flatMap(({ rows, inner, columns }, i) => [
          [`a${i}`, transposeA ? float(inner, rows) : float(rows, inner)],
          [`b${i}`, transposeB ? float(columns, inner) : float(inner, columns)],
        ]),
      );
      const graph = trace(types, (inputs) =>
        Object.fromEntries(
          products.map(({ rows, inner, columns }, i) => [
            `${rows}×${inner}×${columns}`,
            matmul(inputs[`a${i}`]!, inputs[`b${i}`]!, { transposeA, transposeB }),
          ]),
        ),
      );
      await assertComputes(runtime, graph, randomInputs(Random.stream(3, about), types), { about });
    }
  });
}

testNative('products of what the program made, and of parts and turns of it', async (runtime) => {
  const types = { x: float32(33, 40), y: float32(40, 17) };
  const graph = trace(types, ({ x, y }) => {
    const made = maximum(x, 1);
    return {
      made: matmul(made, minimum(y, 2)),
      part: matmul(slice(made, [1, 3], [20, 17], [1, 2]), slice(y, [0, 0], [17, 16])),
      turned: matmul(transpose(made), made),
      itself: matmul(x, x, { transposeB: true }),
      repeated: matmul(broadcastTo(x, [3, 33, 40]), y),
    };
  });
  await assertComputes(runtime, graph, randomInputs(Random.stream(4, 'products'), types));
});

testNative('exp, tanh and sigmoid of floats are within 3e-7 of their values', async (runtime) => {
  const functions = {
    exp: [exp, Math.exp],
    tanh: [tanh, Math.tanh],
    sigmoid: [sigmoid, (x: number) => 1 / (1 + Math.exp(-x))],
  } as const;
  const grid: number[] = [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
  for (let i = 0; i <= 40_000; i++) grid.push((i - 20_000) / 160); // −125 … 125
  for (let i = 0; i <= 20_000; i++) grid.push((i - 10_000) / 10_000);
  for (let power = -149; power < 128; power++) {
    for (const factor of [1, 1.3, 1.7]) grid.push(factor * 2 ** power, -factor * 2 ** power);
  }
  const x = Float32Array.from(grid);
  const graph = trace({ x: float32(x.length) }, ({ x }) => ({
    exp: exp(x),
    tanh: tanh(x),
    sigmoid: sigmoid(x),
  }));
  const found = await (await runtime.compile(graph)).run({ x });
  for (const [name, [, compute]] of Object.entries(functions)) {
    x.forEach((at, i) => {
      const [actual, exact] = [found[name as keyof typeof functions][i]!, compute(at)];
      // The smallest floats have fewer digits; a sigmoid of that size is 1 / ∞.
      const smallest = name === 'sigmoid' ? 2 ** -126 : 2 ** -149;
      const fits = Math.abs(actual - exact) <= 3e-7 * Math.abs(exact) + smallest;
      assert.ok(
        fits || Object.is(actual, Math.fround(exact)),
        `${name}(${at}): got ${actual}, expected ${exact}`,
      );
    });
  }
});

const withNaN = Float32Array.from({ length: 200 }, (_, i) => (i === 77 ? Number.NaN : 100 - i));

testNative('what is no number stays none in relu, maximum and minimum', async (runtime) => {
  const x = withNaN;
  const types = { x: float32(200), other: float32(200) };
  const graph = trace(types, ({ x, other }) => ({
    relu: relu(x),
    ...{ maximum: maximum(x, other), minimum: minimum(x, other) },
    ...{ turnedMaximum: maximum(other, x), turnedMinimum: minimum(other, x) },
  }));
  const outputs = await (await runtime.compile(graph)).run({ x, other: new Float32Array(200).fill(3) });
  for (const [name, values] of Object.entries(outputs)) {
    values.forEach((value, i) => {
      assert.equal(Number.isNaN(value), i === 77, `${name}[${i}]: ${value}`);
    });
  }
});

testNative('a largest element that is no number is found', async (runtime) => {
  const graph = trace({ x: float32(4, 50) }, ({ x }) => ({
    all: max(x),
    rows: max(x, { axes: [1] }),
    columns: max(x, { axes: [0] }),
  }));
  assertSame(
    await (await runtime.compile(graph)).run({ x: withNaN }),
    evaluate(graph, { x: withNaN }),
    'max',
  );
});

testNative('what is not fetched is not needed by what is', async (runtime) => {
  const types = { x: float32(1500) }; // long enough for arrays to be used again
  const graph = trace(types, ({ x }) => {
    const shifted = add(x, 1);
    const pieces = concat([shifted, mul(x, 3)]);
    return { shifted, pieces, total: sum(pieces), copy: x, last: gather(pieces, places(2999)) };
  });
  const x = Float32Array.from({ length: 1500 }, (_, i) => (i % 9) - 4);
  const expected = evaluate(graph, { x });
  const executable = await runtime.compile(graph);
  const names = Object.keys(graph.outputs);
  for (let chosen = 0; chosen < 2 ** names.length; chosen++) {
    const fetch = names.filter((_, i) => (chosen >> i) & 1);
    const outputs = await runtime.run([{ executable, inputs: { x } }], fetch);
    assertSame(
      outputs,
      Object.fromEntries(fetch.map((name) => [name, expected[name as 'copy']])),
      fetch.join(),
    );
    runtime.recycle(outputs); // the next run writes into the same arrays
  }
});

testNative('axes of values without elements change place', async (runtime) => {
  const graph = trace({ x: float32(2, 0, 3) }, ({ x }) => ({
    y: transpose(x, [2, 0, 1]),
    z: add(transpose(x), 1),
  }));
  await assertComputes(runtime, graph, { x: new Float32Array(0) });
});

testNative('an index out of range is an error of the data, and nothing else breaks', async (runtime) => {
  const types = { x: float32(5, 3), at: int32(2) };
  const graphs = [
    trace(types, ({ x, at }) => ({ y: gather(x, at) })),
    trace(types, ({ x, at }) => ({ y: gather(x, at, 1) })),
    trace({ x: float32(2, 3), at: int32(2) }, ({ x, at }) => ({ y: scatterAdd(x, at, { length: 3 }) })),
  ];
  for (const graph of graphs) {
    const executable = await runtime.compile(graph);
    const x = Float32Array.from({ length: graph.inputs.x.size }, (_, i) => i);
    for (const wrong of [5, -1, 2 ** 31 - 1, -(2 ** 31)]) {
      await assert.rejects(executable.run({ x, at: Int32Array.of(0, wrong) }), (error) => {
        assert.ok(error instanceof DataError);
        assert.match(error.message, /^run: an index is out of range/);
        return true;
      });
      const right = { x, at: Int32Array.of(2, 0) };
      assertSame(await executable.run(right), evaluate(graph, right), 'afterwards');
    }
  }
});

testNative('one array can be given for several inputs', async (runtime) => {
  const graph = trace({ a: float32(40), b: float32(40) }, ({ a, b }) => ({
    a,
    sum: add(a, b),
    b: mul(b, 2),
  }));
  const x = Float32Array.from({ length: 40 }, (_, i) => i);
  const outputs = await (await runtime.compile(graph)).run({ a: x, b: x });
  assertSame(outputs, evaluate(graph, { a: x, b: x }), 'given twice');
  assert.notEqual(outputs.a, x); // an output that is an input is an array of its own
  assert.deepEqual(
    [...x],
    Array.from({ length: 40 }, (_, i) => i),
  );
});

testNative('an output can be an input, a constant, a part, or another output', async (runtime) => {
  const types = { x: float32(6), n: int32(2) };
  const graph = trace(types, ({ x, n }) => {
    const sums = add(x, 1);
    const part = slice(x, [1], [2]);
    const joined = concat([sums, x]);
    return { x, n, part, sums, again: sums, joined, twice: concat([sums, sums]), seven: scalar(7) };
  });
  await assertComputes(runtime, graph, { x: f32(1, 2, 3, 4, 5, 6), n: Int32Array.of(8, 9) });
});
