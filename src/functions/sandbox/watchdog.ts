/** The deadline of a child's running job: by the clock, but a busy machine is not held against the job. */
import { ENGINE, MESSAGE, PLACEMENT, SUPERVISOR } from '../limits.ts';
import type { SandboxChild } from './child.ts';
import type { Job } from './jobs.ts';

export class Watchdog {
  readonly #onOverdue: (isStalled: boolean) => void;
  #timer: NodeJS.Timeout | null = null;
  /** when the job began; times are by performance.now() */
  #beganAt = 0;
  /** signs that it is still working */
  #signs = 0;
  /** the start of the present limit, and its length */
  #since = 0;
  #limitMs = 0;
  /** the limit that is never exceeded, whatever the child says */
  #hardLimitMs = 0;
  /** CPU time of the child at the first look; null: no look yet */
  #cpuMs: number | null = null;

  /** @param onOverdue the job has used up its time; `isStalled`: it did not have a processor in that time */
  constructor(onOverdue: (isStalled: boolean) => void) {
    this.#onOverdue = onOverdue;
  }

  /** How long the job has run, in ms. */
  get ranMs(): number {
    return performance.now() - this.#beganAt;
  }

  /** Watches a job from now on. */
  begin(job: Job, child: SandboxChild): void {
    this.#beganAt = performance.now();
    this.#signs = 0;
    this.#watch(child, plainLimitMs(job), job);
  }

  /**
   * The child has cut off a call of the job, which continues.
   * @param nextMs the time that the next call may take, as the child says
   * @returns false: the child has sent this too often
   */
  extend(job: Job, child: SandboxChild, nextMs: number): boolean {
    if (++this.#signs > MESSAGE.maxSigns) return false;
    // A starved call has more time than its version's limit.
    this.#watch(child, Math.max(plainLimitMs(job), nextMs + SUPERVISOR.graceMs), job);
    return true;
  }

  /** No job runs. */
  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #watch(child: SandboxChild, limitMs: number, job: Job): void {
    this.stop();
    this.#since = performance.now();
    this.#cpuMs = null;
    this.#hardLimitMs = fullLimitMs(job) * SUPERVISOR.hardFactor;
    this.#limitMs = Math.min(limitMs, this.#hardLimitMs);
    this.#timer = setTimeout(() => this.#check(child), this.#limitMs);
  }

  /** Late by the clock. Has the job been running, or waiting for a processor? */
  #check(child: SandboxChild): void {
    const limitMs = this.#limitMs;
    const waitedMs = performance.now() - this.#since;
    if (!child.isReady && waitedMs < SUPERVISOR.startMs)
      return this.#lookAgain(child, SUPERVISOR.startingLookMs);
    const cpuMs = child.cpuMs();
    const ranMs = cpuMs === null ? limitMs : this.#cpuMs === null ? 0 : cpuMs - this.#cpuMs;
    const isStarved = ranMs < limitMs * SUPERVISOR.fairPart;
    if (isStarved && waitedMs < this.#hardLimitMs) {
      // The first look only records the time: CPU used from then on counts.
      this.#cpuMs ??= cpuMs;
      return this.#lookAgain(child, Math.max(SUPERVISOR.lateLookMs, limitMs / 4));
    }
    this.#onOverdue(isStarved);
  }

  #lookAgain(child: SandboxChild, inMs: number): void {
    this.#timer = setTimeout(() => this.#check(child), inMs);
  }
}

/** The child itself interrupts a job at its deadline or the end of its slice. It is late if it has not returned after this. */
function plainLimitMs(job: Job): number {
  if (job.kind === 'load' && job.isSliced)
    return (job.version.loadMs ?? PLACEMENT.loadSliceMs) + PLACEMENT.loadGraceMs;
  if (job.kind === 'batch' && job.sliceMs > 0) return job.sliceMs + PLACEMENT.graceMs;
  return fullLimitMs(job);
}

/** The same without slices. */
function fullLimitMs(job: Job): number {
  if (job.kind === 'load') return (job.version.loadMs ?? ENGINE.loadMs) + SUPERVISOR.loadGraceMs;
  return (job.version?.timeoutMs ?? SUPERVISOR.unknownMs) + SUPERVISOR.graceMs;
}
