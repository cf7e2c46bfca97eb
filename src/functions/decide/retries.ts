/**
 * Calls that could not be made, for reasons that may pass. All of them are tried again after a pause, which grows while no call
 * is answered.
 */
import { BATCH } from '../limits.ts';
import type { CallFailure } from '../sandbox/call.ts';
import type { Pending } from './pending.ts';

export class Retries {
  readonly #onDue: (calls: readonly Pending[]) => void;
  #calls: Pending[] = [];
  #pauseMs: number = BATCH.firstRetryMs;
  #timer: NodeJS.Timeout | null = null;

  /** @param onDue takes the calls, in the order in which they were added */
  constructor(onDue: (calls: readonly Pending[]) => void) {
    this.#onDue = onDue;
  }

  get calls(): readonly Pending[] {
    return this.#calls;
  }

  /** @param trouble why the call could not be made */
  add(pending: Pending, trouble: CallFailure): void {
    pending.trouble = trouble;
    this.#calls.push(pending);
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => this.#due(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(this.#pauseMs * 2, BATCH.longestRetryMs);
  }

  /** A call was made. */
  answered(): void {
    this.#pauseMs = BATCH.firstRetryMs;
  }

  /** Removes and returns all. */
  takeAll(): Pending[] {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    return this.#calls.splice(0);
  }

  #due(): void {
    const calls = this.takeAll();
    for (const pending of calls) pending.trouble = null;
    this.#onDue(calls);
  }
}
