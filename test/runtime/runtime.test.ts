/** Runtimes: one thread or many, the same bits, the same errors. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Worker } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import { Random } from '../../src/data/random.ts';
import { DataError, OptionError } from '../../src/errors.ts';
import {
  add,
  float32,
  int32,
  matmul,
  mul,
  scalar,
  scatterAdd,
  sub,
  type Tensor,
  tanh,
  trace,
} from '../../src/graph/index.ts';
import { type Learner, prefixState, traceSteps } from '../../src/meta/inner-loop.ts';
import { reptile } from '../../src/meta/reptile.ts';
import { omniglotNet, softmaxCrossEntropy } from '../../src/nn/index.ts';
import { adam, freshState } from '../../src/optim/index.ts';
import { LocalRuntime } from '../../src/runtime/local.ts';
import { type NodeRuntimeOptions, nodeRuntime } from '../../src/runtime/node.ts';
import { OnnxEngine, type OnnxRuntime } from '../../src/runtime/onnx.ts';
import type { Provider, Runtime, Stage } from '../../src/runtime/runtime.ts';
import { schedule } from '../../src/runtime/schedule.ts';
import { engines } from './engines.ts';

const f32 = (...values: number[]): Float32Array => Float32Array.of(...values);
const shared = (values: Float32Array): Float32Array => {
  const array = new Float32Array(new SharedArrayBuffer(values.byteLength));
  array.set(values);
  return array;
};

/** y = 2x, with an input that is not used. */
const double = () => trace({ x: float32(3), unused: int32(2) }, ({ x }) => ({ y: mul(x, 2) }));
const x = f32(1, 2, 3);
const unused = Int32Array.of(0, 0);

async function withRuntime(
  options: NodeRuntimeOptions,
  body: (runtime: Runtime) => Promise<void>,
): Promise<void> {
  const runtime = await nodeRuntime(options);
  try {
    await body(runtime);
  } finally {
    await runtime.dispose();
  }
}

/** A test on every engine. */
function testOnEngines(name: string, body: (provider: Provider) => Promise<void>): void {
  for (const provider of engines) test(`${provider}: ${name}`, () => body(provider));
}

testOnEngines(
  'any number of workers gives the same bits, more tasks than workers in their order',
  async (provider) => {
    const model = omniglotNet({ ways: 5, filters: 8 });
    const optimizer = adam({ learningRate: 1e-3, beta1: 0 });
    const loss = softmaxCrossEntropy();
    const learner: Learner = { model, loss, target: int32(), optimizer };
    const graph = traceSteps(learner, reptile, 10, [{ steps: 3, batch: 5 }]);
    const random = Random.stream(3, 'tasks');
    const initial = shared(model.init(random));
    const tasks = Array.from({ length: 7 }, () => ({
      initial,
      parameters: initial,
      ...prefixState(freshState(optimizer, model.layout.size)),
      lossTotal: f32(0),
      inputs: Float32Array.from({ length: 10 * 784 }, () => random.uniform()),
      targets: Int32Array.from({ length: 10 }, (_, i) => i % 5),
      batches0: Int32Array.from({ length: 15 }, () => random.integer(10)),
    }));
    const results: Float32Array[][] = [];
    for (const workers of [1, 2, 3]) {
      await withRuntime({ provider, workers }, async (runtime) => {
        assert.equal(runtime.parallelism, workers);
        const executable = await runtime.compile(graph);
        const found = await Promise.all(tasks.map((task) => executable.run(task)));
        results.push(found.map(({ direction }) => direction as Float32Array));
      });
    }
    const [alone, two, three] = results as [Float32Array[], Float32Array[], Float32Array[]];
    assert.deepEqual(two, alone);
    assert.deepEqual(three, alone);
    assert.ok(alone[0]!.some((step) => step !== 0) && alone[0]!.every(Number.isFinite));
    assert.notDeepEqual(alone[0], alone[1]);
  },
);

