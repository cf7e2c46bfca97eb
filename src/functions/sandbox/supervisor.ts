/**
 * A child process that evaluates, and its supervision. A child that does not return at a deadline is killed. If the running
 * call was alone, it is a failure; the later jobs are run again in the next child. If a child ends otherwise, no job is blamed
 * until the same job, alone, has ended another child (jobs.ts). A batch that shares the child with other tenants' is given back
 * instead of being blamed (`GiveBack`).
 */
import { SUPERVISOR } from '../limits.ts';
import type { SandboxChild } from './child.ts';
import { CpuMeter } from './cpu-meter.ts';
import type { HostCall } from './call.ts';
import { ChildVersions } from './child-versions.ts';
import { delayOf } from './conduct.ts';
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
import {
  failBatch,
  fateOf,
  newBatch,
  newLoad,
  versionOf,
  type Batch,
  type GiveBack,
  type Job,
  type Load,
} from './jobs.ts';
import { refused, type LoadResult } from './load-result.ts';
import { CallPacker, type Answers } from './packing.ts';
import { Pauses } from './pauses.ts';
import type { Report } from './protocol.ts';
import { Schedule } from './schedule.ts';
import { Slices } from './slices.ts';
import { checkedAnswers } from './untrusted.ts';
import { Watchdog } from './watchdog.ts';

const NOT_LOADED = 'its version could not be loaded again';

export interface SupervisorEvents {
  /** A version's call had to be ended together with its process. */
  readonly onKilled: (versionId: number) => void;
  readonly onUsed: OnUsed;
  /**
   * A job has ended. `delayMs`: how long neighbours had to wait for it beyond what they would notice. `heapBytes`: memory that
   * its version holds now; null: it was a load.
   */
  readonly onRan: (versionId: number, cpuMs: number, delayMs: number, heapBytes: number | null) => void;
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
  readonly #meter = new CpuMeter();
  readonly #pauses = new Pauses();
  readonly #slices = new Slices();
  readonly #watchdog = new Watchdog((isStalled) => this.#overdue(isStalled));
  readonly #versions = new Map<number, VersionCode>();
  readonly #mostVersions: number;
  readonly #inChild = new ChildVersions();
  readonly #schedule = new Schedule();
  #child: SandboxChild;
  #nextBatch = 1;
  /** the child was ended because it had no processor for its job */
  #isStalled = false;
  #failedStarts = 0;
  #restartTimer: NodeJS.Timeout | null = null;
  #onIdle: (() => void) | null = null;
  #isStopped = false;

  /**
   * @param spawnChild gives a child, cold or warm
   * @param mostVersions that are loaded at a time: the one that was used last is loaded again with its next call
   */
  constructor(spawnChild: () => SandboxChild, events: SupervisorEvents, mostVersions = Infinity) {
    this.#spawnChild = spawnChild;
    this.#events = events;
    this.#mostVersions = mostVersions;
    this.#child = this.#start();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get isDown(): boolean {
    return this.#failedStarts > 0 && !this.#child.isReady;
  }

  get isBusy(): boolean {
    return !this.#schedule.isEmpty;
  }

