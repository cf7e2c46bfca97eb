/** Reactions to a server that goes or comes free: waiting pools get another chance, and commands check again. */

/** A pool in which clients wait. */
export interface WaitingPool {
  /** Serves waiters from idle servers, and opens another server if that is allowed. */
  activate(): void;
}

/** One for the whole proxy: another pool may have waited for the place of a closed server. */
export class Turnover {
  readonly #waiting = new Set<WaitingPool>();
  readonly #watchers = new Set<() => void>();
  #activation: NodeJS.Immediate | null = null;

  /** The pool has waiters. */
  waits(pool: WaitingPool): void {
    this.#waiting.add(pool);
  }

  /** The pool has no waiters any more. */
  rests(pool: WaitingPool): void {
    this.#waiting.delete(pool);
  }

  /** A server is gone: there is room for another one, in any pool. */
  serverGone(): void {
    this.recheck();
    this.#activateSoon();
  }

  /** A server became free and its own pool has no waiter for it; other pools may want its place. */
  serverIdle(): void {
    this.#activateSoon();
    if (this.#watchers.size > 0) this.recheck();
  }

  /** Gives every pool with waiters a chance now. */
  activate(): void {
    for (const pool of [...this.#waiting]) pool.activate();
  }

  #activateSoon(): void {
    if (this.#waiting.size === 0 || this.#activation !== null) return;
    this.#activation = setImmediate(() => {
      this.#activation = null;
      this.activate();
    });
  }

  /** Makes every wait in `until` check again. */
  recheck(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Resolves when `done` holds; it is called whenever a server is gone or free (PAUSE, WAIT_CLOSE). */
  async until(done: () => boolean): Promise<void> {
    if (done()) return;
    await new Promise<void>((resolve) => {
      const watcher = (): void => {
        if (!done()) return;
        this.#watchers.delete(watcher);
        resolve();
      };
      this.#watchers.add(watcher);
    });
  }
}
