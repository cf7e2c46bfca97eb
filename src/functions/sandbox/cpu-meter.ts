/**
 * Bounds the processor time that a child reports for its jobs. Code that has broken out of its isolate may report anything, but
 * all jobs together can't take more time than has passed since the child was given the first of them.
 */
export class CpuMeter {
  #busySince = 0;
  #countedMs = 0;

  /** The child was idle, and gets a job now. @param now of the same clock as all others, in ms */
  begin(now: number): void {
    this.#busySince = now;
    this.#countedMs = 0;
  }

  /**
   * A job has ended.
   * @param reportedMs the processor time that it took, as the child says
   * @returns the time that counts
   */
  count(reportedMs: number, now: number): number {
    const mostMs = Math.max(0, now - this.#busySince - this.#countedMs);
    const ms = Math.min(Math.max(0, reportedMs), mostMs);
    this.#countedMs += ms;
    return ms;
  }
}
