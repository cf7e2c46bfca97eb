/**
 * The choice of the queries that are traced: a share of them (head sampling), and so many a second at most. It also counts what
 * becomes of their traces.
 */
import type { EndedTrace } from './query-trace.ts';
import type { TracesSnapshot } from './snapshots/statistics.ts';

/** More queries than are ever counted down. It fits into V8's small integers, so that counting down allocates nothing. */
const NEVER = 2 ** 30 - 1;

export interface Sampling {
  /** of the queries, from 0 to 1 */
  readonly ratio: number;
  readonly mostPerSecond: number;
  /** Takes the trace of a query that has ended. It must return soon: the client's answer waits for it. */
  readonly onEnded: (trace: EndedTrace) => void;
}

export class QuerySampler {
  readonly #random: () => number;
  /** queries up to the next one that is chosen */
  #left = NEVER;
  /** null: no query is traced */
  #sampling: Sampling | null = null;
  #second = 0;
  #inSecond = 0;
  #chosen = 0;
  #overLimit = 0;
  #exported = 0;
  #dropped = 0;

  /** @param random from 0 up to 1, without 1 */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Whether a query that begins now is traced. Ask once for each query. */
  chooses(): boolean {
    return --this.#left === 0 && this.#choose();
  }

  /** null: no query is traced from now on. */
  configure(sampling: Sampling | null): void {
    this.#sampling = sampling === null || sampling.ratio <= 0 ? null : sampling;
    this.#left = this.#gap();
  }

  /** A traced query has ended. */
  ended(trace: EndedTrace): void {
    // tracing may have been turned off meanwhile
    this.#sampling?.onEnded(trace);
  }

  /** The collector has taken so many traces. */
  noteExported(count: number): void {
    this.#exported += count;
  }

  /** So many traces were lost, because the collector was away or slow. */
  noteDropped(count: number): void {
    this.#dropped += count;
  }

  observe(): TracesSnapshot {
    return {
      chosen: this.#chosen,
      overLimit: this.#overLimit,
      exported: this.#exported,
      dropped: this.#dropped,
    };
  }

  #choose(): boolean {
    const sampling = this.#sampling;
    this.#left = this.#gap();
    if (sampling === null) return false;
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    if (this.#inSecond >= sampling.mostPerSecond) {
      this.#overLimit++;
      return false;
    }
    this.#inSecond++;
    this.#chosen++;
    return true;
  }

  /** Distances between chosen queries are distributed as if each query were chosen with the probability `ratio`. */
  #gap(): number {
    if (this.#sampling === null) return NEVER;
    const { ratio } = this.#sampling;
    if (ratio >= 1) return 1;
    return Math.min(NEVER, 1 + Math.floor(Math.log1p(-this.#random()) / Math.log1p(-ratio)));
  }
}
