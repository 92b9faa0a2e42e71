/**
 * The paper's numbers, restated from arXiv:1803.02999v3 (22 Oct 2018) so that ours can stand beside them.
 * Tables 1 and 2 are printed in it; Figures 1, 3 and 4 were read from its vector graphics, to about ±0.001.
 */

/** A cell of Table 1 or 2, in percent, and its ±. */
export type Cell = readonly [accuracy: number, halfWidth: number];

export interface PaperTable {
  readonly columns: readonly string[];
  /**
   * The ± of the Reptile rows is the standard deviation over 3 seeds; of the others, which the paper quotes
   * from Finn et al. (2017), the 95% interval over tasks.
   */
  readonly rows: Readonly<Record<string, readonly Cell[]>>;
}

/** Table 1: Mini-ImageNet. */
export const table1: PaperTable = {
  columns: ['5-way 1-shot', '5-way 5-shot'],
  rows: {
    'MAML + transduction': [
      [48.7, 1.84],
      [63.11, 0.92],
    ],
    'first-order MAML + transduction': [
      [48.07, 1.75],
      [63.15, 0.91],
    ],
    Reptile: [
      [47.07, 0.26],
      [62.74, 0.37],
    ],
    'Reptile + transduction': [
      [49.97, 0.32],
      [65.99, 0.58],
    ],
  },
};

/** Table 2: Omniglot. */
export const table2: PaperTable = {
  columns: ['5-way 1-shot', '5-way 5-shot', '20-way 1-shot', '20-way 5-shot'],
  rows: {
    'MAML + transduction': [
      [98.7, 0.4],
      [99.9, 0.1],
      [95.8, 0.3],
      [98.9, 0.2],
    ],
    'first-order MAML + transduction': [
      [98.3, 0.5],
      [99.2, 0.2],
      [89.4, 0.5],
      [97.9, 0.1],
    ],
    Reptile: [
      [95.39, 0.09],
      [98.9, 0.1],
      [88.14, 0.15],
      [96.65, 0.33],
    ],
    'Reptile + transduction': [
      [97.68, 0.04],
      [99.48, 0.06],
      [89.43, 0.14],
      [97.12, 0.32],
    ],
  },
};

/** Mean squared errors over the 50 points of Figure 1's task, before and after 32 gradient steps on 10 of them. */
export const figure1 = {
  random: { before: 6.9, after: 6.921 },
  maml: { before: 12.25, after: 0.131 },
  reptile: { before: 7.43, after: 0.099 },
} as const;

/**
 * Figure 3: accuracy on 5-shot 5-way Omniglot while training with ten combinations of inner gradients, at some
 * iterations. The paper's curves are smoothed; it does not say over what window.
 */
export const figure3: {
  readonly iterations: readonly number[];
  readonly accuracy: Readonly<Record<string, readonly number[]>>;
} = {
  iterations: [0, 1000, 2000, 5000, 10000, 20000, 30000, 40000],
  accuracy: {
    g1: [0.49, 0.538, 0.552, 0.51, 0.438, 0.359, 0.342, 0.334],
    '(g1+g2)/2': [0.502, 0.596, 0.675, 0.782, 0.823, 0.852, 0.889, 0.899],
    'g1+g2': [0.554, 0.611, 0.662, 0.726, 0.804, 0.852, 0.9, 0.917],
    g2: [0.568, 0.623, 0.704, 0.803, 0.886, 0.92, 0.932, 0.933],
    '(g1+g2+g3)/3': [0.564, 0.643, 0.728, 0.829, 0.898, 0.924, 0.942, 0.938],
    'g1+g2+g3': [0.54, 0.651, 0.739, 0.849, 0.923, 0.938, 0.95, 0.956],
    g3: [0.546, 0.649, 0.736, 0.86, 0.909, 0.915, 0.93, 0.93],
    '(g1+g2+g3+g4)/4': [0.517, 0.637, 0.739, 0.827, 0.886, 0.936, 0.944, 0.95],
    'g1+g2+g3+g4': [0.584, 0.688, 0.769, 0.889, 0.93, 0.952, 0.963, 0.967],
    g4: [0.531, 0.641, 0.729, 0.839, 0.9, 0.928, 0.939, 0.943],
  },
};

export interface PaperCurves {
  readonly x: readonly number[];
  /** A curve may end before the last x: a separate tail leaves 75 examples for mini-batches. */
  readonly accuracy: Readonly<Record<string, readonly number[]>>;
}

/** Figure 4: final test accuracy on 5-shot 5-way Omniglot against one setting of the inner loop or outer step. */
export const figure4: Readonly<Record<'a' | 'b' | 'c', PaperCurves>> = {
  /** Inner iterations, mini-batches of 25. */
  a: {
    x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    accuracy: {
      reptile: [
        0.232, 0.32, 0.957, 0.967, 0.97, 0.972, 0.973, 0.977, 0.972, 0.975, 0.976, 0.974, 0.977, 0.977, 0.976,
      ],
      separate: [
        0.231, 0.956, 0.972, 0.967, 0.97, 0.965, 0.966, 0.965, 0.962, 0.966, 0.963, 0.96, 0.962, 0.959, 0.965,
      ],
      replacement: [
        0.231, 0.953, 0.963, 0.959, 0.953, 0.947, 0.937, 0.927, 0.925, 0.915, 0.903, 0.887, 0.882, 0.838,
        0.842,
      ],
      cycling: [
        0.231, 0.954, 0.969, 0.967, 0.701, 0.733, 0.812, 0.815, 0.788, 0.776, 0.805, 0.777, 0.667, 0.674,
        0.662,
      ],
    },
  },
  /** Examples in a mini-batch, 4 inner iterations. */
  b: {
    x: [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100],
    accuracy: {
      reptile: [
        0.354, 0.844, 0.953, 0.96, 0.963, 0.966, 0.968, 0.966, 0.969, 0.968, 0.969, 0.963, 0.966, 0.962,
        0.959, 0.96, 0.962, 0.961, 0.954, 0.956,
      ],
      separate: [
        0.939, 0.949, 0.958, 0.964, 0.97, 0.964, 0.958, 0.935, 0.925, 0.912, 0.943, 0.94, 0.949, 0.945, 0.938,
      ],
      replacement: [
        0.916, 0.935, 0.938, 0.95, 0.956, 0.957, 0.953, 0.931, 0.889, 0.843, 0.818, 0.751, 0.686, 0.657, 0.6,
        0.507, 0.481, 0.399, 0.39, 0.427,
      ],
      cycling: [
        0.878, 0.941, 0.949, 0.957, 0.967, 0.955, 0.647, 0.553, 0.623, 0.624, 0.603, 0.615, 0.564, 0.559,
        0.513, 0.498, 0.448, 0.492, 0.473, 0.505,
      ],
    },
  },
  /** Log2 of the initial outer step, mini-batches of 100. */
  c: {
    x: [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6],
    accuracy: {
      cycling: [
        0.506, 0.421, 0.455, 0.431, 0.408, 0.484, 0.432, 0.436, 0.39, 0.313, 0.302, 0.285, 0.2, 0.347, 0.2,
      ],
    },
  },
};

/** §5.1, equations 37, 39 and 41: coefficients of AvgGrad, and of α·AvgGradInner, in the expected gradient. */
export const expansion = {
  maml: { avgGrad: () => 1, avgGradInner: (k: number) => -2 * (k - 1) },
  fomaml: { avgGrad: () => 1, avgGradInner: (k: number) => -(k - 1) },
  reptile: { avgGrad: (k: number) => k, avgGradInner: (k: number) => -0.5 * k * (k - 1) },
} as const;
