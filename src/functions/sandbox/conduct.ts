/** How a tenant, or all tenants of a child together, have used the child lately. */
import { SHARE } from '../limits.ts';

/** Sums that fade: a constant use of a part of the time tends towards that part of the window. */
export interface Observed {
  /** processor time, over some SHARE.windowMs */
  readonly usedMs: number;
  /** time in which neighbours had to wait for longer than they would notice, over some SHARE.delayWindowMs */
  readonly delayMs: number;
  /** memory that is held now */
  readonly heapBytes: number;
}

/** Times are in ms of the caller's clock. */
export class Conduct {
  #at = 0;
  #usedMs = 0;
  #delayMs = 0;
  #heapBytes = 0;

  /** Memory that is held now. */
  get heapBytes(): number {
    return this.#heapBytes;
  }

  /**
   * A job has ended.
   * @param cpuMs the processor time that it took
   * @param delayMs the part of it in which neighbours had to wait (delayOf)
   * @param heapChange by how many bytes the memory that is held has changed
   */
  note(cpuMs: number, delayMs: number, heapChange: number, now: number): void {
    this.#fade(now);
    this.#usedMs += cpuMs;
    this.#delayMs += delayMs;
    this.#heapBytes += heapChange;
  }

  /** A tenant has left. */
  subtract({ usedMs, delayMs, heapBytes }: Observed): void {
    this.#usedMs = Math.max(0, this.#usedMs - usedMs);
    this.#delayMs = Math.max(0, this.#delayMs - delayMs);
    this.#heapBytes -= heapBytes;
  }

  observe(now: number): Observed {
    this.#fade(now);
    return { usedMs: this.#usedMs, delayMs: this.#delayMs, heapBytes: this.#heapBytes };
  }

  #fade(now: number): void {
    const passedMs = now - this.#at;
    if (passedMs <= 0) return;
    this.#at = now;
    this.#usedMs *= Math.exp(-passedMs / SHARE.windowMs);
    this.#delayMs *= Math.exp(-passedMs / SHARE.delayWindowMs);
  }
}

/**
 * The part of a job's processor time in which neighbours had to wait for longer than they would notice, in ms.
 * @param isOwn the tenant has caused the job; false: an isolate was built because its child is new, or was starved
 */
export function delayOf(cpuMs: number, isOwn: boolean): number {
  return Math.max(0, cpuMs - (isOwn ? SHARE.noticedMs : SHARE.buildMs));
}
