/** The tables and pictures of the analysis (§5.1). */
import { expansion as paper } from '../paper.ts';
import {
  type Agreement,
  type AnalysedAlgorithm,
  type AnalysisUnits,
  agreementAlgorithms,
  algorithmNames,
  type Expansion,
  type Network,
  networks,
  steps,
} from './analysis-units.ts';
import type { Done, Report, RowGroup } from './experiment.ts';
import type { PanelsPicture, PlotSeries } from './pictures.ts';
import { measureOf } from './statistics.ts';

const titles: Readonly<Record<AnalysedAlgorithm, string>> = {
  maml: 'MAML',
  fomaml: 'FOMAML',
  reptile: 'Reptile',
};

/** k whose coefficients are in the table; all are in the pictures and the record. */
const tabled: readonly number[] = [2, 4, 8];

export function reportOf({ expansions, agreements }: AnalysisUnits, done: Done): Report {
  const found = networks.map((network) => ({
    network,
    expansions: expansions.filter((one) => one.network === network).flatMap(({ unit }) => done(unit) ?? []),
  }));
  const measured = found.filter((one) => one.expansions.length > 0);
  const followed = agreements.map((one) => ({ ...one, result: done(one.unit) }));
  return {
    groups: [
      ...measured.map(groupOf),
      ...(followed.some(({ result }) => result) ? [agreementGroup(followed)] : []),
    ],
    measured: {
      expansions: Object.fromEntries(found.map(({ network, expansions: list }) => [network.key, list])),
      agreements: followed.map(({ key, algorithm, result }) => ({ task: key, algorithm, ...(result ?? {}) })),
    },
    pictures: {
      ...(measured.length > 0
        ? {
            'analysis-coefficients.svg': coefficientsPicture(measured),
            'analysis-breakdown.svg': breakdownPicture(measured),
          }
        : {}),
      ...(followed.every(({ result }) => result)
        ? { 'analysis-agreement.svg': agreementPicture(followed) }
        : {}),
    },
    remarks: [
      'Coefficients of the smallest α of each network. E[g], AvgGrad and AvgGradInner are taken over the same tasks and mini-batches; ± is the 95% jackknife interval over tasks.',
      'The expansion takes two derivatives of the loss. At the kink of a ReLU there is no second one: what the gradient jumps by there is in E[g] but not in AvgGradInner, whose coefficient then falls short. SiLU, x·sigmoid(x), in place of ReLU shows the expansion without that.',
    ],
  };
}

interface Measured {
  readonly network: Network;
  readonly expansions: readonly Expansion[];
}

function groupOf({ network, expansions }: Measured): RowGroup {
  const shown = expansions.filter(({ k }) => tabled.includes(k));
  return {
    title: `${network.name}, α = ${network.alphas[0]}`,
    unit: 'number',
    reference: 'theory',
    rows: algorithmNames.flatMap((name) =>
      (['avgGrad', 'avgGradInner'] as const).flatMap((term) =>
        shown.map(({ k, alphas }) => ({
          label: `${titles[name]}, k = ${k}: ${term === 'avgGrad' ? 'AvgGrad' : 'AvgGradInner / α'}`,
          ours: alphas[0]!.fits[name][term],
          paper: { value: paper[name][term](k) },
        })),
      ),
    ),
  };
}

/** Fitted coefficients of AvgGradInner and AvgGrad against k, with the theory's. */
function coefficientsPicture(measured: readonly Measured[]): PanelsPicture {
  return {
    kind: 'panels',
    title: 'Coefficients of the expected gradient (§5.1, equations 37, 39, 41)',
    subtitle:
      'E[g] ≈ c·AvgGrad + c′·α·AvgGradInner, fitted by least squares over all parameters at the smallest α. Above c′, below c, which is 1 for MAML and FOMAML alike.',
    columns: measured.length,
    x: { label: 'k, inner steps', ticks: [...steps] },
    y: { label: 'coefficient' },
    key: { ours: 'measured', reference: 'theory' },
    sharedColors: true,
    panels: (['avgGradInner', 'avgGrad'] as const).flatMap((term) =>
      measured.map(({ network, expansions }) => ({
        title: network.name,
        y: { label: term === 'avgGrad' ? 'c, of AvgGrad' : 'c′, of α·AvgGradInner' },
        series: algorithmNames.flatMap((name, color): PlotSeries[] => [
          {
            name: titles[name],
            role: 'reference',
            color,
            points: steps.map((k) => ({ x: k, y: paper[name][term](k) })),
          },
          {
            name: titles[name],
            role: 'ours',
            color,
            dotsOnly: true,
            points: expansions.map(({ k, alphas }) => {
              const { value, ci95 } = alphas[0]!.fits[name][term];
              return { x: k, y: value, low: value - ci95, high: value + ci95 };
            }),
          },
        ]),
      })),
    ),
  };
}

