/** Every table and figure of the paper, by the word `anole reproduce` takes. */
import { analysis } from './analysis.ts';
import type { Experiment } from './experiment.ts';
import { figure1 } from './figure1.ts';
import { figure2 } from './figure2.ts';
import { figure3 } from './figure3.ts';
import { figure4 } from './figure4.ts';
import { table1, table2 } from './tables.ts';
import { transfer } from './transfer.ts';

export const experiments: readonly Experiment[] = [
  figure1,
  analysis,
  figure2,
  table1,
  table2,
  figure3,
  figure4,
  transfer,
];
