import { fingerprint } from '../../sql/fingerprint.ts';
import type { FailureOutcome, HostCall } from '../sandbox/host.ts';
import { BREAKER } from '../limits.ts';

interface Fault {
  readonly at: number;
  readonly client: string;
  readonly text: string;
}

/**
 * Whether a function set is broken for everybody. It is suspended only when several clients, with several kinds of short
 * queries, have run into its deadline, its memory limit or the end of its process, and nobody was answered meanwhile. That
 * ends with the first answer: to a client, or to a query of the proxy's own after 1, 2, 4 … 60 s. What only throws or returns
 * nonsense is cheap, and never counts.
 */
export class Breaker {
  #faults: Fault[] = [];
  #openUntil = 0;
  #pauseMs = 0;

  get isOpen(): boolean {
    return this.#openUntil > 0;
  }

  /** Whether it is time to find out if the set works again. */
  isDue(now: number): boolean {
    return this.isOpen && now >= this.#openUntil;
  }

  /** What the proxy's own query has shown. It closes the breaker; only a client's answer makes the next pause short again. */
  tried(isAnswered: boolean, now: number): void {
    this.#faults = [];
    this.#openUntil = 0;
    if (!isAnswered) this.#open(now);
  }

  /** It could not be tried. */
  postpone(now: number): void {
    if (this.isOpen) this.#openUntil = now + BREAKER.firstPauseMs;
  }

  /** A client's call was answered, if only by an exception. */
  answered(): void {
    if (this.#pauseMs > 0 || this.#faults.length > 0) this.reset();
  }

  /** A client's call was costly (isCostly). @returns whether the set is suspended because of it */
  fault(call: HostCall, now: number): boolean {
    if (this.isOpen || call.query.length > BREAKER.longestQuery) return false;
    const client = String(call.clientId ?? call.username);
    const recent = this.#faults.filter(({ at }) => now - at < BREAKER.windowMs).slice(1 - BREAKER.maxFaults);
    this.#faults = [...recent, { at: now, client, text: fingerprint(call.query) }];
    if (this.#faults.length < BREAKER.faults) return false;
    if (new Set(this.#faults.map((fault) => fault.client)).size < BREAKER.clients) return false;
    if (new Set(this.#faults.map((fault) => fault.text)).size < BREAKER.kinds) return false;
    this.#open(now);
    return true;
  }

  /** It starts again with a clean record. */
  reset(): void {
    this.#faults = [];
    this.#openUntil = 0;
    this.#pauseMs = 0;
  }

  #open(now: number): void {
    this.#faults = [];
    this.#pauseMs = Math.min(
      this.#pauseMs === 0 ? BREAKER.firstPauseMs : this.#pauseMs * 2,
      BREAKER.longestPauseMs,
    );
    this.#openUntil = now + this.#pauseMs;
  }
}

/** Whether a call has cost others something: time up to a deadline, memory, or a process. */
export function isCostly(outcome: FailureOutcome): boolean {
  return outcome === 'deadline' || outcome === 'memory' || outcome === 'killed' || outcome === 'lost';
}
