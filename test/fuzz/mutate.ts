/** Seeded damage to files: what bad disks, cut transfers and hostile people make of them. */
import type { Random } from '../../src/data/random.ts';

/** Bytes that mean something to JSON, and some that never do. */
const letters = new TextEncoder().encode('{}[]",:\\0123456789-.eEFIU _nulltruefalse/\u00ff');

/** Numbers that lengths, counts and offsets lie with. */
const extremes = [
  0n,
  1n,
  7n,
  127n,
  255n,
  0x7fffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  2n ** 53n,
  2n ** 64n - 1n,
];

/** Values that a setting or an entry should not have, and some that it may. */
export const strangeValues: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -0,
    -1,
    0.5,
    1e308,
    -1e308,
    2 ** 53,
    '',
    'cpu',
    'sine',
    '__proto__',
    '5',
    'x'.repeat(9999),
  ],
  ...[[], [1], {}, { a: {} }, 'omniglot', 'adam', 'reptile', 3, 10],
];

export interface Mutation {
  /** Where the damage is done nine times of ten: the bytes of a header, say. @default the whole file */
  readonly target?: readonly [number, number];
}

/** `original` with one to three changes; one time of fifty random bytes altogether. */
export function mutate(random: Random, original: Uint8Array, { target }: Mutation = {}): Uint8Array {
  if (random.integer(50) === 0) return randomBytes(random, random.integer(300));
  let bytes: Uint8Array = new Uint8Array(original); // a copy also of a Buffer, whose slice is none
  for (let changes = 1 + random.integer(3); changes > 0; changes--) {
    const [from, to] = target !== undefined && random.uniform() < 0.9 ? target : [0, bytes.length];
    const at = Math.min(bytes.length, from + random.integer(Math.max(1, to - from)));
    bytes = change(random, bytes, at);
  }
  return bytes;
}

function change(random: Random, bytes: Uint8Array, at: number): Uint8Array {
  const letter = letters[random.integer(letters.length)]!;
  switch (random.integer(8)) {
    case 0:
      bytes[at] = random.integer(256);
      return bytes;
    case 1:
      bytes[at] = letter;
      return bytes;
    case 2:
      return bytes.slice(0, at);
    case 3:
      return joined(bytes.subarray(0, at), Uint8Array.of(letter), bytes.subarray(at));
    case 4:
      return joined(bytes.subarray(0, at), bytes.subarray(at + 1 + random.integer(8)));
    case 5:
      return bytes.copyWithin(at, random.integer(bytes.length + 1), random.integer(bytes.length + 1));
    case 6:
      return joined(bytes.subarray(0, at), randomBytes(random, 1 + random.integer(16)), bytes.subarray(at));
    default: {
      const width = [2, 4, 8][random.integer(3)]!;
      const lie = Uint8Array.from(
        littleEndian(extremes[random.integer(extremes.length)]!).subarray(0, width),
      );
      bytes.set(lie.subarray(0, Math.max(0, bytes.length - at)), at);
      return bytes;
    }
  }
}

function littleEndian(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

export function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.integer(256));
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