testOnEngines(
  'lists of stages give the same bits on any number of workers, cut between them or not',
  async (provider) => {
    const grow = trace({ x: float32(3), rate: float32() }, ({ x, rate }) => ({ x: mul(x, rate), last: x }));
    const random = Random.stream(4, 'lists');
    const lists = [2, 3, 1, 4, 2, 3, 3].map((length) =>
      Array.from({ length }, (_, i): Record<string, Float32Array> => {
        const rate = f32(random.uniform(0.5, 1.5));
        return i === 0 ? { x: f32(random.uniform(), random.uniform(), 1), rate } : i === 1 ? { rate } : {};
      }),
    );
    const results: Float32Array[][] = [];
    for (const workers of [1, 2, 3, 4]) {
      await withRuntime({ provider, workers }, async (runtime) => {
        const executable = await runtime.compile(grow);
        const stages = lists.map((list) => list.map((inputs): Stage => ({ executable, inputs })));
        const all = await runtime.runAll(
          stages.map((pieces) => ({ pieces })),
          ['x', 'last', 'rate'],
        );
        results.push(all.flatMap(({ x, last, rate }) => [x, last, rate] as Float32Array[]));
        if (workers > 1) return;
        const oneByOne = await Promise.all(stages.map((list) => runtime.run(list, ['x', 'last', 'rate'])));
        assert.deepEqual(all, oneByOne);
      });
    }
    for (const result of results) assert.deepEqual(result, results[0]);
  },
);

test('lists are spread evenly: every stage once, cut lists begun first and ended last, none waiting', () => {
  const random = Random.stream(6, 'schedule');
  for (let round = 0; round < 200; round++) {
    const workers = 1 + random.integer(6);
    const lengths = Array.from({ length: 1 + random.integer(8) }, () => 1 + random.integer(5));
    const plan = schedule(lengths, workers);
    const total = lengths.reduce((a, b) => a + b);
    const span = Math.max(Math.ceil(total / workers), ...lengths); // no schedule is shorter
    assert.ok(plan.length <= workers);
    const places = lengths.map((length) => new Array<[number, number]>(length)); // [time, worker] of stages
    plan.forEach((segments, worker) => {
      let time = 0;
      segments.forEach(({ list, from, to }, i) => {
        assert.ok(from === 0 || i === segments.length - 1, 'the end of a cut list comes last');
        assert.ok(to === lengths[list] || i === 0, 'the beginning of a cut list comes first');
        // An end waits for its beginning, which takes `from`.
        time = Math.max(time, from);
        for (let stage = from; stage < to; stage++) {
          assert.equal(places[list]![stage], undefined, 'a stage runs once');
          places[list]![stage] = [time++, worker];
        }
      });
      assert.ok(time <= span, `worker ${worker} takes ${time} of ${span}`);
    });
    for (const stages of places) {
      for (let i = 0; i < stages.length; i++) {
        assert.ok(stages[i] !== undefined, 'every stage runs');
        assert.ok(i === 0 || stages[i - 1]![0] < stages[i]![0], 'stages run in order');
      }
    }
  }
});

const places = engines.flatMap((provider) => [1, 2].map((workers) => ({ provider, workers })));

