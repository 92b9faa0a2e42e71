/** Which worker runs which stages, when there are several lists of them. */

/** Stages `from` … `to` − 1 of list `list`. */
export interface Segment {
  readonly list: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Divides lists of `lengths` stages evenly among workers, each of which runs its segments in order: the
 * wrap-around rule of McNaughton (1959). A list that does not fit on a worker any more is cut: the next
 * worker runs its beginning first of all, this one its end last of all, so that the one is done when the
 * other begins. Five tasks of two stages on two workers take the time of five stages instead of six.
 */
export function schedule(lengths: readonly number[], workers: number): Segment[][] {
  const total = lengths.reduce((a, b) => a + b, 0);
  const capacity = Math.max(Math.ceil(total / workers), ...lengths);
  const plan: Segment[][] = [[]];
  let free = capacity;
  lengths.forEach((length, list) => {
    const cut = Math.max(0, length - free); // stages that have to go to the next worker
    if (cut < length) plan.at(-1)!.push({ list, from: cut, to: length });
    free -= length - cut;
    if (cut > 0) {
      plan.push([{ list, from: 0, to: cut }]);
      free = capacity - cut;
    }
  });
  return plan;
}
