/** PAUSE and RESUME, of one database or of the whole proxy, and the end of the proxy: when no server is lent or opened. */
import type { Turnover } from './turnover.ts';

/** A pool that comes to rest when its database is paused. */
export interface PausablePool {
  /** Closes idle servers and those that are logging in. Others close when they come free. */
  closeUnused(reason: string): void;
}

/** A database that can be paused on its own. */
export interface PausableDatabase {
  setPaused(isPaused: boolean): void;
}

/** The flags of the whole proxy, and the verbs that set them and those of single databases. */
export class Pause {
  readonly #turnover: Turnover;
  #isWhole = false;
  #isStopping = false;

  constructor(turnover: Turnover) {
    this.#turnover = turnover;
  }

  /** PAUSE without a database is in force. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** The proxy ends: no new servers are opened. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /**
   * PAUSE. Servers that are in use are closed as they come free.
   * @param database null: the whole proxy
   * @param pools the pools of that database, or all
   */
  begin(database: PausableDatabase | null, pools: Iterable<PausablePool>): void {
    if (database === null) this.#isWhole = true;
    else database.setPaused(true);
    for (const pool of pools) pool.closeUnused('pause mode');
  }

  /** RESUME: waiting clients are served, and a PAUSE that waits for servers to close ends. */
  end(database: PausableDatabase | null): void {
    if (database === null) this.#isWhole = false;
    else database.setPaused(false);
    this.#turnover.recheck();
    this.#turnover.activate();
  }

  /** The end of the proxy has begun. */
  stop(): void {
    this.#isStopping = true;
  }
}
