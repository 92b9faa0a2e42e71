/** Places for values in one block of memory: those that are never alive at the same time may share one. */

/** Something that needs room from one moment to another, both included. */
export interface Tenant {
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
  /** Tenants share room only with those of the same kind. */
  readonly kind: string;
}

/** In bytes: what a processor fetches at once. */
const alignment = 64;

const roundUp = (bytes: number): number => Math.ceil(Math.max(bytes, 1) / alignment) * alignment;

/** Where each tenant begins, from `start` on, and the end of them all. */
export function arrange<T extends Tenant>(
  tenants: readonly T[],
  start: number,
): { places: Map<T, number>; end: number } {
  const places = new Map<T, number>();
  let end = start;
  // Kinds of their own first, in rooms that are theirs alone; then the others.
  const kinds = new Map<string, T[]>();
  for (const tenant of tenants) kinds.set(tenant.kind, [...(kinds.get(tenant.kind) ?? []), tenant]);
  for (const [kind, members] of [...kinds].sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : 0))) {
    const floor = end;
    const isUniform = kind !== '';
    const settled: { tenant: T; place: number; size: number }[] = [];
    const order = isUniform ? members : [...members].sort((a, b) => a.from - b.from || b.bytes - a.bytes);
    for (const tenant of order) {
      const size = roundUp(tenant.bytes);
      const alive = settled
        .filter(({ tenant: other }) => other.from <= tenant.to && tenant.from <= other.to)
        .sort((a, b) => a.place - b.place);
      let place = floor;
      let best: { place: number; gap: number } | undefined;
      for (const other of alive) {
        const gap = other.place - place;
        if (gap >= size && (best === undefined || gap < best.gap)) best = { place, gap };
        place = Math.max(place, other.place + other.size);
      }
      const chosen = best?.place ?? place;
      settled.push({ tenant, place: chosen, size });
      places.set(tenant, chosen);
      end = Math.max(end, chosen + size);
    }
  }
  return { places, end };
}
