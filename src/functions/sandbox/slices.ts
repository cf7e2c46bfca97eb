/** The slice of time that a batch has in a shared child: longer while the machine is too busy for it. */
import { PLACEMENT } from '../limits.ts';

export class Slices {
  #ms: number = PLACEMENT.sliceMs;
  #calmSince = 0;

  /** In ms. @param now of the same clock as all others */
  current(now: number): number {
    if (this.#ms > PLACEMENT.sliceMs && now - this.#calmSince > PLACEMENT.sliceCalmMs) {
      this.#ms = Math.max(PLACEMENT.sliceMs, this.#ms / PLACEMENT.sliceGrowth);
      this.#calmSince = now;
    }
    return this.#ms;
  }

  /**
   * A slice was over before its batch had a processor for half of it.
   * @param sliceMs that slice
   * @returns false: it can't be longer
   */
  extend(sliceMs: number, now: number): boolean {
    this.#calmSince = now;
    if (sliceMs >= PLACEMENT.longestSliceMs) return false;
    this.#ms = Math.max(this.#ms, sliceMs * PLACEMENT.sliceGrowth);
    return true;
  }
}
