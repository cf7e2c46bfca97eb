/** What a version takes too much of. */
export type Excess = 'memory' | 'time';

/**
 * What all versions of a child may hold together before the largest has to leave, in bytes. A child's data limit is 400 MB
 * and a set's memory limit (child.ts); 64 plain isolates and Node itself take half of that.
 */
const CROWDED_BYTES = 160 * 1024 * 1024;
/** Whoever has had more than this part of a child in so many ms has to leave. */
const WINDOW_MS = 1_000;
const LARGEST_PART = 0.3;

/** How much of a child each of its versions takes: memory by what was measured last, time by what its batches took. */
export class Shares {
  readonly #bytes = new Map<number, number>();
  readonly #usedMs = new Map<number, number>();
  /** versions that somebody was told of */
  readonly #told = new Set<number>();
  #windowBegan = 0;
  #sum = 0;

  /**
   * A batch has been answered.
   * @param tookMs from when it began to run
   * @param heapBytes what its version holds now
   * @param versions how many are in the child
   * @returns a version that is to leave, once for each
   */
  note(
    versionId: number,
    tookMs: number,
    heapBytes: number,
    versions: number,
    now = performance.now(),
  ): { readonly versionId: number; readonly excess: Excess } | null {
    this.#sum += heapBytes - (this.#bytes.get(versionId) ?? 0);
    this.#bytes.set(versionId, heapBytes);
    if (now - this.#windowBegan > WINDOW_MS) {
      this.#windowBegan = now;
      this.#usedMs.clear();
    }
    const usedMs = (this.#usedMs.get(versionId) ?? 0) + tookMs;
    this.#usedMs.set(versionId, usedMs);
    if (versions < 2) return null;
    if (usedMs > WINDOW_MS * LARGEST_PART) return this.#tell(versionId, 'time');
    return this.#sum > CROWDED_BYTES ? this.#tell(this.#largest(), 'memory') : null;
  }

  /** The version is no longer in the child. */
  forget(versionId: number): void {
    this.#sum -= this.#bytes.get(versionId) ?? 0;
    this.#bytes.delete(versionId);
    this.#usedMs.delete(versionId);
    this.#told.delete(versionId);
  }

  /** The child is another one. */
  clear(): void {
    this.#bytes.clear();
    this.#usedMs.clear();
    this.#sum = 0;
  }

  #tell(versionId: number, excess: Excess): { versionId: number; excess: Excess } | null {
    if (this.#told.has(versionId)) return null;
    this.#told.add(versionId);
    return { versionId, excess };
  }

  #largest(): number {
    let largest = -1;
    let most = -1;
    for (const [versionId, bytes] of this.#bytes) {
      if (bytes > most) {
        largest = versionId;
        most = bytes;
      }
    }
    return largest;
  }
}
