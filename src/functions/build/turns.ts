/** A fixed number of turns, which tenants take one after the other. */
import { BUNDLER } from '../limits.ts';

/**
 * Waiting tenants are served round robin, and each has one turn at a time: a tenant's requests delay another tenant by one
 * turn at most.
 */
export class Turns {
  #free: number;
  #late = 0;
  readonly #busy = new Set<string>();
  /** by tenant, in the order of their next turns */
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(turns: number) {
    this.#free = turns;
  }

  /**
   * Runs the work when it is the tenant's turn.
   * @param giveOnMs work that takes longer continues, and another tenant gets the turn
   */
  async run<T>(tenant: string, work: () => Promise<T>, giveOnMs: number = Infinity): Promise<T> {
    await this.#take(tenant);
    let isLate = false;
    const giveOn = (): void => {
      if (this.#late === BUNDLER.maxLate) return;
      isLate = true;
      this.#late++;
      this.#free++;
      this.#next();
    };
    const timer = giveOnMs === Infinity ? undefined : setTimeout(giveOn, giveOnMs).unref();
    try {
      return await work();
    } finally {
      clearTimeout(timer);
      if (isLate) this.#late--;
      else this.#free++;
      this.#busy.delete(tenant);
      this.#toTheEnd(tenant);
      this.#next();
    }
  }

  #take(tenant: string): Promise<void> {
    return new Promise((resolve) => {
      const line = this.#waiting.get(tenant);
      if (line === undefined) this.#waiting.set(tenant, [resolve]);
      else line.push(resolve);
      this.#next();
    });
  }

  #toTheEnd(tenant: string): void {
    const line = this.#waiting.get(tenant);
    this.#waiting.delete(tenant);
    if (line !== undefined && line.length > 0) this.#waiting.set(tenant, line);
  }

  #next(): void {
    if (this.#free === 0) return;
    for (const [tenant, line] of this.#waiting) {
      if (this.#busy.has(tenant)) continue;
      const begin = line.shift()!;
      this.#toTheEnd(tenant);
      this.#free--;
      this.#busy.add(tenant);
      begin();
      if (this.#free === 0) return;
    }
  }
}
