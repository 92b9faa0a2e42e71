/** One runtime for a learner and all that came of it: started when first needed, gone with the last of them. */
import type { Runtime } from '../runtime/runtime.ts';

export class SharedRuntime {
  readonly #start: () => Promise<Runtime>;
  readonly #isOwn: boolean;
  readonly #made = new Map<string, Promise<unknown>>();
  #runtime: Promise<Runtime> | undefined;
  #holders = 0;

  /** @param runtime one to use, whose owner disposes of it; or what starts one */
  constructor(runtime: Runtime | (() => Promise<Runtime>)) {
    this.#isOwn = typeof runtime === 'function';
    this.#start = typeof runtime === 'function' ? runtime : async () => runtime;
  }

  /** Started by the first call; one that fails to start is tried again by the next. */
  get(): Promise<Runtime> {
    this.#runtime ??= this.#start().catch((error) => {
      this.#runtime = undefined;
      throw error;
    });
    return this.#runtime;
  }

  /** What `make` compiled under this key, once. */
  async compiled<T>(key: string, make: (runtime: Runtime) => Promise<T>): Promise<T> {
    const known = this.#made.get(key);
    if (known !== undefined) return known as Promise<T>;
    const made = this.get().then(make);
    this.#made.set(key, made);
    made.catch(() => this.#made.delete(key));
    return made;
  }

  /** Keeps the runtime until the returned function is called. */
  hold(): () => Promise<void> {
    this.#holders++;
    let held = true;
    return async () => {
      if (!held) return;
      held = false;
      if (--this.#holders > 0) return;
      const runtime = this.#runtime;
      this.#runtime = undefined;
      this.#made.clear();
      if (this.#isOwn) await (await runtime)?.dispose();
    };
  }
}
