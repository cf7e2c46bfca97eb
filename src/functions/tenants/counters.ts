/** The number of calls that a tenant has had, and how they ended. */
import type { TenantSnapshot } from '../../telemetry/snapshot.ts';
import type { FailureOutcome } from '../sandbox/call.ts';

export type CounterValues = Pick<
  TenantSnapshot,
  'calls' | 'routed' | 'rewritten' | 'rejected' | 'unjudged' | 'refusedMoves' | 'failures'
>;

export class Counters {
  #calls = 0;
  #routed = 0;
  #rewritten = 0;
  #rejected = 0;
  #unjudged = 0;
  #refusedMoves = 0;
  readonly #failures = new Map<FailureOutcome, number>();

  get calls(): number {
    return this.#calls;
  }

  noteCall(): void {
    this.#calls++;
  }

  noteRouted(): void {
    this.#routed++;
  }

  noteRewritten(): void {
    this.#rewritten++;
  }

  noteRejected(): void {
    this.#rejected++;
  }

  /** A query passed although a function failed on it. */
  noteUnjudged(): void {
    this.#unjudged++;
  }

  /** A move to another database was asked for inside a transaction or pipeline. */
  noteRefusedMove(): void {
    this.#refusedMoves++;
  }

  noteFailure(outcome: FailureOutcome): void {
    this.#failures.set(outcome, (this.#failures.get(outcome) ?? 0) + 1);
  }

  observe(): CounterValues {
    return {
      calls: this.#calls,
      routed: this.#routed,
      rewritten: this.#rewritten,
      rejected: this.#rejected,
      unjudged: this.#unjudged,
      refusedMoves: this.#refusedMoves,
      failures: Object.fromEntries(this.#failures),
    };
  }
}
