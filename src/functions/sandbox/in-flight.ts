/** The jobs that a child has been sent, in this order: the first one is running. */
import { IN_FLIGHT, ISOLATE } from '../limits.ts';
import type { Job } from './jobs.ts';

export class InFlight {
  readonly #jobs: Job[] = [];
  readonly #expectedMs: number[] = [];
  #sumMs = 0;
  /** by version, the mean processor time of a call, in ms */
  readonly #means = new Map<number, number>();

  get head(): Job | undefined {
    return this.#jobs[0];
  }

  get jobs(): readonly Job[] {
    return this.#jobs;
  }

  /** Whether a job need not wait in the proxy. */
  hasRoomFor(job: Job): boolean {
    const { length } = this.#jobs;
    if (length < IN_FLIGHT.fewest) return true;
    return length < IN_FLIGHT.most && this.#sumMs + this.#expect(job) <= IN_FLIGHT.expectedMs;
  }

  push(job: Job): void {
    const ms = this.#expect(job);
    this.#jobs.push(job);
    this.#expectedMs.push(ms);
    this.#sumMs += ms;
  }

  /** The running job has ended. */
  shift(): Job | undefined {
    this.#sumMs -= this.#expectedMs.shift() ?? 0;
    const job = this.#jobs.shift();
    if (this.#jobs.length === 0) this.#sumMs = 0;
    return job;
  }

  /** Removes and returns all jobs. */
  takeAll(): Job[] {
    this.#expectedMs.length = 0;
    this.#sumMs = 0;
    return this.#jobs.splice(0);
  }

  /** Some calls of a version took this much processor time together. */
  learn(versionId: number, calls: number, cpuMs: number): void {
    if (calls === 0) return;
    const mean = this.#means.get(versionId) ?? cpuMs / calls;
    this.#means.set(versionId, mean + (cpuMs / calls - mean) * IN_FLIGHT.weight);
  }

  forget(versionId: number): void {
    this.#means.delete(versionId);
  }

  #expect(job: Job): number {
    if (job.kind === 'load') return IN_FLIGHT.loadMs;
    const mean = this.#means.get(job.versionId) ?? IN_FLIGHT.unknownCallMs;
    // a batch ends after the call that passes its time
    return Math.min(job.calls.length * mean, ISOLATE.batchMs + mean);
  }
}
