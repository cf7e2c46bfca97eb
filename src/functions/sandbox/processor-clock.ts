/** Processor time. */

/** Used by this process, all of its threads included, in ms. It costs 0.6 µs. */
export function processCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
}

/** Used by this thread, in ms. It costs 0.4 µs. */
export function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e3;
}

/**
 * CPU time of this process since a recent mark. Asking the kernel costs too much for each crossing, and an isolate's own
 * `cpuTime` keeps counting while it waits for a processor.
 */
export class ProcessorClock {
  /** by performance.now() */
  #markedAt = -Infinity;
  /** CPU time at the mark, in ms */
  #markedMs = 0;

  /** Sets a mark, unless the last one is younger than this. */
  mark(youngestMs: number): void {
    const now = performance.now();
    if (now - this.#markedAt <= youngestMs) return;
    this.#markedAt = now;
    this.#markedMs = processCpuMs();
  }

  /** In ms. */
  sinceMark(): number {
    return processCpuMs() - this.#markedMs;
  }
}
