/** Each version's share of a child: memory at the last measurement, time by the batches that it ran. */
import { SHARE } from '../limits.ts';

/** The resource that a version takes too much of. */
export type Excess = 'memory' | 'time';

export class Shares {
  readonly #bytes = new Map<number, number>();
  readonly #usedMs = new Map<number, number>();
  /** versions that were reported, and are leaving */
  readonly #reported = new Set<number>();
  #windowBegan = -Infinity;
  /** CPU time of the child after the first batch of the window, and how long that batch took */
  #cpuMs: number | null = null;
  #firstMs = 0;
  #sumMs = 0;
  #sum = 0;

  /**
   * Records that a batch has been answered.
   * @param tookMs from when it began to run
   * @param heapBytes memory that its version holds now
   * @param versions how many versions are in the child
   * @param now ms
   * @param cpuMs CPU time used by the child; null: unknown
   * @returns a version that must leave; each is reported once
   */
  note(
    versionId: number,
    tookMs: number,
    heapBytes: number,
    versions: number,
    now = performance.now(),
    cpuMs: () => number | null = () => null,
  ): { readonly versionId: number; readonly excess: Excess } | null {
    this.#sum += heapBytes - (this.#bytes.get(versionId) ?? 0);
    this.#bytes.set(versionId, heapBytes);
    if (now - this.#windowBegan > SHARE.windowMs) {
      this.#windowBegan = now;
      this.#cpuMs = cpuMs();
      this.#firstMs = tookMs;
      this.#usedMs.clear();
      this.#sumMs = 0;
    }
    this.#sumMs += tookMs;
    const usedMs = (this.#usedMs.get(versionId) ?? 0) + tookMs;
    this.#usedMs.set(versionId, usedMs);
    if (versions < 2) return null;
    const largest = this.#sum > SHARE.crowdedBytes ? largestOf(this.#bytes) : null;
    const excess = largest === null ? null : this.#report(largest, 'memory');
    return excess ?? this.#tooMuchTime(versionId, usedMs, cpuMs);
  }

  #tooMuchTime(
    versionId: number,
    usedMs: number,
    cpuMs: () => number | null,
  ): { versionId: number; excess: Excess } | null {
    const isMuch = usedMs > SHARE.windowMs * SHARE.largestPart;
    if (this.#sumMs > SHARE.windowMs * SHARE.crowdedPart) {
      const counts = (id: number, ms: number): boolean => ms >= SHARE.smallMs && !this.#reported.has(id);
      const slowest = largestOf(this.#usedMs, counts);
      return slowest === null ? null : this.#report(slowest, 'time');
    }
    // On a busy machine, a short batch may have waited long for a processor.
    return isMuch && usedMs * this.#partOfProcessor(cpuMs()) > SHARE.windowMs * SHARE.largestPart
      ? this.#report(versionId, 'time')
      : null;
  }

  /** The part of this window's batch time in which the child had a processor. */
  #partOfProcessor(cpuMs: number | null): number {
    if (cpuMs === null || this.#cpuMs === null) return 1;
    const tookMs = this.#sumMs - this.#firstMs;
    return tookMs > 0 ? Math.min(1, Math.max(0, cpuMs - this.#cpuMs) / tookMs) : 1;
  }

  /** The version is no longer in the child. */
  forget(versionId: number): void {
    this.#sum -= this.#bytes.get(versionId) ?? 0;
    this.#bytes.delete(versionId);
    this.#usedMs.delete(versionId);
    this.#reported.delete(versionId);
  }

  /** Another child takes over. */
  clear(): void {
    this.#bytes.clear();
    this.#usedMs.clear();
    this.#windowBegan = -Infinity;
    this.#sum = 0;
  }

  #report(versionId: number, excess: Excess): { versionId: number; excess: Excess } | null {
    if (this.#reported.has(versionId)) return null;
    this.#reported.add(versionId);
    return { versionId, excess };
  }
}

function largestOf(
  amounts: ReadonlyMap<number, number>,
  counts: (id: number, amount: number) => boolean = () => true,
): number | null {
  let largest: number | null = null;
  let most = -1;
  for (const [id, amount] of amounts) {
    if (amount > most && counts(id, amount)) {
      largest = id;
      most = amount;
    }
  }
  return largest;
}
