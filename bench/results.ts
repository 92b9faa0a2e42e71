/** From the samples of a work to what is said of it: ratios, shares of the peak, targets. */
import type { Unit, Work } from './harness.ts';
import type { PeerChoice } from './peer.ts';
import { pairedRatio, type Summary } from './statistics.ts';
import { isReached, type Target, targets } from './targets.ts';

export interface WorkResult {
  readonly name: string;
  readonly measures: string;
  readonly unit: Unit;
  readonly variants: Readonly<Record<string, Summary>>;
  /** How many times as fast as the peer ours is on the same cores, by the peer's variant. */
  readonly ratios: Readonly<Record<string, number>>;
  /** Which share of the measured peak ours reaches, by cores: `peak-1`, `peak-2`. */
  readonly shares: Readonly<Record<string, number>>;
  readonly targets: readonly (Target & { readonly measured: number; readonly reached: boolean })[];
  readonly peer?: {
    readonly choices: readonly PeerChoice[];
    /** The largest difference of what both compute, relative. */
    readonly difference?: number;
  };
}

/** Which variant of ours runs on the same cores as one of the peer's. */
function counterpart(peer: string, variants: Readonly<Record<string, unknown>>): string {
  return peer !== 'peer-1' && 'ours-2' in variants ? 'ours-2' : 'ours-1';
}

export function resultOf(
  work: Pick<Work, 'name' | 'measures' | 'unit' | 'flops'>,
  variants: Readonly<Record<string, Summary>>,
  peer?: WorkResult['peer'],
): WorkResult {
  const { name, measures, unit, flops } = work;
  const named = (prefix: string) => Object.keys(variants).filter((variant) => variant.startsWith(prefix));
  const ratios = named('peer').map((variant): [string, number] => {
    const ours = variants[counterpart(variant, variants)]!;
    return [variant, pairedRatio(variants[variant]!.samples, ours.samples)];
  });
  const shares = named('peak').flatMap((variant): [string, number][] => {
    const ours = variants[variant.replace('peak', 'ours')];
    if (ours === undefined || flops === undefined) return [];
    return [[variant, flops / (ours.median * 1e6) / variants[variant]!.median]];
  });
  const measured: Readonly<Record<string, number>> = Object.fromEntries([
    ...ratios,
    ...shares,
    ['value', Object.values(variants)[0]!.median],
  ]);
  return {
    name,
    measures,
    unit,
    variants,
    ratios: Object.fromEntries(ratios),
    shares: Object.fromEntries(shares),
    targets: targets
      .filter((target) => target.work.test(name) && target.of in measured)
      .map((target) => ({
        ...target,
        measured: measured[target.of]!,
        reached: isReached(target, measured[target.of]!),
      })),
    peer,
  };
}

/** The largest relative difference between what is expected and what came, over all numbers. */
export function largestDifference(
  expected: Readonly<Record<string, number | readonly number[]>>,
  answer: Readonly<Record<string, number | readonly number[]>>,
): number {
  const differences = Object.entries(expected).map(([name, value]) => {
    const [a, b] = [[value].flat(), [answer[name] ?? Number.NaN].flat()];
    const scale = Math.max(...a.map(Math.abs), Number.MIN_VALUE);
    return Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) / scale;
  });
  return Math.max(...differences);
}
