/** The C compiler of the machine: whether there is one, what it compiles for, and libraries made with it. */
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { env, platform } from 'node:process';
import { promisify } from 'node:util';
import { DataError } from '../errors.ts';
import { cacheFolder, fileFault, writeAtomically } from '../files.ts';
import type { Machine } from '../native/blocks.ts';

/** A compiler and how it is called. */
export interface Compiler {
  readonly command: string;
  readonly flags: readonly string[];
  readonly machine: Machine;
  /** Tells apart what would compile another library: version, and the processor's features. */
  readonly identity: string;
}

const call = promisify(execFile);

/** For this very processor: compilers and processors differ in which of them they know. */
const tunings = [['-march=native'], ['-mcpu=native'], []];

const flags = [
  ...['-O3', '-std=gnu11', '-shared', '-fPIC', '-fvisibility=hidden', '-w'],
  // What is lost are flags and traps that nobody asks for; products are added in one rounding.
  ...['-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast', '-fopenmp-simd'],
  ...(platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []),
];

let known: Promise<Compiler | undefined> | undefined;

/** The compiler that `CC` names, else `cc`; undefined where it does not work. Asked for once. */
export function findCompiler(): Promise<Compiler | undefined> {
  known ??= probe();
  return known;
}

/** What is called: `CC`, else `cc`. */
export function compilerCommand(): string {
  return env.CC || 'cc';
}

async function probe(): Promise<Compiler | undefined> {
  const [command, ...given] = compilerCommand().split(/\s+/) as [string, ...string[]];
  for (const tuning of tunings) {
    try {
      const listing = call(command, [...given, ...tuning, '-dM', '-E', '-x', 'c', '-'], {
        maxBuffer: 2 ** 24,
      });
      listing.child.stdin?.end();
      const { stdout } = await listing;
      const has = (macro: string) => stdout.includes(`#define ${macro} `);
      const wide = has('__AVX512F__');
      const machine: Machine = {
        vectorBytes: wide ? 64 : has('__AVX__') ? 32 : 16,
        vectorRegisters: wide || has('__aarch64__') ? 32 : 16,
      };
      const width = wide ? ['-mprefer-vector-width=512'] : [];
      const all = [...given, ...tuning, ...width, ...flags];
      return { command, flags: all, machine, identity: JSON.stringify([all, stdout]) };
    } catch {
      // it is not there, or does not know the flag
    }
  }
  return undefined;
}

/** How long a library that nobody loads any more is kept, in days. */
const keptDays = 30;

/**
 * The path of the library that a source compiles to: made, or found in the cache. Beside it stands the hash of its
 * bytes: to load one that is damaged would end the process.
 * @throws {DataError} when it can not be written
 */
export async function buildLibrary({ command, flags, identity }: Compiler, source: string): Promise<string> {
  const name = hashOf(`${identity}\0${source}`).slice(0, 32);
  const folder = join(cacheFolder(), 'native');
  const path = join(folder, `${name}.node`);
  const proof = `${path}.sha256`;
  if (await isSound(path, proof)) {
    const now = new Date();
    await Promise.all([path, proof].map((file) => utimes(file, now, now))).catch(() => {}); // only so that it is kept
    return path;
  }
  const draft = join(folder, `${name}.${randomUUID()}`);
  const [text, library] = [`${draft}.c`, `${draft}.tmp`];
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(text, source);
    await call(command, [...flags, '-o', library, text, '-lm'], { maxBuffer: 2 ** 24 });
    const bytes = await readFile(library);
    await writeAtomically(path, bytes);
    await writeAtomically(proof, Buffer.from(hashOf(bytes)));
  } catch (cause) {
    const { stderr, code } = cause as { stderr?: string; code?: unknown };
    if (stderr || typeof code === 'number') {
      const reason = stderr ? stderr.slice(0, 2000) : `it ends with ${code}`;
      throw new Error(`internal: ${command} does not compile a program: ${reason}`, { cause });
    }
    if (cause instanceof DataError) throw cause;
    throw new DataError(
      `could not write ${path} (${fileFault(cause)}): make room, or set ANOLE_CACHE to another folder`,
      { cause },
    );
  } finally {
    // The first error is the one to tell.
    await Promise.all([text, library].map((file) => rm(file, { force: true }).catch(() => {})));
  }
  await removeOld(folder);
  return path;
}

function hashOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

async function isSound(path: string, proof: string): Promise<boolean> {
  try {
    const [bytes, hash] = await Promise.all([readFile(path), readFile(proof, 'utf8')]);
    return hashOf(bytes) === hash;
  } catch {
    return false; // one of them is not there
  }
}

let isTidied = false;

/** Removes libraries, and what killed processes left, that were not used for a while; once in a process. */
async function removeOld(folder: string): Promise<void> {
  if (isTidied) return;
  isTidied = true;
  const oldest = Date.now() - keptDays * 24 * 3600 * 1000;
  for (const name of await readdir(folder).catch((): string[] => [])) {
    const path = join(folder, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (mtimeMs < oldest) await rm(path, { force: true }).catch(() => {});
  }
}
