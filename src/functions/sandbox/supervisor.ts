import { HostChild } from './child.ts';
import type { Report } from './protocol.ts';
import {
  cutOff,
  NO_PROCESS,
  NO_PROCESSOR,
  STOPPING,
  type HostAnswer,
  type HostCall,
  type SandboxHost,
  type VersionCode,
} from './host.ts';
import { refused, type LoadResult } from './load-result.ts';
import { CallPacker } from './packing.ts';
import { Shares, type Excess } from './shares.ts';
import { checkedAnswers } from './untrusted.ts';
import { ENGINE, MESSAGE, SUPERVISOR } from '../limits.ts';

type Done = (answers: readonly HostAnswer[], consoleText: string) => void;

interface Batch {
  readonly kind: 'batch';
  readonly id: number;
  readonly versionId: number;
  /**
   * as it was when the batch came: what was given to a version is answered also after that was disposed of; undefined: it
   * can't be loaded
   */
  version: VersionCode | undefined;
  readonly calls: readonly HostCall[];
  readonly done: Done;
  /** how many children were ended from outside while it ran, or had no processor for it */
  accidents: number;
  /** how many children ended by themselves while it ran, alone */
  deaths: number;
  /** how often its isolate was not there and could not be built */
  misses: number;
}

interface Load {
  readonly kind: 'load';
  readonly version: VersionCode;
  /** null: it was loaded before, in a child that is gone */
  readonly settle: ((result: LoadResult) => void) | null;
  /** how many children did not come up for it */
  starts: number;
  accidents: number;
  deaths: number;
}

/** What a child works on: one after the other, in the order in which they were sent. */
type Job = Batch | Load;

const NOT_LOADED = 'its version could not be loaded again';

export interface ProcessHostEvents {
  /** A version's call had to be ended with its process. */
  onKilled(versionId: number): void;
  /** A version takes more of a shared child than its part: its neighbours would be better off without it. */
  onExcess(versionId: number, excess: Excess): void;
  /** Somebody else ended a child; another one takes over. */
  onAccident(signal: NodeJS.Signals): void;
  /** A child was ended because it had no processor, if it was not stopped; another one takes over. */
  onStalled(): void;
  /** A child ended before it was ready; what it said on stderr. */
  onStartFailed(complaint: string): void;
}

/**
 * A child process that evaluates, and its supervisor. The child is killed when it doesn't come back at a deadline. The
 * call that was running then is a failure, if it ran alone; the jobs after it are run again in the next child. Whatever else
 * ends a child, nobody is blamed before it has ended another one, in which it was alone.
 */
export class ProcessHost implements SandboxHost {
  readonly isInline = false;
  readonly #spawnChild: () => HostChild;
  readonly #events: ProcessHostEvents;
  readonly #versions = new Map<number, VersionCode>();
  /** what the present child was sent */
  readonly #inChild = new Set<number>();
  /** versions that could not be loaded again and again, and until when they are not tried */
  readonly #paused = new Map<number, { readonly until: number; readonly ms: number }>();
  /** in the order in which they were sent; the first is the one that is running */
  #queue: Job[] = [];
  #child: HostChild;
  #nextBatch = 1;
  #stopped = false;
  #deadline: NodeJS.Timeout | null = null;
  #onIdle: (() => void) | null = null;
  #restartTimer: NodeJS.Timeout | null = null;
  #headSince = 0;
  /** what the child gives the call that is running, in ms; 0: what its version has */
  #nextMs = 0;
  #headCpu: number | null = null;
  /** the child was ended without having had the time that its job may take */
  #isStalled = false;
  #failedStarts = 0;
  /** when the job that is running began, and how often its child has said that it goes on */
  #headBegan = 0;
  #headSigns = 0;
  readonly #shares = new Shares();
  readonly #packer = new CallPacker();

