/** Failed logins, by user and by address: after some of them the next attempt has to wait. */

const LIMITS = {
  /** failures without a wait */
  free: 5,
  firstWaitMs: 1_000,
  longestWaitMs: 60_000,
  /** after this time without a failure, all is forgotten */
  memoryMs: 15 * 60_000,
  most: 10_000,
};

interface Failures {
  count: number;
  lastAtMs: number;
}

export class Attempts {
  readonly #now: () => number;
  readonly #failures = new Map<string, Failures>();

  /** @param now ms of any steady clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** How long the next attempt has to wait, in ms; 0: it may be made. */
  waitMs(user: string, address: string): number {
    return Math.max(...keysOf(user, address).map((key) => this.#waitOf(key)));
  }

  failed(user: string, address: string): void {
    const now = this.#now();
    for (const key of keysOf(user, address)) {
      const last = this.#failures.get(key);
      const isForgotten = last === undefined || now - last.lastAtMs > LIMITS.memoryMs;
      this.#failures.delete(key);
      this.#failures.set(key, { count: isForgotten ? 1 : last.count + 1, lastAtMs: now });
    }
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= LIMITS.most) return;
      this.#failures.delete(oldest);
    }
  }

  /**
   * The attempt that was counted as failed has succeeded. The address keeps its other failures: one right password must not
   * hide many wrong ones.
   */
  succeeded(user: string, address: string): void {
    this.#failures.delete(userKey(user));
    const failures = this.#failures.get(addressKey(address));
    if (failures !== undefined) failures.count--;
  }

  #waitOf(key: string): number {
    const failures = this.#failures.get(key);
    if (failures === undefined || failures.count < LIMITS.free) return 0;
    const ms = Math.min(LIMITS.longestWaitMs, LIMITS.firstWaitMs * 2 ** (failures.count - LIMITS.free));
    return Math.max(0, failures.lastAtMs + ms - this.#now());
  }
}

function userKey(user: string): string {
  return `user ${user}`;
}

function addressKey(address: string): string {
  return `address ${address}`;
}

function keysOf(user: string, address: string): string[] {
  return [userKey(user), addressKey(address)];
}
