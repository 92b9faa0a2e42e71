/** Ctrl-C: the first one ends the work in order, a second one at once. */
import { constants } from 'node:os';
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';

/** The work was stopped by a signal. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly #signal: NodeJS.Signals;
  readonly #work: Promise<unknown>;

  constructor(signal: NodeJS.Signals, work: Promise<unknown>, consequence?: string) {
    super(consequence === undefined ? 'interrupted' : `interrupted; ${consequence}`);
    this.#signal = signal;
    this.#work = work;
  }

  /** The same, with what became of the work. */
  saying(consequence: string): Interrupted {
    return new Interrupted(this.#signal, this.#work, consequence);
  }

  /** Ends the process, with a moment for the threads to finish what they are at. */
  async exit(): Promise<never> {
    const settled = this.#work.catch(() => {});
    await Promise.race([settled, setTimeout(1500)]);
    return process.exit(exitCode(this.#signal));
  }
}

/**
 * Runs `work` until it is done or a signal comes, whatever it is waiting for then. Who catches
 * `Interrupted` finds the work about to end, saves what there is and calls `exit`.
 */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const running = work(controller.signal);
  let stop: (signal: NodeJS.Signals) => void = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = (signal) => {
      if (controller.signal.aborted) process.exit(exitCode(signal));
      const interrupted = new Interrupted(signal, running);
      controller.abort(interrupted);
      reject(interrupted);
    };
  });
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await Promise.race([running, stopped]);
  } finally {
    // After a first signal they stay, for the second.
    if (!controller.signal.aborted) process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** 128 and the signal's number, as shells have it. */
function exitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
