/** What the tests of this folder have in common. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/data/random.ts';
import { DataError, OptionError, ShapeError } from '../../src/errors.ts';
import { largestAllocation } from './allocations.ts';
import { joined, mutate } from './mutate.ts';

/** What the inputs are called. */
export const name = 'some.file';

const limit = { timeout: 60_000 };

export interface Fuzz {
  readonly inputs: number;
  /** Reads the next input of the stream; returns how many bytes it has. */
  read(random: Random): number | Promise<number>;
  /** In the message of every error. @default some.file */
  readonly names?: string;
  /** Read without an error at least so often, and refused so often: else the damage is none, or too much. */
  readonly least: readonly [number, number];
}

/**
 * Every input is read, or refused by an error of ours that names the file, without memory that only its header
 * asks for. The runner's time limit catches what hangs.
 */
export function fuzz(title: string, { inputs, read, names = name, least }: Fuzz): void {
  test(`${title}: ${inputs.toLocaleString('en-US')} inputs`, limit, async (t) => {
    const random = Random.stream(11, title);
    const counts = { read: 0, refused: 0 };
    for (let i = 0; i < inputs; i++) {
      const { state } = random;
      largestAllocation();
      try {
        const length = await read(random);
        // Deflate unpacks to 1032 times its input at most; below a megabyte nothing is worth a check.
        const allowed = Math.max(2 ** 21, 1032 * length);
        const largest = largestAllocation();
        assert.ok(largest <= allowed, `${largest} bytes were asked for`);
        counts.read++;
      } catch (error) {
        const isOurs =
          error instanceof DataError || error instanceof OptionError || error instanceof ShapeError;
        const largest = largestAllocation();
        if (!isOurs || !error.message.includes(names) || largest > 2 ** 21) {
          const note = `input ${i}, whose stream starts at [${state}], asked for ${largest} bytes`;
          throw new Error(note, { cause: error });
        }
        counts.refused++;
      }
    }
    t.diagnostic(`${counts.read} read, ${counts.refused} refused`);
    assert.ok(counts.read >= least[0] && counts.refused >= least[1], JSON.stringify(counts));
  });
}

/** Where the header of a safetensors file ends. */
export function headerEnd(bytes: Uint8Array): number {
  return 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
}

/** A damaged safetensors file; half of them say the right length of their header all the same. */
export function damaged(random: Random, original: Uint8Array): Uint8Array {
  const end = headerEnd(original);
  if (random.integer(2) === 0) return mutate(random, original, { target: [0, end] });
  const header = mutate(random, original.subarray(8, end));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return joined(length, header, original.subarray(end));
}
