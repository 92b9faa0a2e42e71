/** Weights that come with the package: their names and where they lie. */

/** One entry a file, each address written out: bundlers find files by `new URL('…', import.meta.url)`. */
const addresses = {
  'omniglot-5way': () => new URL('../../../weights/omniglot-5way.safetensors', import.meta.url),
  'glyphs-5way': () => new URL('../../../weights/glyphs-5way.safetensors', import.meta.url),
} as const;

/** `omniglot-5way`: handwritten characters, the paper’s 100,000 iterations. `glyphs-5way`: drawn ones, no data. */
export type ShippedName = keyof typeof addresses;

export const shippedNames = Object.keys(addresses) as ShippedName[];

export function shippedAddress(name: ShippedName): URL {
  return addresses[name]();
}

export function isShipped(name: string): name is ShippedName {
  return Object.hasOwn(addresses, name);
}
