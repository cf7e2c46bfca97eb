/** What shadowing has found: differences counted by kind, with a few samples of each, and the calls that were not compared. */
import type {
  DifferenceSample,
  ShadowCount,
  ShadowReportSnapshot,
} from '../../telemetry/snapshots/rollout.ts';
import { SHADOW } from '../limits.ts';
import type { HostCall } from '../sandbox/call.ts';
import { described, DIFFERENCES, differencesOf, masked, type Difference, type Outcome } from './outcome.ts';

/**
 * Why a call was not compared: the candidate had used up its processor time, the queue was full, or the candidate could not be
 * asked.
 */
export const UNCOMPARED = ['over budget', 'queue full', 'not evaluated'] as const;
export type Uncompared = (typeof UNCOMPARED)[number];

/** Sums of known costs. */
class Costs {
  #sumUs = 0;
  #count = 0;

  note(costUs: number | null): void {
    if (costUs === null) return;
    this.#sumUs += costUs;
    this.#count++;
  }

  get meanUs(): number | null {
    return this.#count === 0 ? null : this.#sumUs / this.#count;
  }
}

export class ShadowReport {
  readonly #now: () => number;
  readonly #steadyNow: () => number;
  #compared = 0;
  #same = 0;
  readonly #differences = new Map<Difference, number>();
  readonly #uncompared = new Map<Uncompared, number>();
  readonly #servingCosts = new Costs();
  readonly #candidateCosts = new Costs();
  /** by kind, newest last */
  readonly #samples = new Map<Difference, DifferenceSample[]>();
  #quietUntil = 0;

  /** @param now ms since 1970 @param steadyNow of a clock that is never set */
  constructor(now: () => number, steadyNow: () => number) {
    this.#now = now;
    this.#steadyNow = steadyNow;
  }

  /** Both versions have been asked about a query. */
  note(call: HostCall, serving: Outcome, candidate: Outcome): void {
    this.#compared++;
    this.#servingCosts.note(serving.costUs);
    this.#candidateCosts.note(candidate.costUs);
    const differences = differencesOf(serving, candidate);
    if (differences.length === 0) this.#same++;
    for (const kind of differences) {
      this.#differences.set(kind, (this.#differences.get(kind) ?? 0) + 1);
      this.#sample(kind, call, serving, candidate);
    }
  }

  noteUncompared(why: Uncompared, count = 1): void {
    this.#uncompared.set(why, (this.#uncompared.get(why) ?? 0) + count);
  }

  observe(): ShadowReportSnapshot {
    const counted = (kinds: readonly string[], counts: ReadonlyMap<string, number>): ShadowCount[] =>
      kinds.map((kind) => ({ kind, count: counts.get(kind) ?? 0 }));
    return {
      compared: this.#compared,
      same: this.#same,
      servingUs: this.#servingCosts.meanUs,
      candidateUs: this.#candidateCosts.meanUs,
      differences: counted(DIFFERENCES, this.#differences),
      uncompared: counted(UNCOMPARED, this.#uncompared),
      samples: DIFFERENCES.flatMap((kind) => this.#samples.get(kind) ?? []),
    };
  }

  /** Masking a text takes time, so a kind that has its samples gets a new one only now and then. */
  #sample(kind: Difference, call: HostCall, serving: Outcome, candidate: Outcome): void {
    const samples = this.#samples.get(kind) ?? [];
    const now = this.#steadyNow();
    if (samples.length >= SHADOW.samples && now < this.#quietUntil) return;
    this.#quietUntil = now + SHADOW.quietMs;
    this.#samples.set(kind, samples);
    if (samples.length >= SHADOW.samples) samples.shift();
    samples.push({
      kind,
      atMs: this.#now(),
      user: call.username,
      database: call.context.database ?? '',
      query: masked(call.query),
      serving: described(serving),
      candidate: described(candidate),
      servingUs: serving.costUs,
      candidateUs: candidate.costUs,
    });
  }
}
