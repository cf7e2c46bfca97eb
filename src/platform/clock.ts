/** Time as a dependency that is passed in, so that tests need not wait. */

export interface Clock {
  /** ms; of systemClock, since 1970 */
  now(): number;
  /**
   * Does the work after a delay, which does not keep the process running.
   * @param delayMs ms
   * @returns cancels it
   */
  after(delayMs: number, work: () => void): () => void;
}

export const systemClock: Clock = { now: () => Date.now(), after };

/** Nobody sets it: it runs on when the system's time is changed. */
export const monotonicClock: Clock = { now: () => performance.now(), after };

function after(delayMs: number, work: () => void): () => void {
  const timer = setTimeout(work, delayMs).unref();
  return () => clearTimeout(timer);
}
