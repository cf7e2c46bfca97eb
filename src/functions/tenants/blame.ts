/** Tenants that were costly to others, and the wait that this imposes on their next version. */
import { BLAME } from '../limits.ts';

interface Fault {
  count: number;
  at: number;
}

/**
 * Counts faults that were costly to others (a top level that hangs, a process that was killed) by the tenant's name, which is
 * a folder: files may be renamed at any time, the folder of a database may not.
 */
export class Blame {
  readonly #faults = new Map<string, Fault>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  add(tenant: string): void {
    const fault = this.#of(tenant) ?? { count: 0, at: 0 };
    fault.count++;
    fault.at = this.#now();
    this.#faults.set(tenant, fault);
  }

  /** Whether the tenant has harmed others within the last minutes. */
  isSuspect(tenant: string): boolean {
    return this.#of(tenant) !== null;
  }

  /** How long the tenant's next version has to wait, in ms: not at all after the first fault, then 2, 4, 8 … 120 s. */
  waitMs(tenant: string): number {
    const fault = this.#of(tenant);
    if (fault === null || fault.count === 1) return 0;
    const pauseMs = Math.min(BLAME.firstWaitMs * 2 ** (fault.count - 2), BLAME.longestWaitMs);
    return Math.max(0, Math.ceil(fault.at + pauseMs - this.#now()));
  }

  #of(tenant: string): Fault | null {
    const fault = this.#faults.get(tenant);
    if (fault === undefined) return null;
    if (this.#now() - fault.at < BLAME.memoryMs) return fault;
    this.#faults.delete(tenant);
    return null;
  }
}
