/** The jobs of a child: a few that it has been sent, and others that wait in the proxy, where they can still be put in order. */
import { IN_FLIGHT, ISOLATE } from '../limits.ts';
import { FairQueue } from './fair-queue.ts';
import { versionOf, type Job } from './jobs.ts';

export class Schedule {
  /** in the order in which they were sent; the first one is running */
  readonly #sent: Job[] = [];
  /** of the jobs that were sent: the processor time that each is expected to take, in ms */
  readonly #expectedMs: number[] = [];
  #sumMs = 0;
  readonly #waiting = new FairQueue<Job>(versionOf);
  /** by version, the mean processor time of a call, in ms */
  readonly #means = new Map<number, number>();

  /** The running job. */
  get head(): Job | undefined {
    return this.#sent[0];
  }

  get isEmpty(): boolean {
    return this.#sent.length === 0 && this.#waiting.size === 0;
  }

  /** Those that were sent first. */
  get jobs(): readonly Job[] {
    return [...this.#sent, ...this.#waiting.jobs];
  }

  add(job: Job): void {
    this.#waiting.add(job);
  }

  /** The next job that the child should have at hand; undefined: it has enough. It counts as sent from `send` on. */
  next(): Job | undefined {
    const { length } = this.#sent;
    if (this.#waiting.size === 0 || length >= IN_FLIGHT.most) return undefined;
    return length < IN_FLIGHT.fewest || this.#sumMs < IN_FLIGHT.expectedMs ? this.#waiting.take() : undefined;
  }

  /** A job is sent to the child. */
  send(job: Job): void {
    const ms = this.#expect(job);
    this.#sent.push(job);
    this.#expectedMs.push(ms);
    this.#sumMs += ms;
  }

  /** The running job has ended. */
  shift(): Job | undefined {
    this.#sumMs -= this.#expectedMs.shift() ?? 0;
    const job = this.#sent.shift();
    if (this.#sent.length === 0) this.#sumMs = 0;
    return job;
  }

  /** A job of a version took processor time, in ms. */
  charge(versionId: number, cpuMs: number): void {
    this.#waiting.charge(versionId, cpuMs);
  }

  /** Some calls of a version took this much processor time together, in ms. */
  learn(versionId: number, calls: number, cpuMs: number): void {
    if (calls === 0) return;
    const mean = this.#means.get(versionId) ?? cpuMs / calls;
    this.#means.set(versionId, mean + (cpuMs / calls - mean) * IN_FLIGHT.weight);
  }

  forget(versionId: number): void {
    this.#means.delete(versionId);
  }

  /** Calls of the version wait, or are on their way. */
  isAsked(versionId: number): boolean {
    const isAsked = (job: Job): boolean => job.kind === 'batch' && job.versionId === versionId;
    return this.#sent.some(isAsked) || this.#waiting.jobs.some(isAsked);
  }

  /** Removes and returns all jobs, those that were sent first. */
  takeAll(): Job[] {
    this.#expectedMs.length = 0;
    this.#sumMs = 0;
    return [...this.#sent.splice(0), ...this.#waiting.takeAll()];
  }

  #expect(job: Job): number {
    if (job.kind === 'load') return IN_FLIGHT.loadMs;
    const mean = this.#means.get(job.versionId) ?? IN_FLIGHT.unknownCallMs;
    // a batch ends after the call that passes its time
    return Math.min(job.calls.length * mean, ISOLATE.batchMs + mean);
  }
}
