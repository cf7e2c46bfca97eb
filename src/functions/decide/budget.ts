/**
 * A tenant's budget of processor time, as a token bucket. It fills with the tenant's limit, and everything that the tenant's
 * functions cost is taken out, whichever of its versions or databases it was for. The cost of a call is known only afterwards,
 * so the bucket may hold less than nothing: then calls stop until the debt has been paid.
 */
import type { Clock } from '../../platform/clock.ts';
import { BUDGET } from '../limits.ts';
import type { CpuSnapshot } from '../../telemetry/snapshots/functions.ts';
import { CpuUse } from './cpu-use.ts';

/** From the first call that the budget stops to the end of the last one, and a while of calm. */
export interface Overrun {
  readonly tookMs: number;
  /** calls that failed */
  readonly refused: number;
  /** calls that waited */
  readonly waited: number;
}

export interface BudgetEvents {
  /** The first call fails or waits. */
  readonly onBegun: (limit: number) => void;
  /** No call has failed or waited for a while. */
  readonly onEnded: (overrun: Overrun) => void;
}

export class Budget {
  readonly #use = new CpuUse();
  readonly #clock: Clock;
  readonly #events: BudgetEvents;
  /** ms of processor time in a second; 0: no limit */
  #limit = 0;
  /** the most that the bucket holds, in ms */
  #burstMs = 0;
  /** its contents at that time */
  #leftMs = 0;
  #at: number;
  #isOver = false;
  /** since the start: calls that have failed, and that have waited */
  #refused = 0;
  #waited = 0;
  #overrun: { readonly since: number; last: number; refused: number; waited: number } | null = null;

  /** @param clock one that is never set */
  constructor(clock: Clock, events: BudgetEvents) {
    this.#clock = clock;
    this.#events = events;
    this.#at = clock.now();
  }

  /** ms of processor time in a second; 0: no limit. */
  get limit(): number {
    return this.#limit;
  }

  observe(): Omit<CpuSnapshot, 'waiting'> {
    return {
      totalMs: this.#use.totalMs,
      lastMinuteMs: this.#use.lastMinuteMs(this.#clock.now()),
      limitMs: this.#limit,
      isOver: this.isOver,
      refused: this.#refused,
      waited: this.#waited,
    };
  }

  /** What the bucket holds, in ms: less than nothing is a debt. Infinity: no limit. */
  get leftMs(): number {
    if (this.#limit === 0) return Infinity;
    this.#refill();
    return this.#leftMs;
  }

  /** A call may run now: there is something left. */
  get mayRun(): boolean {
    return this.#limit === 0 || this.leftMs > 0;
  }

  /** The bucket has been empty, and has not been refilled since. Calls that need not wait fail. */
  get isOver(): boolean {
    if (!this.#isOver) return false;
    if (this.leftMs >= Math.min(this.#burstMs, (this.#limit * BUDGET.refilledMs) / 1000))
      this.#isOver = false;
    return this.#isOver;
  }

  /** How long it takes until a call may run, in ms. */
  get waitMs(): number {
    return this.mayRun ? 0 : Math.max(1, Math.ceil((-this.leftMs * 1000) / this.#limit));
  }

  /**
   * @param limit ms of processor time in a second; 0: no limit
   * @param deadlineMs the time that one call may take: a full bucket has room for it
   */
  configure(limit: number, deadlineMs: number): void {
    const burstMs = Math.max((limit * BUDGET.burstMs) / 1000, deadlineMs, BUDGET.leastBurstMs);
    if (limit === this.#limit && burstMs === this.#burstMs) return;
    const isNew = this.#limit === 0;
    if (!isNew) this.#refill();
    this.#limit = limit;
    this.#burstMs = burstMs;
    this.#at = this.#clock.now();
    // a debt stays
    this.#leftMs = isNew ? burstMs : Math.min(this.#leftMs, burstMs);
    if (limit === 0) this.#isOver = false;
  }

  /** The tenant's functions have used processor time. */
  charge(ms: number): void {
    this.#use.add(ms, this.#clock.now());
    if (this.#limit === 0) return;
    this.#refill();
    this.#leftMs -= ms;
    if (this.#leftMs <= 0) this.#isOver = true;
  }

  /** So many calls fail because the budget is used up. */
  noteRefused(calls: number): void {
    this.#refused += calls;
    this.#stopped().refused += calls;
  }

  /** So many calls begin to wait for the budget. */
  noteWaiting(calls: number): void {
    this.#waited += calls;
    this.#stopped().waited += calls;
  }

  /** Does the work once a call may run, or after the longest delay in ms. @returns cancels it */
  after(longestMs: number, work: () => void): () => void {
    return this.#clock.after(Math.min(longestMs, this.waitMs), work);
  }

  #refill(): void {
    const now = this.#clock.now();
    this.#leftMs = Math.min(this.#burstMs, this.#leftMs + ((now - this.#at) * this.#limit) / 1000);
    this.#at = now;
  }

  #stopped(): { refused: number; waited: number } {
    const now = this.#clock.now();
    if (this.#overrun === null) {
      this.#overrun = { since: now, last: now, refused: 0, waited: 0 };
      this.#events.onBegun(this.#limit);
      this.#clock.after(BUDGET.calmMs, this.#look);
    }
    this.#overrun.last = now;
    return this.#overrun;
  }

  readonly #look = (): void => {
    const overrun = this.#overrun!;
    const now = this.#clock.now();
    if (this.isOver) overrun.last = now;
    const calmMs = now - overrun.last;
    if (calmMs < BUDGET.calmMs) {
      this.#clock.after(BUDGET.calmMs - calmMs, this.#look);
      return;
    }
    this.#overrun = null;
    const { since, last, refused, waited } = overrun;
    this.#events.onEnded({ tookMs: last - since, refused, waited });
  };
}
