/** How a round of a loop hands its values on to the next: where they were, if that can be. */
import type { Tensor } from '../graph/tensor.ts';
import type { Graph } from '../graph/trace.ts';
import type { Kernel, Kernels } from './kernels.ts';
import { type Operations, readsOf, writesOf } from './operations.ts';
import { extentOf, isWhole, lengthOf, Memory, type Region, wholeOf } from './regions.ts';

/**
 * What a round hands on, by name: each a memory of its own that is made in the round, so that it can be made somewhere
 * else. All others are copied, before somebody writes over them; what stays as it is goes nowhere.
 */
export function leavingOf(
  { outputs }: Graph,
  carried: Readonly<Record<string, Memory>>,
  operations: Operations,
  regions: ReadonlyMap<Tensor, Region>,
): Map<string, Memory> {
  const leaving = new Map<string, Memory>();
  const handedOn = new Set<Memory>();
  for (const [name, node] of Object.entries(outputs)) {
    const region = regions.get(node)!;
    if (region.memory === carried[name] && isWhole(region)) continue;
    let { memory } = region;
    if (!operations.isFree(region) || handedOn.has(memory)) {
      memory = new Memory(node.dtype, node.size);
      operations.copy(region, wholeOf(memory), node.size);
    }
    handedOn.add(memory);
    leaving.set(name, memory);
  }
  return leaving;
}

/**
 * Lets what a round makes take the place of what it was made from. A stretch can be made there at once if everybody
 * else has read the old one by then; otherwise it is copied at the end of the round.
 */
export function carryOn(
  leaving: ReadonlyMap<string, Memory>,
  carried: Readonly<Record<string, Memory>>,
  operations: Operations,
  kernels: Kernels,
): void {
  const read = new Set(operations.list.flatMap(readsOf).map(({ memory }) => memory));
  const written = new Set(operations.list.flatMap(writesOf).map(({ memory }) => memory));
  const copied: { region: Region; target: Region }[] = [];
  const pieces: { piece: Memory; target: Memory; offset: number }[] = [];
  for (const [name, memory] of leaving) {
    const target = carried[name]!;
    const parts = new Set([...written].flatMap((part) => childOf(memory, part) ?? []));
    // One that is only joined from others, and not read as a whole, can go part by part.
    if (parts.size === 0 || written.has(memory) || read.has(memory)) {
      pieces.push({ piece: memory, target, offset: 0 });
    } else {
      for (const piece of parts) pieces.push({ piece, target, offset: piece.within!.offset });
    }
  }
  for (const { piece, target, offset } of pieces) {
    if (takesPlace(piece, target, offset, kernels)) piece.within = { memory: target, offset };
    else {
      piece.within = undefined;
      const { axes } = wholeOf(piece);
      copied.push({ region: wholeOf(piece), target: { memory: target, offset, axes } });
    }
  }
  const all = [...kernels.all];
  for (const { region, target } of copied) {
    const { dtype } = region.memory;
    const count = lengthOf(target.axes);
    const kernel = kernels.append({
      kind: 'elementwise',
      count,
      dtype,
      operands: [region],
      expression: ([x]) => x!,
      target,
    });
    for (const other of all) kernels.delay(kernel, other);
  }
}

/** Orders the readers of a stretch before what makes the new one; false where that is impossible. */
function takesPlace(piece: Memory, target: Memory, offset: number, kernels: Kernels): boolean {
  const makers = [...kernels.makersOf(piece)];
  const overlaps = (region: Region) => {
    if (region.memory !== target) return false;
    const { first, last } = extentOf(region);
    return last >= offset && first < offset + piece.size;
  };
  const pairs: [Kernel, Kernel][] = [];
  for (const reader of kernels.all) {
    for (const maker of makers) {
      const read = reader.operations.flatMap(readsOf).filter(overlaps);
      if (read.length === 0) continue;
      if (reader === maker) {
        const isSamePlace = ({ offset: start, axes }: Region) =>
          start === offset &&
          maker.loop !== undefined &&
          lengthOf(axes) === piece.size &&
          isWhole({ memory: piece, offset: 0, axes });
        const isElementwise = kernels.elementwiseMaker(piece) === maker;
        if (!isElementwise || !read.every(isSamePlace)) return false;
      } else {
        if (kernels.precedes(maker, reader)) return false;
        pairs.push([reader, maker]);
      }
    }
  }
  for (const [reader, maker] of pairs) kernels.delay(maker, reader);
  return true;
}

/** The stretch of a memory that another, deeper one lies in. */
function childOf(memory: Memory, deeper: Memory): Memory | undefined {
  for (let at = deeper; at.within !== undefined; at = at.within.memory) {
    if (at.within.memory === memory) return at;
  }
  return undefined;
}
