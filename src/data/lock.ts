/**
 * Keeps a second process away from files that one is writing: `<file>.lock` beside the file says who holds it.
 * A killed process leaves its lock behind; who comes next sees that it is gone and takes the lock over. Node only.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { DataError } from '../errors.ts';
import { fileFault } from '../files.ts';
import { isObject, parsed } from './json.ts';

/** What is in a lock. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Tells the process from a later one of the same number; nothing where the system does not say. */
  readonly began?: string;
  /** When it took the lock, as people read it. */
  readonly since: string;
}

/** Gives a lock back; a second call does nothing. */
export type Release = () => void;

/** The locks of this process, which go with it however it ends, unless it is killed outright. */
const held = new Set<Release>();

/** The lock of a file. */
export function lockOf(file: string): string {
  return `${file}.lock`;
}

/**
 * Takes the lock of a file, making its folder. It is given back by the function returned, or when the process ends.
 * @throws {DataError} when another process holds it, or the folder can not be written to
 */
export async function lockFile(file: string): Promise<Release> {
  const path = lockOf(file);
  const holder: Holder = {
    pid: process.pid,
    host: hostname(),
    began: beginning(process.pid),
    since: new Date().toISOString(),
  };
  const text = JSON.stringify(holder);
  try {
    await take(file, text);
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    const at = (cause as NodeJS.ErrnoException).path ?? path; // the lock, or a folder it lies in
    const fault = `could not write ${at} (${fileFault(cause)})`;
    throw new DataError(`${fault}: make room, make the folder writable or use another`, { cause });
  }
  const release = () => {
    if (!held.delete(release)) return;
    if (held.size === 0) process.off('exit', releaseAll);
    if (textOf(path) === text) rmSync(path, { force: true }); // else somebody took it away by hand
  };
  if (held.size === 0) process.on('exit', releaseAll);
  held.add(release);
  return release;
}

/** @throws {DataError} when a process holds the lock of the file; see `lockFile` */
export function requireUnlocked(file: string): void {
  refuseRunning(file, textOf(lockOf(file)) ?? '');
}

function releaseAll(): void {
  for (const release of held) release();
}

async function take(file: string, text: string): Promise<void> {
  const path = lockOf(file);
  mkdirSync(dirname(path), { recursive: true });
  for (let unreadable = 0; !created(path, text); ) {
    const found = textOf(path);
    if (found === undefined) continue; // given back in the meantime
    if (holderIn(found) === undefined && unreadable++ < 10) {
      await setTimeout(20); // somebody may be writing it just now
      continue;
    }
    refuseRunning(file, found);
    takeAway(path, found);
  }
}

/** Makes the lock; false when there is one. */
function created(path: string, text: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  try {
    writeSync(file, text);
    return true;
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

/** Takes away the lock of a process that is gone. */
function takeAway(path: string, text: string): void {
  const aside = `${path}.${randomUUID()}.tmp`;
  try {
    renameSync(path, aside); // of several processes that come here, one gets the file
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (textOf(aside) === text) rmSync(aside, { force: true });
  else renameSync(aside, path); // another was faster, and this is its new lock
}

function refuseRunning(file: string, text: string): void {
  const holder = holderIn(text);
  if (holder === undefined || !isRunning(holder)) return;
  const { pid, host, since } = holder;
  throw new DataError(
    `${dirname(file)} is in use: process ${pid} on ${host} has been writing there since ${since}: ` +
      `wait for it, stop it or use another folder; if there is no such process, remove ${lockOf(file)}`,
  );
}

/** False only when the process is known to be gone: nobody can tell of another machine's. */
function isRunning({ pid, host, began }: Holder): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0); // sends nothing
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'; // or it is another user's
  }
  const now = beginning(pid);
  return began === undefined || now === undefined || began === now;
}

/**
 * What tells a process from all others that have its number, before or after: the boot of the machine and the
 * clock tick in which it began. Linux only; elsewhere the number alone has to do.
 */
function beginning(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // from the third on: its state
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return fields[0] === 'Z' ? 'ended' : `${boot} ${fields[19]}`; // Z: only its parent has not noticed yet
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such file. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Undefined when the text is no lock's, or not all of it. */
function holderIn(text: string): Holder | undefined {
  const value = parsed(text);
  if (!isObject(value)) return undefined;
  const { pid, host, began, since } = value;
  const isNumber = Number.isInteger(pid) && Number(pid) > 0 && Number(pid) < 2 ** 31;
  const areTexts = [host, since, began ?? ''].every((part) => typeof part === 'string');
  return isNumber && areTexts ? (value as unknown as Holder) : undefined;
}
