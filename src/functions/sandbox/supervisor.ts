/**
 * A child process that evaluates, and its supervision. A child that does not return at a deadline is killed. If the running
 * call was alone, it is a failure; the later jobs are run again in the next child. If a child ends otherwise, no job is blamed
 * until the same job, alone, has ended another child (jobs.ts).
 */
import { ENGINE, SUPERVISOR } from '../limits.ts';
import type { SandboxChild } from './child.ts';
import { CpuMeter } from './cpu-meter.ts';
import type { HostCall } from './call.ts';
import {
  NO_COST,
  NO_PROCESS,
  NO_PROCESSOR,
  STOPPING,
  type BatchCost,
  type OnUsed,
  type SandboxHost,
  type VersionCode,
} from './host.ts';
import { failBatch, fateOf, newBatch, newLoad, type Batch, type Job, type Load } from './jobs.ts';
import { refused, type LoadResult } from './load-result.ts';
import { CallPacker } from './packing.ts';
import { Pauses } from './pauses.ts';
import type { Report } from './protocol.ts';
import { Shares, type Excess } from './shares.ts';
import { checkedAnswers } from './untrusted.ts';
import { Watchdog } from './watchdog.ts';

const NOT_LOADED = 'its version could not be loaded again';

export interface SupervisorEvents {
  /** A version's call had to be ended together with its process. */
  readonly onKilled: (versionId: number) => void;
  /** A version takes more than its share of a shared child: its neighbours would be better off without it. */
  readonly onExcess: (versionId: number, excess: Excess) => void;
  readonly onUsed: OnUsed;
  /** A child was ended from outside; another one takes over. */
  readonly onAccident: (signal: NodeJS.Signals) => void;
  /** A child was ended because it had no processor, or was stopped; another one takes over. */
  readonly onStalled: () => void;
  /** A child ended before it was ready. `complaint`: its last lines on stderr. */
  readonly onStartFailed: (complaint: string) => void;
}

export class Supervisor implements SandboxHost {
  readonly isInline = false;
  readonly #spawnChild: () => SandboxChild;
  readonly #events: SupervisorEvents;
  readonly #packer = new CallPacker();
  readonly #shares = new Shares();
  readonly #meter = new CpuMeter();
  readonly #pauses = new Pauses();
  readonly #watchdog = new Watchdog((isStalled) => this.#overdue(isStalled));
  readonly #versions = new Map<number, VersionCode>();
  /** versions that the current child was sent */
  readonly #inChild = new Set<number>();
  /** versions that lost their isolate through no fault of theirs: building it again costs their tenants nothing */
  readonly #pardoned = new Set<number>();
  /** in the order in which they were sent; the first one is running */
  #queue: Job[] = [];
  #child: SandboxChild;
  #nextBatch = 1;
  /** the child was ended because it had no processor for its job */
  #isStalled = false;
  #failedStarts = 0;
  #restartTimer: NodeJS.Timeout | null = null;
  #onIdle: (() => void) | null = null;
  #isStopped = false;

  /** @param spawnChild gives a child, cold or warm */
  constructor(spawnChild: () => SandboxChild, events: SupervisorEvents) {
    this.#spawnChild = spawnChild;
    this.#events = events;
    this.#child = this.#start();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isBusy(): boolean {
    return this.#queue.length > 0;
  }

