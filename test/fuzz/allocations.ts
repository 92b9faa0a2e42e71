/**
 * The largest typed array that is asked for, in bytes, so that a test sees a parser believe a length it should
 * not. To be imported before what it watches, for some libraries keep the constructors that they find.
 */
let most = 0;

for (const name of [
  'Uint8Array',
  'Uint16Array',
  'Uint32Array',
  'Int8Array',
  'Int16Array',
  'Int32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const) {
  const original = globalThis[name] as Uint8ArrayConstructor;
  const watched: Uint8ArrayConstructor = new Proxy(original, {
    construct(target, args: unknown[], newTarget) {
      if (typeof args[0] === 'number') most = Math.max(most, args[0] * target.BYTES_PER_ELEMENT);
      return Reflect.construct(target, args, newTarget === watched ? target : newTarget) as object;
    },
  });
  Object.assign(globalThis, { [name]: watched });
}

/** The largest since it was asked last. */
export function largestAllocation(): number {
  const found = most;
  most = 0;
  return found;
}