for (const { provider, workers } of places) {
  describe(`${provider}, ${workers === 1 ? 'in one thread' : `${workers} workers`}`, () => {
    test('equal programs are compiled once, also when asked for at the same time', async () => {
      await withRuntime({ provider, workers }, async (runtime) => {
        const [first, second] = await Promise.all([runtime.compile(double()), runtime.compile(double())]);
        assert.equal(first, second);
        assert.equal(await runtime.compile(double()), first);
        assert.equal(runtime.compilations, 1);
        const other = trace({ x: float32(3) }, ({ x }) => ({ y: mul(x, 3) }));
        assert.notEqual(await runtime.compile(other), first);
        assert.equal(runtime.compilations, 2);
        assert.deepEqual(await first.run({ x, unused }), { y: f32(2, 4, 6) });
      });
    });

    test('stages hand their values on, by name; the last one to give a name is fetched', async () => {
      await withRuntime({ provider, workers }, async (runtime) => {
        const step = await runtime.compile(
          trace({ x: float32(3), rate: float32() }, ({ x, rate }) => ({ x: sub(x, mul(x, rate)) })),
        );
        const total = await runtime.compile(
          trace({ x: float32(3), offset: float32(3) }, ({ x, offset }) => ({ y: add(x, offset) })),
        );
        const stages: Stage[] = [
          { executable: step, inputs: { x: f32(8, 16, 24), rate: f32(0.5) } },
          { executable: step, inputs: {} }, // the rate is still known
          { executable: step, inputs: { rate: f32(0) } },
          { executable: total, inputs: { offset: f32(1, 1, 1) } },
        ];
        const { x, y, offset } = await runtime.run(stages, ['x', 'y', 'offset']);
        assert.deepEqual([x, y, offset], [f32(2, 4, 6), f32(3, 5, 7), f32(1, 1, 1)]);
      });
    });

    test('inputs in shared memory are read, passed on and fetched', async () => {
      await withRuntime({ provider, workers }, async (runtime) => {
        const executable = await runtime.compile(double());
        const inputs = { x: shared(x), unused };
        assert.deepEqual(await executable.run(inputs), { y: f32(2, 4, 6) });
        const fetched = await runtime.run([{ executable, inputs }], ['x', 'y']);
        assert.deepEqual([...fetched.x], [1, 2, 3]);
        assert.deepEqual(fetched.y, f32(2, 4, 6));
        const part = new Float32Array(5).fill(7).subarray(1, 4);
        assert.deepEqual(await executable.run({ x: part, unused }), { y: f32(14, 14, 14) });
      });
    });

    test('a value can be output twice, be an input or a constant, and be called anything', async () => {
      await withRuntime({ provider, workers }, async (runtime) => {
        const graph = trace({ t0: float32(2), 'a,b': float32(2) }, (inputs) => {
          const y = mul(inputs.t0, 3);
          return { t0: inputs.t0, y, again: y, three: scalar(3), z: mul(inputs['a,b'], y) };
        });
        const outputs = await (await runtime.compile(graph)).run({ t0: f32(1, 2), 'a,b': f32(-1, 1) });
        const expected = { t0: f32(1, 2), y: f32(3, 6), again: f32(3, 6), three: f32(3), z: f32(-3, 6) };
        assert.deepEqual(outputs, expected);
      });
    });

    test('inputs that are absent, too short or of another type are named', async () => {
      await withRuntime({ provider, workers }, async (runtime) => {
        const executable = await runtime.compile(double());
        const run = (inputs: object) => executable.run(inputs as { x: Float32Array; unused: Int32Array });
        const rejects = (promise: Promise<unknown>, message: string) =>
          assert.rejects(promise, (error) => {
            assert.ok(error instanceof DataError);
            assert.equal(error.message, message);
            return true;
          });
        await rejects(run({ x }), 'run: input "unused" is int32[2], got nothing');
        await rejects(run({ x: f32(1, 2), unused }), 'run: input "x" is float32[3], got a Float32Array of 2');
        await rejects(
          run({ x: Float64Array.of(1, 2, 3), unused }),
          'run: input "x" is float32[3], got a Float64Array of 3',
        );
        const stages = [{ executable, inputs: { x, unused } }];
        await rejects(runtime.run(stages, ['z']), 'run: no stage has an output "z"');
        assert.deepEqual(await run({ x, unused }), { y: f32(2, 4, 6) }); // and nothing is stuck
      });
    });

    test('stages of another runtime are refused', async () => {
      const stranger = await nodeRuntime({ provider });
      const executable = await stranger.compile(double());
      await withRuntime({ provider, workers }, async (runtime) => {
        const stages = [{ executable, inputs: { x, unused } }];
        const message = 'internal: a stage was compiled by another runtime';
        await assert.rejects(runtime.run(stages, ['y']), { message });
      });
      await stranger.dispose();
    });

    test('a disposed runtime says so', async () => {
      const runtime = await nodeRuntime({ provider, workers });
      const executable = await runtime.compile(double());
      await runtime.dispose();
      await runtime.dispose();
      const message = 'this runtime was disposed and runs nothing more: start another';
      await assert.rejects(executable.run({ x, unused }), { message });
      await assert.rejects(runtime.run([{ executable, inputs: { x, unused } }], ['y']), { message });
      await assert.rejects(runtime.compile(double()), { message });
    });
  });
}

