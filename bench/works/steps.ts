/** Inner loops and steps on fixed examples. */
import { adam, miniImagenetNet, mlp, omniglotNet, sgd } from '../../src/node.ts';
import { type ConvNetShape, flopsPerImage, miniImagenetShape, omniglotShape } from '../flops.ts';
import type { Work } from '../harness.ts';
import { type InnerLoopWork, oursOf, peerOf } from './inner-loop.ts';

function declare(work: InnerLoopWork, declaration: Pick<Work, 'name' | 'measures' | 'flops'>): Work {
  return { ...declaration, unit: 'ms', ours: oursOf(work), peer: peerOf(work) };
}

/** The authors' sine script. A sine's tasks are too small to be worth another thread. */
function sine(steps: number): Work {
  const work: InnerLoopWork = {
    network: 'sine',
    model: mlp(),
    optimizer: sgd({ learningRate: 0.02 }),
    optimizerName: 'sgd',
    algorithm: 'reptile',
    outputs: 1,
    steps,
    batch: 10,
    cores: [1],
  };
  return declare(work, {
    name: `sine-inner-loop/k${steps}`,
    measures: `a step of ${steps} in an inner loop on a sine wave: MLP 1-64-64-1, SGD, batch 10`,
  });
}

/** A step of `steps` in an inner loop with the paper's Adam (β₁ = 0). */
function networkStep(network: 'omniglot' | 'mini-imagenet', batch: number, shape: ConvNetShape): Work {
  const { ways } = shape;
  const work: InnerLoopWork = {
    network,
    model: network === 'omniglot' ? omniglotNet({ ways }) : miniImagenetNet({ ways }),
    optimizer: adam({ learningRate: 1e-3, beta1: 0 }),
    optimizerName: 'adam',
    algorithm: 'reptile',
    outputs: ways,
    steps: 5,
    batch,
    cores: [1, 2],
  };
  return declare(work, {
    name: `${network}-step/${batch}`,
    measures: `a step of 5 in an inner loop on the ${network} network: Adam, batch ${batch}`,
    flops: batch * flopsPerImage(shape),
  });
}

const mamlGradient = declare(
  {
    network: 'omniglot',
    model: omniglotNet({ ways: 5 }),
    optimizer: adam({ learningRate: 1e-3, beta1: 0 }),
    optimizerName: 'adam',
    algorithm: 'maml',
    outputs: 5,
    steps: 6,
    batch: 10,
    cores: [1, 2],
    whole: true,
  },
  {
    name: 'maml-gradient',
    measures: 'a MAML meta-gradient through 5 Adam steps and the tail on the omniglot network, batch 10',
  },
);

export const stepWorks: readonly Work[] = [
  sine(5),
  sine(32),
  ...[5, 10, 20, 25, 100].map((batch) => networkStep('omniglot', batch, omniglotShape)),
  networkStep('mini-imagenet', 10, miniImagenetShape),
  mamlGradient,
];
