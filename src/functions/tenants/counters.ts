/** The number of calls that a tenant has had, and how they ended. */
import { Histogram } from '../../telemetry/histogram.ts';
import type { TenantSnapshot } from '../../telemetry/snapshots/functions.ts';
import type { Decision } from '../decide/policy.ts';
import type { FailureOutcome } from '../sandbox/call.ts';

export type CounterValues = Pick<
  TenantSnapshot,
  'calls' | 'routed' | 'rewritten' | 'rejected' | 'unjudged' | 'refusedMoves' | 'failures' | 'callTimes'
>;

/** How a call ended. A failure is one whatever its policy made of the query. */
export type CallOutcome = FailureOutcome | 'unchanged' | 'changed' | 'rejected';

/** @param failure of the call; null: the functions answered */
export function outcomeOf(decision: Decision, failure: FailureOutcome | null): CallOutcome {
  if (failure !== null) return failure;
  if (decision.kind !== 'go') return 'rejected';
  return decision.query === null && decision.dbkey === null ? 'unchanged' : 'changed';
}

export class Counters {
  #calls = 0;
  #routed = 0;
  #rewritten = 0;
  #rejected = 0;
  #unjudged = 0;
  #refusedMoves = 0;
  readonly #failures = new Map<FailureOutcome, number>();
  readonly #times = new Map<CallOutcome, Histogram>();

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

  /** @param tookMs from the question to the answer, waiting included */
  noteTime(outcome: CallOutcome, tookMs: number): void {
    let times = this.#times.get(outcome);
    if (times === undefined) this.#times.set(outcome, (times = new Histogram()));
    times.note(tookMs * 1000);
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
      callTimes: [...this.#times].map(([outcome, times]) => ({ outcome, histogram: times.observe() })),
    };
  }
}