  load(version: VersionCode): Promise<LoadResult> {
    return new Promise((resolve) => {
      if (this.#isStopped) return resolve(refused('passing', STOPPING));
      this.#versions.set(version.id, version);
      this.#add(newLoad(version, resolve));
    });
  }

  adopt(version: VersionCode): void {
    this.#versions.set(version.id, version);
  }

  evaluate(versionId: number, calls: readonly HostCall[], done: Batch['done']): void {
    const batch = newBatch(this.#nextBatch++, versionId, this.#versions.get(versionId), calls, done);
    // Without a child, it waits for the next one.
    if (this.#isStopped) process.nextTick(() => failBatch(batch, 'overloaded', STOPPING));
    else this.#add(batch);
  }

  dispose(versionId: number): void {
    this.#versions.delete(versionId);
    this.#pauses.forget(versionId);
    this.#pardoned.delete(versionId);
    this.#forgetUnlessAsked(versionId);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#watchdog.stop();
    if (this.#restartTimer) clearTimeout(this.#restartTimer);
    for (const job of this.#queue.splice(0)) {
      if (job.kind === 'batch') failBatch(job, 'overloaded', STOPPING);
      else job.settle?.(refused('passing', STOPPING));
    }
    await this.#child.close();
  }

  /** Stops after all jobs have been answered. No more jobs may be sent. */
  async retire(): Promise<void> {
    if (this.isBusy && !this.#isStopped) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
        setTimeout(resolve, SUPERVISOR.retireMs).unref();
      });
    }
    await this.stop();
  }

  // --- jobs ------------------------------------------------------------------------------------------------------------

  #add(job: Job): void {
    if (job.kind === 'load') {
      this.#inChild.add(job.version.id);
      this.#child.allowResult(job.version.maxResult);
    } else if (!this.#inChild.has(job.versionId)) {
      if (this.#pauses.isPaused(job.versionId)) return failBatch(job, 'overloaded', NOT_LOADED);
      // A new child gets a version with its first batch: loading hundreds at once would delay all calls.
      if (job.version !== undefined) this.#add(newLoad(job.version, null));
    }
    this.#queue.push(job);
    this.#send(job);
    if (this.#queue.length > 1) return;
    this.#meter.begin(performance.now());
    this.#watchHead();
  }

  #send(job: Job): void {
    if (job.kind === 'load') return this.#child.send({ kind: 'load', version: job.version });
    const { id: batchId, versionId } = job;
    this.#child.send({ kind: 'batch', batchId, versionId, calls: this.#packer.pack(job.calls) });
  }

  /** Watches the running job, if there is one. */
  #watchHead(): void {
    const head = this.#queue[0];
    this.#watchdog.stop();
    if (head === undefined) this.#onIdle?.();
    else if (!this.#isStopped) this.#watchdog.begin(head, this.#child);
  }

  #overdue(isStalled: boolean): void {
    this.#isStalled = isStalled;
    this.#child.kill();
  }

  #receive(child: SandboxChild, report: Report): void {
    if (child !== this.#child || this.#isStopped) return;
    if (report.kind === 'ready') this.#failedStarts = 0;
    else if (!this.#take(report)) child.kill();
  }

  /** @returns false: none of our children sends that */
  #take(report: Exclude<Report, { kind: 'ready' }>): boolean {
    const head = this.#queue[0];
    if (head === undefined) return false;
    switch (report.kind) {
      case 'alive':
        return this.#watchdog.extend(head, this.#child, report.nextMs);
      case 'loaded':
        if (head.kind !== 'load' || head.version.id !== report.versionId) return false;
        this.#loaded(head, report.result, report.cpuUs / 1e3);
        return true;
      case 'answers': {
        if (head.kind !== 'batch' || head.id !== report.batchId) return false;
        const unpacked = checkedAnswers(report.answers, head.calls.length);
        if (unpacked === null) return false;
        this.#answered(head, unpacked.answers, unpacked.consoleText, {
          cpuMs: report.cpuUs / 1e3,
          heapBytes: report.heapBytes,
        });
        return true;
      }
    }
  }

  #loaded(load: Load, result: LoadResult, reportedMs: number): void {
    this.#queue.shift();
    const { id } = load.version;
    if (!this.#pardoned.delete(id)) this.#used(id, reportedMs);
    if (result.kind === 'loaded') this.#pauses.forget(id);
    else this.#notLoaded(load);
    load.settle?.(result);
    this.#watchHead();
  }

  /** A version that was loaded before may be loaded again later: the child may have lacked memory or time. */
  #notLoaded({ version, settle }: Load): void {
    if (settle !== null) {
      this.#versions.delete(version.id);
      return;
    }
    this.#inChild.delete(version.id);
    // It was sound when it was tried; now it has used up all of its time.
    if (this.#watchdog.ranMs >= (version.loadMs ?? ENGINE.loadMs)) this.#events.onExcess(version.id, 'time');
  }

  #answered(
    batch: Batch,
    answers: Parameters<Batch['done']>[0],
    consoleText: string,
    { cpuMs: reportedMs, heapBytes }: BatchCost,
  ): void {
    const { versionId } = batch;
    const tookMs = this.#watchdog.ranMs;
    this.#queue.shift();
    const cpuMs = this.#used(versionId, reportedMs);
    if (answers.length === 0 && batch.calls.length === 1) this.#missed(batch);
    else batch.done(answers, consoleText, { cpuMs, heapBytes });
    // A version that is leaving would count for ever, and against its neighbours.
    const isServing = this.#versions.has(versionId);
    const sharers = this.#inChild.size;
    const excess = isServing
      ? this.#shares.note(versionId, tookMs, heapBytes, sharers, performance.now(), this.#cpuOfChild)
      : null;
    if (!isServing) this.#forgetUnlessAsked(versionId);
    this.#watchHead();
    if (excess !== null) this.#events.onExcess(excess.versionId, excess.excess);
  }

  /** A job has ended. @returns the processor time that counts, in ms */
  #used(versionId: number, reportedMs: number): number {
    const cpuMs = this.#meter.count(reportedMs, performance.now());
    this.#events.onUsed(versionId, cpuMs);
    return cpuMs;
  }

  readonly #cpuOfChild = (): number | null => this.#child.cpuMs();

  /** The child had no isolate for a call. Its version is sent again a few times, unless it has left meanwhile. */
  #missed(batch: Batch): void {
    const { versionId } = batch;
    if (++batch.misses < SUPERVISOR.maxMisses && this.#versions.has(versionId)) {
      this.#inChild.delete(versionId);
      this.#add(batch);
      return;
    }
    this.#pauses.begin(versionId);
    failBatch(batch, 'overloaded', NOT_LOADED);
  }

  /** A version that was disposed of leaves the child after all its batches have been answered. */
  #forgetUnlessAsked(versionId: number): void {
    if (this.#queue.some((job) => job.kind === 'batch' && job.versionId === versionId)) return;
    this.#inChild.delete(versionId);
    this.#shares.forget(versionId);
    this.#child.send({ kind: 'dispose', versionId });
  }

  // --- children --------------------------------------------------------------------------------------------------------

  #start(): SandboxChild {
    const child = this.#spawnChild();
    child.attach({
      onReport: (report) => this.#receive(child, report),
      onGone: () => this.#lost(child),
    });
    return child;
  }

  #lost(child: SandboxChild): void {
    if (child !== this.#child || this.#isStopped) return;
    this.#watchdog.stop();
    if (child.endedBy !== null) this.#events.onAccident(child.endedBy);
    const isStalled = this.#isStalled && child.isReady;
    this.#isStalled = false;
    if (isStalled) this.#events.onStalled();
    if (!child.isReady) return this.#neverStarted(child);
    const head = this.#queue.shift();
    for (const id of this.#inChild) this.#pardoned.add(id);
    if (head !== undefined && child.endedBy === null && !isStalled) this.#pardoned.delete(versionOf(head));
    const again = head !== undefined && this.#runsAgain(head, child, isStalled) ? [head] : [];
    this.#restart([...again, ...this.#queue]);
  }

  /** Decides about the job that was running when its child ended. @returns whether it is run again, before all others */
  #runsAgain(head: Job, { endedBy, wasKilled }: SandboxChild, isStalled: boolean): boolean {
    const fate = fateOf(head, { isAccident: endedBy !== null, isStalled, wasKilled });
    // A child that is gone reports nothing. Unless it was starved, its job had a processor until the end.
    const cost = isStalled
      ? NO_COST
      : { cpuMs: this.#used(versionOf(head), this.#watchdog.ranMs), heapBytes: 0 };
    if (fate === 'again') return true;
    if (head.kind === 'load') this.#refuseLoad(head, fate === 'starved');
    else if (fate === 'split') head.done([], '', cost);
    else if (fate === 'starved') failBatch(head, 'starved', NO_PROCESSOR);
    else if (fate === 'lost') failBatch(head, 'lost', 'its process was ended from outside again and again');
    else {
      this.#events.onKilled(head.versionId);
      failBatch(head, 'killed', 'did not come back at its deadline, or ended its process', cost);
    }
    return false;
  }

  #refuseLoad({ version, settle }: Load, isStarved: boolean): void {
    const { id } = version;
    this.#versions.delete(id);
    if (isStarved) return settle?.(refused('passing', NO_PROCESSOR));
    for (const job of this.#queue) if (job.kind === 'batch' && job.versionId === id) job.version = undefined;
    if (settle === null) this.#events.onKilled(id);
    else settle(refused('offence', 'did not come back from loading, or ended its process'));
  }

  /** A child ended before it was ready. Unless that was an accident, another one started at once would end as well. */
  #neverStarted(child: SandboxChild): void {
    if (child.endedBy !== null && this.#failedStarts < SUPERVISOR.maxAccidents) {
      this.#failedStarts++;
      return this.#restart(this.#queue);
    }
    // Calls wait for the next child: their senders know for how long. Versions wait too, for a few children.
    this.#queue = this.#queue.filter((job) => job.kind === 'batch' || this.#waitsOn(job, child));
    this.#events.onStartFailed(child.complaint);
    if (this.#isStopped) return;
    const pauseMs = Math.min(SUPERVISOR.restartMs * 2 ** this.#failedStarts++, SUPERVISOR.longestRestartMs);
    this.#restartTimer = setTimeout(() => this.#restart(this.#queue), pauseMs).unref();
  }

  #waitsOn(load: Load, child: SandboxChild): boolean {
    const { id } = load.version;
    // It is sent again with its next batch.
    if (load.settle === null) this.#inChild.delete(id);
    else if (++load.starts < SUPERVISOR.maxLoadStarts) return true;
    else {
      this.#versions.delete(id);
      load.settle(refused('passing', `${NO_PROCESS}: ${firstLine(child.complaint)}`));
    }
    return false;
  }

  #restart(jobs: readonly Job[]): void {
    if (this.#isStopped) return;
    this.#queue = [];
    this.#inChild.clear();
    this.#shares.clear();
    this.#child = this.#start();
    for (const job of jobs) this.#add(job);
  }
}

function versionOf(job: Job): number {
  return job.kind === 'load' ? job.version.id : job.versionId;
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] || 'no reason given';
}
