/**
 * The errors users meet. Each message says where, what was expected, what came and what to do.
 * A fault of ours starts with `internal:`.
 */

/** Shapes or dtypes that do not fit together, found while a graph is built. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError';
}

/** An option, flag or argument that is unknown, out of range or in conflict with another. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

/** Files or examples that are missing, damaged or too few. */
export class DataError extends Error {
  override readonly name = 'DataError';
}

/** A training run that can not go on, such as a loss that became infinite. */
export class TrainingError extends Error {
  override readonly name = 'TrainingError';
}

/** Bounds of a number that counts something. */
export interface CountBounds {
  /** @default 1 */
  readonly from?: number;
  /** @default no bound */
  readonly to?: number;
  /** Ends the message: what to do, or why the bound is there. */
  readonly remedy?: string;
}

/** @throws {OptionError} unless `value` is a whole number within the bounds; `where` starts the message */
export function checkCount(
  where: string,
  value: number,
  { from = 1, to = Number.MAX_SAFE_INTEGER, remedy }: CountBounds = {},
): void {
  if (Number.isSafeInteger(value) && value >= from && value <= to) return;
  const bounds = to === Number.MAX_SAFE_INTEGER ? `from ${from} on` : `from ${from} to ${to}`;
  throw new OptionError(
    `${where}: expected a whole number ${bounds}, got ${value}${remedy === undefined ? '' : `: ${remedy}`}`,
  );
}

/** @throws {OptionError} unless `value` is one of `choices`; `where` starts the message */
export function checkChoice(where: string, value: string, choices: readonly string[]): void {
  if (choices.includes(value)) return;
  throw new OptionError(
    `${where}: "${value}" is not one of ${choices.join(', ')}${didYouMean(String(value), choices)}`,
  );
}

/** The closest of `known` to a mistyped `word`, as `; did you mean "x"?`, or an empty string. */
export function didYouMean(word: string, known: readonly string[]): string {
  let best = '';
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best === '' ? '' : `; did you mean "${best}"?`;
}

/** Damerau-Levenshtein distance: insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => {
    const row = new Array<number>(b.length + 1).fill(0);
    row[0] = i;
    return row;
  });
  for (let j = 0; j <= b.length; j++) rows[0]![j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replace = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let distance = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, rows[i - 2]![j - 2]! + 1);
      }
      rows[i]![j] = distance;
    }
  }
  return rows[a.length]![b.length]!;
}