  /** @param isSliced the child is shared: a version that is slow to load, or ends the child, is refused as an offence */
  load(version: VersionCode, isSliced = false): Promise<LoadResult> {
    return new Promise((resolve) => {
      if (this.#isStopped) return resolve(refused('passing', STOPPING));
      this.#versions.set(version.id, version);
      this.#add(newLoad(version, resolve, isSliced));
    });
  }

  adopt(version: VersionCode): void {
    this.#versions.set(version.id, version);
  }

  /** @param giveBack the child is shared: takes the batch back if it needs more than its slice of time; null: it blames */
  evaluate(
    versionId: number,
    calls: readonly HostCall[],
    done: Batch['done'],
    giveBack: GiveBack | null = null,
  ): void {
    const version = this.#versions.get(versionId);
    const batch = newBatch(this.#nextBatch++, versionId, version, calls, done, giveBack);
    // Without a child, it waits for the next one.
    if (this.#isStopped) process.nextTick(() => failBatch(batch, 'overloaded', STOPPING));
    else this.#add(batch);
  }

  dispose(versionId: number): void {
    this.#versions.delete(versionId);
    this.#pauses.forget(versionId);
    this.#inChild.takePardon(versionId);
    this.#forgetUnlessAsked(versionId);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#watchdog.stop();
    if (this.#restartTimer) clearTimeout(this.#restartTimer);
    for (const job of this.#schedule.takeAll()) {
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
    this.#schedule.add(job);
    this.#sendNext();
  }

  /** Sends jobs that wait, as far as the child should have them at hand. */
  #sendNext(): void {
    for (let job = this.#schedule.next(); job !== undefined; job = this.#schedule.next()) this.#send(job);
  }

  #send(job: Job): void {
    if (job.kind === 'batch' && !this.#inChild.has(job.versionId)) {
      if (this.#pauses.isPaused(job.versionId)) return failBatch(job, 'overloaded', NOT_LOADED);
      // A new child gets a version with its first batch: loading hundreds at once would delay all calls.
      if (job.version !== undefined) this.#send(newLoad(job.version, null, job.giveBack !== null));
    }
    if (job.version !== undefined) this.#inChild.use(versionOf(job));
    this.#schedule.send(job);
    if (job.kind === 'load') {
      this.#makeRoom();
      this.#child.allowResult(job.version.maxResult);
      this.#child.send({ kind: 'load', version: job.version });
    } else {
      const { id: batchId, versionId, giveBack } = job;
      const sliceMs = giveBack === null ? 0 : this.#slices.current(performance.now());
      job.sliceMs = sliceMs;
      const calls = this.#packer.pack(job.calls);
      this.#child.send({ kind: 'batch', batchId, versionId, sliceMs, calls });
    }
    if (this.#schedule.head !== job) return;
    this.#meter.begin(performance.now());
    this.#watchHead();
  }

  /** The version that was not used for longest leaves a full child. */
  #makeRoom(): void {
    if (this.#inChild.size <= this.#mostVersions) return;
    const versionId = this.#inChild.oldest((id) => !this.#schedule.isAsked(id));
    if (versionId === undefined) return;
    this.#inChild.delete(versionId);
    this.#child.send({ kind: 'dispose', versionId });
  }

  /** Watches the running job, if there is one. */
  #watchHead(): void {
    const { head } = this.#schedule;
    this.#watchdog.stop();
    if (head !== undefined && !this.#isStopped) this.#watchdog.begin(head, this.#child);
  }

  #overdue(isStalled: boolean): void {
    this.#isStalled = isStalled;
    this.#child.kill();
  }

  #receive(child: SandboxChild, report: Report): void {
    if (child !== this.#child || this.#isStopped) return;
    if (report.kind === 'ready') this.#failedStarts = 0;
    else if (!this.#take(report)) child.condemn();
  }

  /** @returns false: none of our children sends that */
  #take(report: Exclude<Report, { kind: 'ready' }>): boolean {
    const { head } = this.#schedule;
    if (head === undefined) return false;
    switch (report.kind) {
      case 'alive':
        return this.#watchdog.extend(head, this.#child, report.nextMs);
      case 'loaded':
        if (head.kind !== 'load' || head.version.id !== report.versionId) return false;
        this.#loaded(head, report.result, report.cpuUs / 1e3);
        return true;
      case 'answers':
      case 'cut':
      case 'starved':
      case 'unloaded': {
        if (head.kind !== 'batch' || head.id !== report.batchId) return false;
        const isCut = report.kind !== 'answers';
        if (isCut && head.giveBack === null) return false;
        const unpacked = checkedAnswers(report.answers, head.calls.length - (isCut ? 1 : 0));
        if (unpacked === null) return false;
        this.#ended(head, unpacked, report);
        return true;
      }
    }
  }

  #loaded(load: Load, result: LoadResult, reportedMs: number): void {
    this.#schedule.shift();
    const { id } = load.version;
    if (!this.#inChild.takePardon(id)) this.#used(id, reportedMs, load.settle !== null, null);
    if (result.kind === 'loaded') {
      this.#pauses.forget(id);
      this.#inChild.noteFresh(id);
    }
    // a version that was loaded before may be loaded again later: the child may have lacked memory or time
    else if (load.settle === null) this.#inChild.delete(id);
    else this.#versions.delete(id);
    load.settle?.(result);
    this.#next();
  }

  #ended(
    batch: Batch,
    { answers, consoleText }: Answers,
    { kind, cpuUs, heapBytes }: Extract<Report, { cpuUs: number; answers: string }>,
  ): void {
    const { versionId, giveBack } = batch;
    this.#schedule.shift();
    // a new isolate compiles what its first calls need
    const isOwn = batch.starves === 0 && !this.#inChild.takeFresh(versionId);
    const cpuMs = this.#used(versionId, cpuUs / 1e3, isOwn, heapBytes);
    this.#schedule.learn(versionId, answers.length, cpuMs);
    const cost = { cpuMs, heapBytes };
    if (kind === 'starved' && this.#slices.extend(batch.sliceMs, performance.now())) {
      batch.starves++;
      if (answers.length === 0) this.#add(batch);
      else batch.done(answers, consoleText, cost);
    } else if (kind === 'unloaded' && ++batch.misses < SUPERVISOR.maxMisses) {
      this.#inChild.delete(versionId);
      this.#add(batch);
    } else if (kind === 'unloaded') this.#giveBackUnloaded(batch, giveBack!, cost);
    else if (kind !== 'answers') giveBack!(answers, consoleText, cost, 'slice');
    else if (answers.length > 0) batch.done(answers, consoleText, cost);
    else if (giveBack !== null) this.#giveBackUnloaded(batch, giveBack, cost);
    else if (batch.calls.length === 1) this.#missed(batch);
    else batch.done([], consoleText, cost);
    // one that was disposed of, and has been waited for
    if (!this.#versions.has(versionId)) this.#forgetUnlessAsked(versionId);
    this.#next();
  }

  #next(): void {
    this.#watchHead();
    this.#sendNext();
    if (!this.isBusy) this.#onIdle?.();
  }

  /** A job has ended. @returns the processor time that counts, in ms */
  #used(versionId: number, reportedMs: number, isOwn: boolean, heapBytes: number | null): number {
    const cpuMs = this.#meter.count(reportedMs, performance.now());
    this.#schedule.charge(versionId, cpuMs);
    this.#events.onUsed(versionId, cpuMs);
    this.#events.onRan(versionId, cpuMs, delayOf(cpuMs, isOwn), heapBytes);
    return cpuMs;
  }

  /** A shared child had no isolate for a batch, because its version could not be loaded there again. */
  #giveBackUnloaded({ versionId }: Batch, giveBack: GiveBack, cost: BatchCost): void {
    this.#inChild.delete(versionId);
    giveBack([], '', cost, 'load');
  }

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
    if (this.#schedule.isAsked(versionId)) return;
    this.#schedule.forget(versionId);
    if (this.#inChild.delete(versionId)) this.#child.send({ kind: 'dispose', versionId });
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
    const head = this.#schedule.shift();
    const isGuilty = head !== undefined && child.endedBy === null && !isStalled;
    this.#inChild.lose(isGuilty ? versionOf(head) : null);
    // the fate of the running job may change what becomes of the others
    this.#restart(head !== undefined && this.#runsAgain(head, child, isStalled) ? head : null);
  }

  /** Decides about the job that was running when its child ended. @returns whether it is run again, before all others */
  #runsAgain(head: Job, { endedBy, wasKilled }: SandboxChild, isStalled: boolean): boolean {
    const fate = fateOf(head, { isAccident: endedBy !== null, isStalled, wasKilled });
    // A child that is gone reports nothing. Unless it was starved, its job had a processor until the end.
    const ranMs = isStalled ? 0 : this.#watchdog.ranMs;
    const cost = isStalled
      ? NO_COST
      : { cpuMs: this.#used(versionOf(head), ranMs, true, null), heapBytes: 0 };
    if (fate === 'again') return true;
    if (head.kind === 'load') this.#refuseLoad(head, fate === 'starved');
    else if (fate === 'elsewhere') head.giveBack?.([], '', cost, 'ended');
    else if (fate === 'split') head.done([], '', cost);
    else if (fate === 'starved') failBatch(head, 'starved', NO_PROCESSOR);
    else if (fate === 'lost') failBatch(head, 'lost', 'its process was ended from outside again and again');
    else {
      this.#events.onKilled(head.versionId);
      failBatch(head, 'killed', 'did not come back at its deadline, or ended its process', cost);
    }
    return false;
  }

  #refuseLoad({ version, settle, isSliced }: Load, isStarved: boolean): void {
    const { id } = version;
    if (settle === null && isSliced) return this.#giveBackAll(id);
    this.#versions.delete(id);
    if (isStarved) return settle?.(refused('passing', NO_PROCESSOR));
    for (const job of this.#schedule.jobs)
      if (job.kind === 'batch' && job.versionId === id) job.version = undefined;
    if (settle !== null)
      return settle(refused('offence', 'did not come back from loading, or ended its process'));
    this.#events.onKilled(id);
  }

  /** A version can't be loaded in a shared child any more. */
  #giveBackAll(versionId: number): void {
    const own: Batch[] = [];
    for (const job of this.#schedule.takeAll())
      if (job.kind === 'batch' && job.versionId === versionId) own.push(job);
      else this.#schedule.add(job);
    for (const batch of own) batch.giveBack?.([], '', NO_COST, 'ended');
  }

  /** A child ended before it was ready. Unless that was an accident, another one started at once would end as well. */
  #neverStarted(child: SandboxChild): void {
    if (child.endedBy !== null && this.#failedStarts < SUPERVISOR.maxAccidents) {
      this.#failedStarts++;
      return this.#restart(null);
    }
    // Calls wait for the next child: their senders know for how long. Versions wait too, for a few children.
    for (const job of this.#schedule.takeAll())
      if (job.kind === 'batch' || this.#waitsOn(job, child)) this.#schedule.add(job);
    this.#events.onStartFailed(child.complaint);
    if (this.#isStopped) return;
    const pauseMs = Math.min(SUPERVISOR.restartMs * 2 ** this.#failedStarts++, SUPERVISOR.longestRestartMs);
    this.#restartTimer = setTimeout(() => this.#restart(null), pauseMs).unref();
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

  /** @param first is run before all others; null: the others come in their order */
  #restart(first: Job | null): void {
    if (this.#isStopped) return;
    const rest = this.#schedule.takeAll();
    this.#inChild.lose(null);
    this.#child = this.#start();
    if (first !== null) this.#send(first);
    for (const job of rest) this.#schedule.add(job);
    this.#sendNext();
  }
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] || 'no reason given';
}
