/**
 * Jobs that wait for a child. The one that comes next is of the version that has had the least processor time since it began to
 * compete: a version whose jobs take long waits until the others have had as much (start-time fair queueing).
 */
export class FairQueue<Job> {
  readonly #keyOf: (job: Job) => number;
  #waiting: Job[] = [];
  /** by version: the virtual time at which its next job may start; none: now */
  readonly #dues = new Map<number, number>();
  /** the virtual time at which the last job started, in ms of processor time */
  #now = 0;

  /** @param keyOf the version of a job */
  constructor(keyOf: (job: Job) => number) {
    this.#keyOf = keyOf;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** In order of arrival. */
  get jobs(): readonly Job[] {
    return this.#waiting;
  }

  add(job: Job): void {
    this.#waiting.push(job);
  }

  /** Removes and returns the job that comes next; jobs of one version come in order of arrival. */
  take(): Job | undefined {
    let next = 0;
    let least = Infinity;
    for (let i = 0; i < this.#waiting.length && least > this.#now; i++) {
      const due = this.#dueOf(this.#keyOf(this.#waiting[i]!));
      if (due >= least) continue;
      least = due;
      next = i;
    }
    const [job] = this.#waiting.splice(next, 1);
    if (job !== undefined) this.#now = Math.max(this.#now, least);
    return job;
  }

  /** A job of this version took processor time, in ms. Where nothing waits, no version competes with another. */
  charge(key: number, cpuMs: number): void {
    if (this.#waiting.length > 0) this.#dues.set(key, this.#dueOf(key) + cpuMs);
    else if (this.#dues.size > 0) this.#dues.clear();
  }

  /** Removes and returns all jobs, in order of arrival. */
  takeAll(): Job[] {
    return this.#waiting.splice(0);
  }

  #dueOf(key: number): number {
    return Math.max(this.#now, this.#dues.get(key) ?? 0);
  }
}