  /** @param spawnChild gives a child, started or warm */
  constructor(spawnChild: () => HostChild, events: ProcessHostEvents) {
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
      if (this.#stopped) return resolve(refused('passing', STOPPING));
      this.#versions.set(version.id, version);
      this.#add({ kind: 'load', version, settle: resolve, starts: 0, accidents: 0, deaths: 0 });
    });
  }

  adopt(version: VersionCode): void {
    this.#versions.set(version.id, version);
  }

  evaluate(versionId: number, calls: readonly HostCall[], done: Done): void {
    const batch: Batch = {
      kind: 'batch',
      id: this.#nextBatch++,
      versionId,
      version: this.#versions.get(versionId),
      calls,
      done,
      accidents: 0,
      deaths: 0,
      misses: 0,
    };
    // where there is no child at the moment, it waits for the next one
    if (this.#stopped) process.nextTick(() => fail(batch, 'overloaded', STOPPING));
    else this.#add(batch);
  }

  dispose(versionId: number): void {
    this.#versions.delete(versionId);
    this.#paused.delete(versionId);
    this.#forgetUnlessAsked(versionId);
  }

  /** A version that was disposed of leaves the child when all that it was given has been answered. */
  readonly #cpuOfChild = (): number | null => this.#child.cpuMs();

  #forgetUnlessAsked(versionId: number): void {
    if (this.#queue.some((job) => job.kind === 'batch' && job.versionId === versionId)) return;
    this.#inChild.delete(versionId);
    this.#shares.forget(versionId);
    this.#child.send({ kind: 'dispose', versionId });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#deadline) clearTimeout(this.#deadline);
    if (this.#restartTimer) clearTimeout(this.#restartTimer);
    for (const job of this.#queue.splice(0)) {
      if (job.kind === 'batch') fail(job, 'overloaded', STOPPING);
      else job.settle?.(refused('passing', STOPPING));
    }
    await this.#child.close();
  }

  /** Ends it when what it was given is answered. Nothing more comes. */
  async retire(): Promise<void> {
    if (this.isBusy && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
        setTimeout(resolve, SUPERVISOR.retireMs).unref();
      });
    }
    await this.stop();
  }

  #add(job: Job): void {
    if (job.kind === 'load') {
      this.#inChild.add(job.version.id);
      this.#child.allowResult(job.version.maxResult);
    } else if (!this.#inChild.has(job.versionId)) {
      if (performance.now() < (this.#paused.get(job.versionId)?.until ?? 0))
        return fail(job, 'overloaded', NOT_LOADED);
      // A new child gets a version with its first batch: hundreds at once would keep everybody waiting.
      const { version } = job;
      if (version !== undefined)
        this.#add({ kind: 'load', version, settle: null, starts: 0, accidents: 0, deaths: 0 });
    }
    this.#queue.push(job);
    this.#send(job);
    if (this.#queue.length === 1) this.#beginHead();
  }

  #start(): HostChild {
    const child = this.#spawnChild();
    child.attach({
      onReport: (report) => this.#receive(child, report),
      onGone: () => this.#lost(child),
    });
    return child;
  }

  #send(job: Job): void {
    if (job.kind === 'load') return this.#child.send({ kind: 'load', version: job.version });
    const { id: batchId, versionId } = job;
    this.#child.send({ kind: 'batch', batchId, versionId, calls: this.#packer.pack(job.calls) });
  }

  #receive(child: HostChild, report: Report): void {
    if (child !== this.#child || this.#stopped) return;
    const head = this.#queue[0];
    switch (report.kind) {
      case 'ready':
        this.#failedStarts = 0;
        return;
      case 'alive':
        // a call is begun again, or its isolate built again, and has its own time
        if (++this.#headSigns > MESSAGE.maxSigns) return child.kill();
        return this.#watchHead(report.nextMs + SUPERVISOR.graceMs);
      case 'loaded':
        if (head?.kind !== 'load' || head.version.id !== report.versionId) return child.kill();
        this.#queue.shift();
        this.#settleLoad(head, report.result);
        return this.#beginHead();
      case 'answers':
        if (head?.kind !== 'batch' || head.id !== report.batchId) return child.kill();
        return this.#answered(child, head, report);
    }
  }

  #settleLoad(load: Load, result: LoadResult): void {
    if (result.kind === 'loaded') this.#paused.delete(load.version.id);
    else this.#notLoaded(load);
    load.settle?.(result);
  }

  #answered(child: HostChild, head: Batch, report: Extract<Report, { kind: 'answers' }>): void {
    const unpacked = checkedAnswers(report.answers, head.calls.length);
    if (unpacked === null) return child.kill();
    const { answers, consoleText } = unpacked;
    const { heapBytes } = report;
    const tookMs = performance.now() - this.#headBegan;
    this.#queue.shift();
    const missed = answers.length === 0 && head.calls.length === 1;
    // not where it has left meanwhile
    if (missed && ++head.misses < SUPERVISOR.maxMisses && this.#versions.has(head.versionId)) {
      this.#inChild.delete(head.versionId);
      this.#add(head);
    } else if (missed) {
      this.#pause(head.versionId);
      fail(head, 'overloaded', NOT_LOADED);
    } else head.done(answers, consoleText);
    const isServing = this.#versions.has(head.versionId);
    // it would count for ever, and its neighbours as well, although it is on its way out
    const excess = isServing
      ? this.#shares.note(
          head.versionId,
          tookMs,
          heapBytes,
          this.#inChild.size,
          performance.now(),
          this.#cpuOfChild,
        )
      : null;
    if (!isServing) this.#forgetUnlessAsked(head.versionId);
    this.#beginHead();
    if (excess !== null) this.#events.onExcess(excess.versionId, excess.excess);
  }

  /** A version that was loaded before may be loaded again later: the child may have had no memory or no time. */
  #notLoaded(load: Load): void {
    const { id } = load.version;
    if (load.settle === null) this.#inChild.delete(id);
    else this.#versions.delete(id);
    // it was sound when it was tried; now it has taken all the time that there is for it
    if (load.settle === null && performance.now() - this.#headBegan >= (load.version.loadMs ?? ENGINE.loadMs))
      this.#events.onExcess(id, 'time');
  }

  #pause(versionId: number): void {
    const last = this.#paused.get(versionId);
    const ms = last === undefined ? SUPERVISOR.pauseMs : Math.min(last.ms * 2, SUPERVISOR.longestPauseMs);
    this.#paused.set(versionId, { until: performance.now() + ms, ms });
  }

  #beginHead(): void {
    this.#headBegan = performance.now();
    this.#headSigns = 0;
    this.#watchHead();
  }

  /** One timer for each host: that of the job that is running. */
  #watchHead(nextMs = 0): void {
    this.#nextMs = nextMs;
    if (this.#deadline) clearTimeout(this.#deadline);
    this.#deadline = null;
    const head = this.#queue[0];
    if (head === undefined) this.#onIdle?.();
    if (head === undefined || this.#stopped) return;
    this.#headSince = performance.now();
    this.#headCpu = null;
    this.#deadline = setTimeout(() => this.#overdue(head), this.#limitMs(head));
  }

  /** Until the next sign of life: the child says when it has cut off one call of several. */
  #limitMs(job: Job): number {
    // whoever was starved has more; what the child says is not trusted
    return Math.min(Math.max(this.#plainLimitMs(job), this.#nextMs || 0), this.#hardLimitMs(job));
  }

  #plainLimitMs(job: Job): number {
    if (job.kind === 'load') return (job.version.loadMs ?? ENGINE.loadMs) + SUPERVISOR.loadGraceMs;
    return (job.version?.timeoutMs ?? 100) + SUPERVISOR.graceMs;
  }

  #hardLimitMs(job: Job): number {
    return this.#plainLimitMs(job) * SUPERVISOR.hardFactor;
  }

  /** Late by the clock. Has it been running, or waiting for a processor? */
  #overdue(head: Job): void {
    if (this.#queue[0] !== head) return;
    const limit = this.#limitMs(head);
    const cpu = this.#child.cpuMs();
    const waited = performance.now() - this.#headSince;
    const isStarting = !this.#child.isReady && waited < SUPERVISOR.startMs;
    const ran = cpu === null ? limit : this.#headCpu === null ? 0 : cpu - this.#headCpu;
    // The first look only takes the time: from then on what it uses counts.
    if (isStarting || (ran < limit * 0.5 && waited < this.#hardLimitMs(head))) {
      this.#headCpu ??= isStarting ? null : cpu;
      this.#deadline = setTimeout(() => this.#overdue(head), isStarting ? 20 : Math.max(10, limit / 4));
      return;
    }
    this.#isStalled = ran < limit * 0.5;
    this.#child.kill();
  }

  #lost(child: HostChild): void {
    if (child !== this.#child || this.#stopped) return;
    if (child.endedBy !== null) this.#events.onAccident(child.endedBy);
    const isStalled = this.#isStalled && child.isReady;
    this.#isStalled = false;
    if (isStalled) this.#events.onStalled();
    if (!child.isReady) return this.#neverCameUp(child);
    const head = this.#queue.shift();
    const again = head === undefined ? [] : this.#afterEnd(head, child, isStalled);
    this.#restart([...again, ...this.#queue]);
  }

  /** Another one at once would not come up either, unless it was an accident. */
  #neverCameUp(child: HostChild): void {
    const rest = this.#queue;
    if (child.endedBy !== null && this.#failedStarts < SUPERVISOR.maxAccidents) {
      this.#failedStarts++;
      return this.#restart(rest);
    }
    this.#queue = [];
    for (const job of rest) {
      // calls wait for the next child: whoever sent them knows how long they may
      if (job.kind === 'batch') this.#queue.push(job);
      else if (job.settle === null) this.#inChild.delete(job.version.id);
      else if (++job.starts < SUPERVISOR.maxLoadStarts) this.#queue.push(job);
      else {
        this.#versions.delete(job.version.id);
        job.settle(refused('passing', `${NO_PROCESS}: ${firstLine(child.complaint)}`));
      }
    }
    this.#events.onStartFailed(child.complaint);
    if (this.#stopped) return;
    const pauseMs = Math.min(SUPERVISOR.restartMs * 2 ** this.#failedStarts++, SUPERVISOR.longestRestartMs);
    this.#restartTimer = setTimeout(() => this.#restart(this.#queue), pauseMs).unref();
  }

  #restart(rest: readonly Job[]): void {
    if (this.#stopped) return;
    this.#queue = [];
    this.#inChild.clear();
    this.#shares.clear();
    this.#child = this.#start();
    for (const job of rest) this.#add(job);
  }

  /** The job that was running when its process ended. @returns what is to be run again, before all others */
  #afterEnd(head: Job, child: HostChild, isStalled: boolean): Job[] {
    if ((child.endedBy !== null || isStalled) && ++head.accidents <= SUPERVISOR.maxAccidents) return [head];
    if (isStalled) return this.#neverRan(head);
    // what was full, or broken, may have been so because of others: in the next child it comes first, and is alone
    const isAlone = head.kind === 'load' || head.calls.length === 1;
    if (isAlone && child.endedBy === null && !child.wasKilled && ++head.deaths === 1) return [head];
    if (head.kind === 'load') return this.#afterFatalLoad(head);
    // whichever call it was: they are sent again one by one
    if (head.calls.length > 1) head.done([], '');
    else if (child.endedBy !== null) fail(head, 'lost', 'its process was ended from outside again and again');
    else {
      this.#events.onKilled(head.versionId);
      fail(head, 'killed', 'did not come back at its deadline, or ended its process');
    }
    return [];
  }

  /** Nobody knows what it would have done. */
  #neverRan(head: Job): Job[] {
    if (head.kind === 'batch') fail(head, 'starved', NO_PROCESSOR);
    else {
      this.#versions.delete(head.version.id);
      head.settle?.(refused('passing', NO_PROCESSOR));
    }
    return [];
  }

  #afterFatalLoad(head: Load): Job[] {
    const { id } = head.version;
    this.#versions.delete(id);
    for (const job of this.#queue) if (job.kind === 'batch' && job.versionId === id) job.version = undefined;
    if (head.settle === null) this.#events.onKilled(id);
    else head.settle(refused('offence', 'did not come back from loading, or ended its process'));
    return [];
  }
}

function fail(batch: Batch, outcome: 'killed' | 'lost' | 'overloaded' | 'starved', message: string): void {
  batch.done(
    batch.calls.map(() => cutOff(outcome, message)),
    '',
  );
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] || 'no reason given';
}
