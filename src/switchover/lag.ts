/** The lag of standbys, by the positions that the proxy has observed. */
import type { NodeFacts } from './facts.ts';
import type { Evidence } from './question.ts';

/** More samples than this are thinned. */
const MAX_SAMPLES = 512;
/** Thinning may make a lag too low by at most one part in so many. */
const PRECISION = 16;

/** A position that the writer had reached, and when; ms of performance.now(). */
interface Sample {
  readonly position: bigint;
  readonly at: number;
}

/**
 * The lag of a cluster's standbys. All positions and times are the proxy's own observations: neither the servers' clocks nor
 * a standby's own idea of what it has received counts.
 */
export class Lag {
  readonly #samples: Sample[] = [];

  /** Another node is the writer: the positions of the old one may belong to an abandoned history. */
  reset(): void {
    this.#samples.length = 0;
  }

  /** The writer has reported its position. */
  note({ position, askedAt: at }: Evidence): void {
    if (position === null) return;
    const last = this.#samples.at(-1);
    if (last !== undefined && position === last.position) return;
    if (last !== undefined && position < last.position) this.reset();
    this.#samples.push({ position, at });
    if (this.#samples.length > MAX_SAMPLES) this.#thin();
  }

  /** Samples that are kept. */
  get size(): number {
    return this.#samples.length;
  }

  /** Bytes of WAL that the writer had written at its last probe and a reader has not replayed; null: not known. */
  bytes(node: NodeFacts): number | null {
    const written = this.#samples.at(-1)?.position ?? null;
    const replayed = replayedBy(node);
    if (written === null || replayed === null) return null;
    return Math.max(0, Number(written - replayed));
  }

  /** Seconds since the writer has written the oldest byte that a reader has not replayed; null: not known. */
  seconds(node: NodeFacts, now = performance.now()): number | null {
    const replayed = replayedBy(node);
    if (replayed === null || this.#samples.length === 0) return null;
    const index = this.#firstAfter(replayed);
    const sample = this.#samples[index];
    if (sample === undefined) return 0;
    const seen = Math.round(Math.max(0, now - sample.at)) / 1000;
    // it lagged before the writer was first probed: only the two servers' clocks can tell for how long
    return index > 0 ? seen : Math.max(seen, node.evidence?.lagSeconds ?? 0);
  }

  #firstAfter(position: bigint): number {
    let low = 0;
    let high = this.#samples.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#samples[middle]!.position > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Drops samples that leave a gap of at most a sixteenth of their age: the number that remains is logarithmic in the age. */
  #thin(): void {
    const all = this.#samples;
    const now = all.at(-1)!.at;
    let kept = 1;
    for (let i = 1; i < all.length; i++) {
      const next = all[i + 1];
      const isNeeded = next === undefined || next.at - all[kept - 1]!.at > (now - next.at) / PRECISION;
      if (isNeeded) all[kept++] = all[i]!;
    }
    all.length = kept;
  }
}

/** The replayed position of a reader; null: not known, or not in the writer's history. */
function replayedBy(node: NodeFacts): bigint | null {
  if (node.role !== 'reader' || node.following.isLagUnknown) return null;
  return node.evidence?.position ?? null;
}
