import type { FailureOutcome } from './host.ts';

/** Faults that cost others something: a deadline, memory, a killed process. Five within this time open the breaker. */
const WINDOW_MS = 10_000;
const FAULTS = 5;
const LONGEST_PAUSE_MS = 60_000;

/**
 * Keeps a function set that hangs or eats memory from being called again and again. Open, it answers for the set; after
 * 1, 2, 4 … 60 s one call is let through, and an answer closes it. What only throws or returns nonsense is cheap, and
 * never opens it: its policy decides each time.
 */
export class Breaker {
  #faults: number[] = [];
  #openUntil = 0;
  #pauseMs = 0;
  #trial = false;

  get isOpen(): boolean {
    return this.#openUntil > 0;
  }

  /** Whether a call may be made now. */
  allows(now: number): boolean {
    if (this.#openUntil === 0) return true;
    if (this.#trial || now < this.#openUntil) return false;
    this.#trial = true;
    return true;
  }

  answered(): void {
    if (!this.#trial) return;
    this.#trial = false;
    this.#openUntil = 0;
    this.#pauseMs = 0;
    this.#faults = [];
  }

  /** @returns whether this fault opened it */
  fault(outcome: FailureOutcome, now: number): boolean {
    switch (outcome) {
      case 'deadline':
      case 'memory':
      case 'killed':
        break;
      case 'overloaded':
      case 'starved':
      case 'no_version':
        // it says nothing about the set: whatever was tried has to be tried again
        this.#trial = false;
        return false;
      default:
        this.answered();
        return false;
    }
    this.#faults = [...this.#faults.filter((at) => now - at < WINDOW_MS), now];
    const opens = outcome === 'killed' || this.#trial || this.#faults.length >= FAULTS;
    if (!opens) return false;
    this.#trial = false;
    this.#faults = [];
    // Several calls of one batch may fail: that is one opening.
    if (now >= this.#openUntil) {
      this.#pauseMs = Math.min(this.#pauseMs === 0 ? 1_000 : this.#pauseMs * 2, LONGEST_PAUSE_MS);
      this.#openUntil = now + this.#pauseMs;
    }
    return true;
  }

  /** A new version starts with a clean record. */
  reset(): void {
    this.#faults = [];
    this.#openUntil = 0;
    this.#pauseMs = 0;
    this.#trial = false;
  }
}