/** Measured over theory against αk. */
function breakdownPicture(measured: readonly Measured[]): PanelsPicture {
  return {
    kind: 'panels',
    title: 'Where the expansion breaks',
    subtitle:
      'Coefficient of AvgGradInner, measured over theory, against αk. The theory, an expansion for small αk, holds where it is 1.',
    columns: measured.length,
    x: { label: 'αk', scale: 'log' },
    y: { label: 'measured / theory', domain: [-0.25, 1.25] },
    key: { ours: 'measured', reference: 'theory' },
    sharedColors: true,
    panels: algorithmNames.flatMap((name) =>
      measured.map(({ network, expansions }) => {
        const shown = expansions.filter(({ k }) => tabled.includes(k));
        const xs = shown.flatMap(({ k, alphas }) => alphas.map(({ alpha }) => alpha * k));
        return {
          title: `${titles[name]}, ${network.name}`,
          series: [
            {
              name: 'theory',
              role: 'reference' as const,
              points: [Math.min(...xs), Math.max(...xs)].map((x) => ({ x, y: 1 })),
            },
            ...shown.map(
              ({ k, alphas }): PlotSeries => ({
                name: `k = ${k}`,
                role: 'ours',
                color: tabled.indexOf(k),
                points: alphas
                  .map(({ alpha, fits }) => ({
                    x: alpha * k,
                    y: fits[name].avgGradInner.value / paper[name].avgGradInner(k),
                  }))
                  .filter(({ y }) => y >= -0.25 && y <= 1.25), // beyond, nothing is left of the expansion
              }),
            ),
          ],
        };
      }),
    ),
  };
}

type Followed = { readonly key: string; readonly algorithm: string; readonly result: Agreement | undefined };

const agreementTitles = { sine: 'sine network', omniglot: 'Omniglot network' } as Readonly<
  Record<string, string>
>;
const agreementNames = { reptile: 'Reptile', joint: 'joint training' } as Readonly<Record<string, string>>;

function agreementGroup(followed: readonly Followed[]): RowGroup {
  return {
    title: 'Inner product of two gradients of one task, E[ḡ₁·ḡ₂] (the paper says it rises for Reptile)',
    unit: 'number',
    rows: followed.flatMap(({ key, algorithm, result }) =>
      result === undefined
        ? []
        : [result.points[0]!, result.points.at(-1)!].map(({ iteration, product }) => ({
            label: `${agreementTitles[key]}, ${agreementNames[algorithm]}, iteration ${iteration}`,
            ours: measureOf(product),
          })),
    ),
  };
}

function agreementPicture(followed: readonly Followed[]): PanelsPicture {
  const keys = [...new Set(followed.map(({ key }) => key))];
  const measures = { product: 'E[ḡ₁·ḡ₂]', cosine: 'cosine of ḡ₁ and ḡ₂' } as const;
  return {
    kind: 'panels',
    title: 'Gradients of one task agree more and more under Reptile',
    subtitle:
      'Two mini-batches of one task at the initialization reached so far: inner product of their gradients, and its cosine. Joint training follows the same gradients without AvgGradInner.',
    columns: 2,
    x: { label: 'meta-iteration' },
    y: { label: '' },
    key: { ours: 'measured (shaded: 95% interval over tasks)' },
    sharedColors: true,
    panels: keys.flatMap((key) =>
      (['product', 'cosine'] as const).map((measure) => ({
        title: agreementTitles[key]!,
        y: { label: measures[measure] },
        series: agreementAlgorithms.map((algorithm, color): PlotSeries => {
          const { result } = followed.find((one) => one.key === key && one.algorithm === algorithm)!;
          return {
            name: agreementNames[algorithm]!,
            role: 'ours',
            color,
            points: result!.points.map((point) => {
              const { value, ci95 } = measureOf(point[measure]);
              return { x: point.iteration, y: value, low: value - ci95, high: value + ci95 };
            }),
          };
        }),
      })),
    ),
  };
}
