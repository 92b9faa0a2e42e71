/** The live line on stderr: how far, how fast, how long still, and how well. */
import { env, stderr } from 'node:process';
import { SingleBar } from 'cli-progress';
import { clock, count, significant } from './format.ts';

/** Where progress is shown. `update` may be called thousands of times a second. */
export interface Progress {
  /** Begins a stretch of work of `total` parts, of which `done` were done before. @default none */
  start(what: string, total: number, done?: number): void;
  /** @param note stands at the end, such as the current accuracy */
  update(done: number, note?: string): void;
  /** Something else is done until the next `update`; it does not count for the speed. */
  pause(note: string): void;
  /** Takes the line away. */
  stop(): void;
}

/** A line in a terminal; nothing with `quiet`, in CI, or where stderr is no terminal. */
export function terminalProgress({ quiet = false }: { readonly quiet?: boolean }): Progress {
  const shown = !quiet && stderr.isTTY && !env.CI;
  return shown ? new ProgressLine() : { start() {}, update() {}, pause() {}, stop() {} };
}

const redrawMs = 100;

class ProgressLine implements Progress {
  #bar: SingleBar | undefined;
  #done = 0;
  #doneBefore = 0;
  #note = '';
  #drawn = 0;
  /** When the work began; both times are known once it has. */
  #began: number | undefined;
  #pausedAt: number | undefined;
  #pausedMs = 0;

  start(what: string, total: number, done = 0): void {
    this.stop();
    this.#done = done;
    this.#doneBefore = done;
    this.#note = '';
    this.#began = undefined;
    this.#pausedAt = undefined;
    this.#pausedMs = 0;
    this.#bar = new SingleBar({
      format: () => this.#line(what, total),
      clearOnComplete: true,
      hideCursor: true,
      gracefulExit: false, // Ctrl-C is ours to handle
      stream: stderr,
      fps: 1000 / redrawMs,
      forceRedraw: true, // the time left passes while nothing is reported
    });
    this.#bar.start(total, done);
  }

  update(done: number, note = ''): void {
    const now = performance.now();
    if (this.#began === undefined)
      this.#began = now; // compiling and the like say nothing of the speed
    else if (this.#pausedAt !== undefined) this.#pausedMs += now - this.#pausedAt;
    this.#pausedAt = undefined;
    this.#done = done;
    this.#note = note;
    if (now - this.#drawn > redrawMs) this.#draw(now);
  }

  pause(note: string): void {
    const now = performance.now();
    this.#pausedAt ??= now;
    this.#note = note;
    this.#draw(now);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #draw(now: number): void {
    this.#drawn = now;
    this.#bar?.update(this.#done);
  }

  #line(what: string, total: number): string {
    const done = this.#done;
    const share = total === 0 ? 0 : done / total;
    const columns = (stderr.columns ?? 80) - 1;
    const facts = [
      `${Math.floor(100 * share)}%`.padStart(4),
      `${count(done).padStart(count(total).length)}/${count(total)}`,
      ...this.#speed(total),
      this.#note,
    ];
    const text = facts.filter((fact) => fact !== '').join('  ');
    const longest = what.length + 2 * count(total).length + 48; // of the text, so that the bar keeps its width
    const width = Math.min(30, columns - longest);
    const full = Math.round(width * share);
    const bar = width < 5 ? '' : `${'━'.repeat(full)}${'─'.repeat(width - full)} `;
    return `${what} ${bar}${text}`.slice(0, columns);
  }

  /** Parts a second, and the time left: that includes pauses such as there were so far. */
  #speed(total: number): string[] {
    const done = this.#done - this.#doneBefore;
    if (this.#began === undefined || done === 0) return [];
    const now = performance.now();
    const elapsed = (now - this.#began) / 1000;
    const pausedMs = this.#pausedMs + (this.#pausedAt === undefined ? 0 : now - this.#pausedAt);
    const rate = done / (elapsed - pausedMs / 1000);
    if (!(elapsed > 0.5)) return []; // too early to say
    return [`${significant(rate)}/s`, `${clock(((total - this.#done) * elapsed) / done)} left`];
  }
}
