/** Models: parameters with a layout, and a function of parameters and inputs. */
import { input, Tensor } from '../graph/tensor.ts';
import { type Shape, size } from '../graph/type.ts';
import {
  type Layout,
  type Leaves,
  layoutOf,
  type Parameter,
  type UniformSource,
  unflatten,
} from './parameters.ts';

/** A network: where its parameters lie, how they begin, and its function. */
export interface Model {
  /** Shape of one input, without the batch. */
  readonly inputShape: Shape;
  readonly layout: Layout;
  /** Fresh parameters, float32 [layout.size]. */
  init(source: UniformSource): Float32Array;
  /**
   * Parameters, as a flat vector [layout.size] or leaf by leaf, and x [..., batch, ...inputShape] →
   * [..., batch, outputs]. Axes before the batch are batches of their own: batch norm keeps them apart.
   */
  apply(parameters: Tensor | Leaves, x: Tensor): Tensor;
}

/** What a model is made from. */
export interface ModelDefinition<K extends string> {
  /** Shape of one input, such as [28, 28, 1]. */
  readonly inputShape: Shape;
  readonly parameters: Readonly<Record<K, Parameter>>;
  /** Named parameters and x [..., batch, ...inputShape] → [..., batch, outputs]. */
  apply(parameters: Readonly<Record<K, Tensor>>, x: Tensor): Tensor;
}

/**
 * A model of one's own:
 *
 *     defineModel({
 *       inputShape: [1],
 *       parameters: { w: { shape: [1, 8], init: glorotUniform }, v: { shape: [8, 1], init: glorotUniform } },
 *       apply: ({ w, v }, x) => matmul(tanh(matmul(x, w)), v),
 *     })
 */
export function defineModel<K extends string>(definition: ModelDefinition<K>): Model {
  const { inputShape, parameters, apply } = definition;
  const layout = layoutOf(parameters);
  return {
    inputShape,
    layout,
    init(source) {
      const flat = new Float32Array(layout.size);
      const declared = Object.entries<Parameter>(parameters); // whose order the layout may have changed
      for (const [name, { shape, init }] of declared) {
        const { offset } = layout.leaves.find((leaf) => leaf.name === name)!;
        init(shape, flat.subarray(offset, offset + size(shape)), source);
      }
      return flat;
    },
    apply(values, x) {
      const leaves = values instanceof Tensor ? unflatten(values, layout) : values;
      return apply(leaves as Record<K, Tensor>, x);
    },
  };
}

/** A part of a network: given the shape of one input, its parameters and its function. */
export type Layer = (inputShape: Shape) => {
  /** Under which its parameters stand, numbered by order: `conv` becomes `conv1`, `conv2`, … */
  readonly name: string;
  readonly parameters: Readonly<Record<string, Parameter>>;
  apply(parameters: Readonly<Record<string, Tensor>>, x: Tensor): Tensor;
};

/** Layers one after another; shapes are found by tracing. */
export function sequential(inputShape: Shape, layers: readonly Layer[]): Model {
  const counts = new Map<string, number>();
  const parameters: Record<string, Parameter> = {};
  const steps: ((parameters: Readonly<Record<string, Tensor>>, x: Tensor) => Tensor)[] = [];
  let shape = inputShape;
  for (const make of layers) {
    const layer = make(shape);
    const count = (counts.get(layer.name) ?? 0) + 1;
    counts.set(layer.name, count);
    const path = (name: string) => `${layer.name}${count}/${name}`;
    const names = Object.keys(layer.parameters);
    for (const name of names) parameters[path(name)] = layer.parameters[name]!;
    const apply: (typeof steps)[number] = (all, x) =>
      layer.apply(Object.fromEntries(names.map((name) => [name, all[path(name)]!])), x);
    const example = input('example', { dtype: 'float32', shape: [1, ...shape] });
    const leaves = Object.entries(layer.parameters).map(
      ([name, leaf]) => [path(name), input(name, { dtype: 'float32', shape: leaf.shape })] as const,
    );
    shape = apply(Object.fromEntries(leaves), example).shape.slice(1);
    steps.push(apply);
  }
  return defineModel({
    inputShape,
    parameters,
    apply: (all, x) => steps.reduce((y, step) => step(all, y), x),
  });
}
