/** How long calls take, over the last one to two minutes: a histogram of fixed size, whose classes are 9 % apart. */

/** Classes for each doubling of the time. */
const PER_OCTAVE = 8;
/** From 1 µs to 2^32 µs, which is over an hour. */
const CLASSES = 32 * PER_OCTAVE;
const WINDOW_MS = 60_000;

/** Times in µs; null: there were no calls. */
export interface Percentiles {
  readonly p50Us: number | null;
  readonly p99Us: number | null;
}

export class CallTimes {
  #present = new Uint32Array(CLASSES);
  #past = new Uint32Array(CLASSES);
  #endsAt = 0;

  /** @param tookMs one call; @param now of the same clock as all others, in ms */
  note(tookMs: number, now: number): void {
    if (now >= this.#endsAt) this.#turn(now);
    this.#present[classOf(tookMs * 1000)]!++;
  }

  observe(now: number): Percentiles {
    if (now >= this.#endsAt) this.#turn(now);
    const counts = this.#present.map((count, i) => count + this.#past[i]!);
    const total = counts.reduce((sum, count) => sum + count, 0);
    return { p50Us: percentile(counts, total, 0.5), p99Us: percentile(counts, total, 0.99) };
  }

  #turn(now: number): void {
    const wasLongAgo = now >= this.#endsAt + WINDOW_MS;
    [this.#present, this.#past] = [this.#past, this.#present];
    this.#present.fill(0);
    if (wasLongAgo) this.#past.fill(0);
    this.#endsAt = now + WINDOW_MS;
  }
}

function classOf(us: number): number {
  return us <= 1 ? 0 : Math.min(CLASSES - 1, Math.round(Math.log2(us) * PER_OCTAVE));
}

function percentile(counts: Uint32Array, total: number, share: number): number | null {
  if (total === 0) return null;
  let left = Math.ceil(total * share);
  const at = counts.findIndex((count) => (left -= count) <= 0);
  return Math.round(2 ** (at / PER_OCTAVE));
}
