/** Results as tables for a terminal. */
import type { Unit } from './harness.ts';
import type { WorkResult } from './results.ts';
import type { Target } from './targets.ts';

const labels: Readonly<Record<string, string>> = {
  'ours-1': 'anole, 1 core',
  'ours-2': 'anole, 2 workers',
  'peer-1': 'PyTorch, 1 thread',
  'peer-2': 'PyTorch, 2 threads',
  'peer-2x1': 'PyTorch, 2 processes',
  'peak-1': 'matrix product, 1 core',
  'peak-2': 'matrix product, 2 cores',
};

/** Three significant digits, and no exponent. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 1e-6))));
  return value.toFixed(places);
}

/** Rows in columns, the first two to the left, numbers to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** One work, a line a variant. */
export function workReport(result: WorkResult): string {
  const { name, measures, unit, variants, ratios, shares, peer } = result;
  const rows = Object.entries(variants).map(([variant, summary]) => {
    const { median, min, q1, q3 } = summary;
    const unitHere: Unit = variant.startsWith('peak') ? 'GFLOP/s' : unit;
    return [
      `  ${labels[variant] ?? variant}`,
      `${digits(median)} ${unitHere}`,
      digits(min),
      `${digits(q1)} to ${digits(q3)}`,
      ratios[variant] === undefined ? '' : `${ratios[variant].toFixed(2)}×`,
      shares[variant] === undefined ? '' : `${(100 * shares[variant]).toFixed(0)}% reached`,
    ];
  });
  const lines = [`${name}: ${measures}`];
  lines.push(table([['', 'median', 'min', 'quartiles', 'anole ahead', 'share of peak'], ...rows]));
  for (const { threads, capability, settings } of peer?.choices ?? []) {
    const kernels = capability === 'default' ? '' : `, ${capability}`;
    lines.push(`  PyTorch's fastest with ${threads} threads${kernels}: ${JSON.stringify(settings)}`);
  }
  if (peer?.difference !== undefined) {
    lines.push(`  both compute the same: largest difference ${peer.difference.toExponential(1)}`);
  }
  return lines.join('\n');
}

/** Every target that was measured. */
export function targetReport(results: readonly WorkResult[]): string {
  const rows = results.flatMap(({ name, unit, targets }) =>
    targets.map(({ of, bound, measured, reached }) => [
      name,
      of === 'value' ? unit : (labels[of] ?? of),
      `${of === 'value' ? '≤' : '≥'} ${amount(of, bound)}`,
      amount(of, measured),
      reached ? 'yes' : 'NO',
    ]),
  );
  if (rows.length === 0) return '';
  return `Targets\n${table([['work', 'against', 'target', 'measured', 'reached'], ...rows])}`;
}

function amount(of: Target['of'], value: number): string {
  if (of === 'value') return digits(value);
  return of.startsWith('peak') ? `${(100 * value).toFixed(0)}%` : `${value.toFixed(2)}×`;
}
