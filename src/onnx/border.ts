/**
 * How the arrays of a program cross into its model and out of it: whole, or cut and joined in place. A vector that is
 * only read slice by slice goes in as so many parts, and one that is joined at the end comes out part by part. Small
 * parts side by side go together, since every value that crosses costs as much as a copy of some thousand elements.
 */
import { isKind, type Tensor } from '../graph/tensor.ts';
import { type Graph, nodesOf } from '../graph/trace.ts';
import { size, type TensorType } from '../graph/type.ts';

/** Where a value that goes into the model, or comes out of it, lies in an array of the program. */
export interface Binding {
  /** What the model calls it. */
  readonly value: string;
  /** The array: the name of an input or output of the graph. */
  readonly name: string;
  /** Index of its first element there. */
  readonly offset: number;
  readonly type: TensorType;
}

/** Where a part of an array lies in it. */
export type Place = Omit<Binding, 'value'>;

/** A value of a graph that is a part of one of its arrays, or all of it. */
export interface Part {
  readonly part: Tensor;
  readonly place: Place;
}

export interface InputPart extends Part {
  /** What goes in: the part, or a stretch of the array that it is cut out of. */
  readonly stretch: Binding;
}

/** The inputs that are read: whole, or their slices where nothing else is made of them. */
export function partsOfInputs(graph: Graph): InputPart[] {
  const nodes = nodesOf(Object.values(graph.outputs));
  return Object.entries(graph.inputs).flatMap(([name, node]) => {
    if (!nodes.includes(node)) return [];
    const parts = (slicesOf(node, nodes, graph) ?? [node])
      .map((part): Part => {
        const offset = isKind(part, 'slice') ? part.attributes.starts[0]! : 0;
        return { part, place: { name, offset, type: { dtype: part.dtype, shape: part.shape } } };
      })
      .sort((a, b) => a.place.offset - b.place.offset);
    return stretchesOf(parts).flatMap(({ members, place }) => {
      const whole = size(place.type.shape) === node.size;
      const stretch = { ...place, value: whole ? name : keyOf(place) };
      return members.map((member) => ({ ...member, stretch }));
    });
  });
}

/** The slices of a vector, if nothing else is made of it. */
function slicesOf(node: Tensor, nodes: readonly Tensor[], graph: Graph): Tensor<'slice'>[] | undefined {
  if (node.rank !== 1 || Object.values(graph.outputs).includes(node)) return undefined;
  const users = nodes.filter(({ inputs }) => inputs.includes(node));
  const isPart = (user: Tensor): user is Tensor<'slice'> =>
    isKind(user, 'slice') && user.attributes.steps[0] === 1 && user.size > 0;
  return users.length > 0 && users.every(isPart) ? users : undefined;
}

/** The outputs, joined ones as the parts they are joined from. */
export function partsOfOutputs(graph: Graph): Part[] {
  return Object.entries(graph.outputs).flatMap(([name, node]) => {
    let offset = 0;
    return (isKind(node, 'concat') && node.rank === 1 ? node.inputs : [node]).map((part): Part => {
      const place = { name, offset, type: { dtype: part.dtype, shape: part.shape } };
      offset += part.size;
      return { part, place };
    });
  });
}

/** Parts of fewer elements cross the border together with small ones beside them. */
const smallPart = 8192;

/** What crosses as one value. */
export interface Stretch {
  readonly members: Part[];
  readonly place: Place;
}

/** Parts in the order of their places, those that cross the border together in one stretch. */
export function stretchesOf(parts: readonly Part[]): Stretch[] {
  const isSmall = ({ type: { shape } }: Place) => shape.length === 1 && size(shape) < smallPart;
  const stretches: Stretch[] = [];
  for (const next of parts) {
    const last = stretches.at(-1);
    const { place } = next;
    const joins =
      last?.place.name === place.name &&
      endOf(last.place) === place.offset &&
      isSmall(place) &&
      isSmall(last.members.at(-1)!.place);
    if (joins) {
      const shape = [size(last.place.type.shape) + size(place.type.shape)];
      const joined = { ...last.place, type: { ...place.type, shape } };
      stretches.splice(-1, 1, { members: [...last.members, next], place: joined });
    } else stretches.push({ members: [next], place });
  }
  return stretches;
}

export function endOf({ offset, type }: Place): number {
  return offset + size(type.shape);
}

/** Tells a part of an array from others. */
export function keyOf(place: Place): string {
  const { name, offset, type } = place;
  return type.shape.length === 1 && endOf(place) > 0 ? `${name}[${offset}:${endOf(place)}]` : name;
}