test('a program that fails to load is forgotten, one that loads is loaded once', async () => {
  let loads = 0;
  const flaky: OnnxRuntime = {
    Tensor: ort.Tensor,
    InferenceSession: {
      async create(model, options) {
        loads++;
        if (loads === 1) throw new Error('out of memory');
        return ort.InferenceSession.create(model, options);
      },
    },
  };
  const runtime = new LocalRuntime(
    new OnnxEngine(flaky, {
      provider: 'cpu',
      executionProvider: 'cpu',
      threads: 1,
      writesInPlace: true,
    }),
  );
  const attempts = await Promise.allSettled([runtime.compile(double()), runtime.compile(double())]);
  assert.deepEqual(
    attempts.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  assert.equal(runtime.compilations, 0);
  const [executable] = await Promise.all([runtime.compile(double()), runtime.compile(double())]);
  assert.equal(loads, 2);
  assert.equal(runtime.compilations, 1);
  assert.deepEqual(await executable.run({ x, unused }), { y: f32(2, 4, 6) });
  await runtime.dispose();
});

/** Starts a pool and returns its threads beside it. */
async function poolWithThreads(
  provider: Provider,
  workers: number,
): Promise<{ runtime: Runtime; threads: Worker[] }> {
  const threads: Worker[] = [];
  const notice = (thread: Worker) => threads.push(thread);
  process.on('worker', notice);
  const runtime = await nodeRuntime({ provider, workers, apart: true });
  await runtime.compile(double()); // all have started once they have answered
  process.off('worker', notice);
  assert.equal(threads.length, workers);
  return { runtime, threads };
}

testOnEngines('the runs of a worker that dies are rejected, and so are later ones', async (provider) => {
  const { runtime, threads } = await poolWithThreads(provider, 2);
  const executable = await runtime.compile(double());
  for (const thread of threads) thread.postMessage(null); // no request: the worker fails on it
  const runs = Array.from({ length: 4 }, () => executable.run({ x, unused })); // two running, two waiting
  const message = /Cannot destructure property 'job' of 'request'/;
  await Promise.all(runs.map((run) => assert.rejects(run, { message })));
  await assert.rejects(executable.run({ x, unused }), { message });
  await runtime.dispose();
});

testOnEngines('a worker that was ended from outside is reported', async (provider) => {
  const { runtime, threads } = await poolWithThreads(provider, 2);
  const executable = await runtime.compile(double());
  await Promise.all(threads.map((thread) => thread.terminate()));
  const message = 'a worker thread ended before its work, with exit code 1';
  await assert.rejects(executable.run({ x, unused }), { message });
  await runtime.dispose();
});

testOnEngines('runs that a pool still owes are rejected when it is disposed', async (provider) => {
  const runtime = await nodeRuntime({ provider, workers: 2 });
  const busy = await runtime.compile(
    trace({ x: float32(256, 256) }, ({ x }) => {
      let y: Tensor = x;
      for (let i = 0; i < 50; i++) y = tanh(matmul(y, x));
      return { y };
    }),
  );
  const inputs = { x: new Float32Array(256 * 256).fill(0.01) };
  const first = await busy.run(inputs);
  const runs = Array.from({ length: 8 }, () => busy.run(inputs));
  const outcomes = Promise.allSettled(runs);
  await Promise.race(runs); // the others are running or waiting
  await runtime.dispose();
  const message = 'this runtime was disposed and runs nothing more: start another';
  const settled = await outcomes;
  for (const outcome of settled) {
    if (outcome.status === 'rejected') assert.equal(outcome.reason.message, message);
    else assert.deepEqual(outcome.value, first);
  }
  assert.ok(settled.some(({ status }) => status === 'rejected'));
});

test('options out of range say what is wanted', async () => {
  const rejects = (options: Parameters<typeof nodeRuntime>[0], message: RegExp | string) =>
    assert.rejects(nodeRuntime(options), (error) => {
      assert.ok(error instanceof OptionError);
      assert.match(error.message, new RegExp(message));
      return true;
    });
  await rejects({ workers: 0 }, 'workers: expected a whole number from 1 on, got 0');
  await rejects({ workers: 1.5 }, 'workers: expected a whole number from 1 on, got 1.5');
  await rejects({ threads: -1 }, 'threads: expected a whole number from 1 on, got -1');
  const unknown = 'cuda' as Provider;
  await rejects({ provider: unknown }, '^device: "cuda" is not in this build of ONNX Runtime, which has cpu');
  if (engines.includes('native')) {
    const message = '^threads: programs of the device "native" have one, got 2: use workers$';
    await rejects({ provider: 'native', threads: 2 }, message);
  }
  await rejects({ provider: 'webgpu', workers: 2 }, '(one for all, got 2 workers: use 1|not in this build)');
});

testOnEngines('runs side by side with inputs in shared memory see each their own', async (provider) => {
  for (const workers of [1, 2]) {
    await withRuntime({ provider, workers }, async (runtime) => {
      const executable = await runtime.compile(double());
      const runs = [1, 2, 3, 4].map((k) => executable.run({ x: shared(f32(k, 2 * k, 3 * k)), unused }));
      const results = await Promise.all(runs);
      assert.deepEqual(
        results.map(({ y }) => [...y]),
        [1, 2, 3, 4].map((k) => [2 * k, 4 * k, 6 * k]),
      );
    });
  }
});

testOnEngines(
  'recycling takes back what the runtime made, once, and nothing of the caller',
  async (provider) => {
    const length = 2048;
    const graph = trace({ x: float32(length) }, (given) => ({ y: mul(given.x, 2), z: add(given.x, 1) }));
    for (const workers of [1, 2]) {
      for (const input of [new Float32Array(length).fill(3), shared(new Float32Array(length).fill(3))]) {
        await withRuntime({ provider, workers }, async (runtime) => {
          const executable = await runtime.compile(graph);
          const [first] = await runtime.runAll(
            Array.from({ length: workers }, () => ({ pieces: [{ executable, inputs: { x: input } }] })),
            ['x', 'y'],
          );
          runtime.recycle(first!);
          runtime.recycle(first!);
          const { y, z } = await executable.run({ x: new Float32Array(length).fill(7) });
          assert.ok(input.every((value) => value === 3));
          assert.ok(y.every((value) => value === 14) && z.every((value) => value === 8));
        });
      }
    }
  },
);

test('sums by repeated places are whole on any number of threads', async () => {
  const places = 400_000; // of one element, at which ONNX Runtime's threads meet
  const types = { updates: float32(places), at: int32(places), columns: float32(2, 6), few: int32(6) };
  const graph = trace(types, ({ updates, at, columns, few }) => ({
    sums: scatterAdd(updates, at, { length: 1 }),
    across: scatterAdd(columns, few, { axis: 1, length: 3 }),
  }));
  const runtime = await nodeRuntime({ provider: 'cpu', threads: 4 });
  const executable = await runtime.compile(graph);
  for (let run = 0; run < 12; run++) {
    const { sums, across } = await executable.run({
      updates: new Float32Array(places).fill(1),
      at: new Int32Array(places),
      columns: f32(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
      few: Int32Array.of(0, 2, 0, 2, 0, 0),
    });
    assert.deepEqual(sums, f32(places));
    assert.deepEqual(across, f32(1 + 3 + 5 + 6, 0, 2 + 4, 7 + 9 + 11 + 12, 0, 8 + 10));
  }
  await runtime.dispose();
});
