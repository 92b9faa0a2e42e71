/** The analysis (§5.1) as an experiment: its units are in `analysis-units.ts`, its tables and pictures in `analysis-report.ts`. */
import { reportOf } from './analysis-report.ts';
import { analysisUnits } from './analysis-units.ts';
import type { Experiment, Unit } from './experiment.ts';

export const analysis: Experiment = {
  name: 'analysis',
  summary: 'coefficients of AvgGrad and AvgGradInner against equations 37, 39 and 41 (§5.1)',
  plan(options) {
    const units = analysisUnits(options);
    return {
      title: 'Analysis (§5.1): the expected gradients and their expansion',
      units: [...units.expansions, ...units.agreements].map(({ unit }): Unit => unit as Unit),
      parallelUnits: true,
      report: (done) => reportOf(units, done),
    };
  },
};
