/** PAUSE and RESUME, of one database or of the whole proxy: while paused, no server is lent or opened. */
import type { Turnover } from './turnover.ts';

/** A pool that comes to rest when its database is paused. */
export interface PausablePool {
  /** Closes idle servers and those that are logging in. Others are closed when they come free. */
  closeUnused(reason: string): void;
}

/** A database that can be paused on its own. */
export interface PausableDatabase {
  setPaused(isPaused: boolean): void;
}

/** Stores whether the whole proxy is paused. */
export interface PausableProxy {
  pause(): void;
  resume(): void;
}

export class Pause {
  readonly #turnover: Turnover;
  readonly #proxy: PausableProxy;

  constructor(turnover: Turnover, proxy: PausableProxy) {
    this.#turnover = turnover;
    this.#proxy = proxy;
  }

  /**
   * PAUSE. Servers that are in use are closed as they come free.
   * @param database null: the whole proxy
   * @param pools the pools of that database, or all
   */
  begin(database: PausableDatabase | null, pools: Iterable<PausablePool>): void {
    if (database === null) this.#proxy.pause();
    else database.setPaused(true);
    for (const pool of pools) pool.closeUnused('pause mode');
  }

  /** RESUME: waiting clients are served, and a PAUSE that waits for servers to close ends. */
  end(database: PausableDatabase | null): void {
    if (database === null) this.#proxy.resume();
    else database.setPaused(false);
    this.#turnover.recheck();
    this.#turnover.activate();
  }
}
