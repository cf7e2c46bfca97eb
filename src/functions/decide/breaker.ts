/**
 * Whether a tenant's functions are broken for all clients. They are suspended only if several clients, with several kinds of
 * short queries, have hit the deadline, the memory limit or the end of the process, with no answer in between. The suspension
 * ends with the first answer: to a client, or to a query of the proxy's own after 1, 2, 4 … 60 s. Functions that only throw or
 * return nonsense are cheap, and never count.
 */
import { fingerprint } from '../../sql/fingerprint.ts';
import { BREAKER } from '../limits.ts';
import type { HostCall } from '../sandbox/call.ts';

interface Fault {
  readonly at: number;
  readonly client: string;
  /** fingerprint of the query */
  readonly text: string;
}

/** Times are in ms of the caller's clock. */
export class Breaker {
  #faults: Fault[] = [];
  /** 0: closed */
  #openUntil = 0;
  #pauseMs = 0;

  get isOpen(): boolean {
    return this.#openUntil > 0;
  }

  /** Whether it is time to test if the functions work again. */
  isDue(now: number): boolean {
    return this.isOpen && now >= this.#openUntil;
  }

  /**
   * The proxy's own query has been run. An answer closes the breaker; only a client's answer makes the next pause short again.
   */
  tried(isAnswered: boolean, now: number): void {
    this.#faults = [];
    this.#openUntil = 0;
    if (!isAnswered) this.#open(now);
  }

  /** The proxy's own query could not be run. */
  postpone(now: number): void {
    if (this.isOpen) this.#openUntil = now + BREAKER.firstPauseMs;
  }

  /** A client's call was answered, even if only by an exception. */
  answered(): void {
    if (this.#pauseMs > 0 || this.#faults.length > 0) this.reset();
  }

  /** A client's call was costly (costs.ts). @returns whether it opened the breaker */
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

  /** Starts again with a clean record. */
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
