/** Unloads functions that nobody has used for long (user_function_idle_timeout). One timer serves all tenants. */
import type { Clock } from '../../platform/clock.ts';
import { IDLE } from '../limits.ts';

/** A tenant, as far as it is used or not. */
export interface Usable {
  readonly isNeeded: boolean;
  /** calls that it has had */
  readonly calls: number;
  /** @returns false: it is in use, or can't be unloaded */
  unload(): boolean;
}

export interface IdleTenantsOptions<Tenant extends Usable> {
  readonly clock: Clock;
  /** ms; 0: functions stay loaded */
  readonly timeoutMs: () => number;
  readonly tenants: () => Iterable<Tenant>;
  /** Some functions have been unloaded. */
  readonly onUnloaded: (tenants: readonly Tenant[], idleMs: number) => void;
}

interface Usage {
  calls: number;
  /** when the number of calls was first seen, by the clock */
  since: number;
}

export class IdleTenants<Tenant extends Usable> {
  readonly #options: IdleTenantsOptions<Tenant>;
  /** of tenants that are loaded */
  #usage = new Map<Tenant, Usage>();
  #cancel = (): void => {};

  constructor(options: IdleTenantsOptions<Tenant>) {
    this.#options = options;
  }

  /** Begins to look, or looks from now on at the pace of another timeout. */
  begin(): void {
    this.#cancel();
    const timeoutMs = this.#options.timeoutMs();
    if (timeoutMs === 0) return this.#usage.clear();
    const delayMs = Math.min(Math.max(timeoutMs / IDLE.looks, IDLE.shortestLookMs), IDLE.longestLookMs);
    this.#cancel = this.#options.clock.after(delayMs, () => {
      this.#look(timeoutMs);
      this.begin();
    });
  }

  stop(): void {
    this.#cancel();
  }

  #look(timeoutMs: number): void {
    const now = this.#options.clock.now();
    const unloaded: Tenant[] = [];
    const usage = new Map<Tenant, Usage>();
    for (const tenant of this.#options.tenants()) {
      if (!tenant.isNeeded) continue;
      const last = this.#usage.get(tenant);
      const isIdle = last !== undefined && last.calls === tenant.calls;
      if (isIdle && now - last.since >= timeoutMs && tenant.unload()) unloaded.push(tenant);
      else usage.set(tenant, isIdle ? last : { calls: tenant.calls, since: now });
    }
    this.#usage = usage;
    if (unloaded.length > 0) this.#options.onUnloaded(unloaded, timeoutMs);
  }
}
