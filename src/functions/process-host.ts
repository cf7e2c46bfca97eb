import { HostChild } from './child.ts';
import type { HostMessage } from './host-messages.ts';
import {
  cutOff,
  type HostAnswer,
  type HostCall,
  type LoadResult,
  type SandboxHost,
  type VersionCode,
} from './host.ts';
import { packCalls, unpackAnswers } from './packing.ts';

type Done = (answers: readonly HostAnswer[], consoleText: string) => void;

interface Batch {
  readonly id: number;
  readonly versionId: number;
  readonly calls: readonly HostCall[];
  readonly done: Done;
}

/** The child interrupts JavaScript itself at the deadline; what comes later than this is stuck in a built-in. */
const GRACE_MS = 50;
/** However starved the machine is, nobody waits longer than this many deadlines. */
const HARD_FACTOR = 20;
/** Loading builds an isolate and runs a bundle's top level. */
const LOAD_TIMEOUT_MS = 5_000;
/** After a child that did not come up. */
const RESTART_MS = 1_000;
/** Batches may wait for a child to start. */
const START_TIMEOUT_MS = 10_000;

export interface ProcessHostEvents {
  /** A version's call had to be ended with its process. */
  onKilled(versionId: number): void;
  /** A child ended before it was ready; what it said on stderr. */
  onStartFailed(complaint: string): void;
}

/**
 * A child process that evaluates, and its supervisor. The child is killed when it doesn't come back at a deadline or
 * dies by itself: the call that was running is a failure, those behind it are run again in the next child.
 */
export class ProcessHost implements SandboxHost {
  readonly #spawnChild: () => HostChild;
  readonly #events: ProcessHostEvents;
  readonly #versions = new Map<number, VersionCode>();
  readonly #loading = new Map<number, (result: LoadResult) => void>();
  /** what the present child was sent, and whether it has said that it is there */
  readonly #inChild = new Map<number, boolean>();
  /** in the order in which they were sent; the first is the one that is running */
  readonly #queue: Batch[] = [];
  #child: HostChild;
  #nextBatch = 1;
  #stopped = false;
  #deadline: NodeJS.Timeout | null = null;
  #headSince = 0;
  #headCpu: number | null = null;

  /** @param spawnChild gives a child, started or warm */
  constructor(spawnChild: () => HostChild, events: ProcessHostEvents) {
    this.#spawnChild = spawnChild;
    this.#events = events;
    this.#child = this.#start();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  load(version: VersionCode): Promise<LoadResult> {
    this.#versions.set(version.id, version);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#loading.delete(version.id);
        this.#versions.delete(version.id);
        this.#child.kill();
        resolve(`loading took longer than ${LOAD_TIMEOUT_MS} ms`);
      }, LOAD_TIMEOUT_MS + START_TIMEOUT_MS);
      this.#loading.set(version.id, (result) => {
        clearTimeout(timer);
        if (!result.startsWith('ok')) this.#versions.delete(version.id);
        resolve(result);
      });
      this.#sendVersion(version);
    });
  }

  evaluate(versionId: number, calls: readonly HostCall[], done: Done): void {
    const batch = { id: this.#nextBatch++, versionId, calls, done };
    if (this.#child.isGone) {
      process.nextTick(() => fail(batch, 'overloaded', 'no sandbox process can be started'));
      return;
    }
    this.#queue.push(batch);
    this.#send(batch);
    if (this.#queue.length === 1) this.#watchHead();
  }

  dispose(versionId: number): void {
    this.#versions.delete(versionId);
    this.#inChild.delete(versionId);
    this.#child.send({ kind: 'dispose', id: versionId, text: '' });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#deadline) clearTimeout(this.#deadline);
    for (const batch of this.#queue.splice(0)) fail(batch, 'overloaded', 'the sandbox is stopping');
    await this.#child.close();
  }

  #start(): HostChild {
    const child = this.#spawnChild();
    child.attach({
      onMessage: (message) => this.#receive(child, message),
      onGone: () => this.#lost(child),
    });
    return child;
  }

  #sendVersion(version: VersionCode): void {
    this.#inChild.set(version.id, false);
    this.#child.send({ kind: 'load', id: version.id, text: JSON.stringify(version) });
  }

  /** A new child gets a version with its first batch: hundreds at once would keep everybody waiting. */
  #send(batch: Batch): void {
    const version = this.#versions.get(batch.versionId);
    if (version !== undefined && !this.#inChild.has(version.id)) this.#sendVersion(version);
    this.#child.send({ kind: 'batch', id: batch.id, text: `${batch.versionId}\0${packCalls(batch.calls)}` });
  }

  #receive(child: HostChild, message: HostMessage): void {
    if (child !== this.#child) return;
    if (message.kind === 'loaded') {
      if (this.#inChild.has(message.id)) this.#inChild.set(message.id, true);
      const settle = this.#loading.get(message.id);
      this.#loading.delete(message.id);
      settle?.(message.text);
      // the time that loading took is not the call's
      if (this.#queue[0]?.versionId === message.id) this.#watchHead();
    } else if (message.kind === 'answers') {
      const batch = this.#queue[0];
      if (batch === undefined || batch.id !== message.id) return child.kill();
      this.#queue.shift();
      const { answers, consoleText } = unpackAnswers(message.text);
      if (answers.length !== batch.calls.length)
        fail(batch, 'bad_result', 'the sandbox gave a wrong number of answers');
      else batch.done(answers, consoleText);
      this.#watchHead();
    }
  }

  /** One timer for each host: that of the batch that is running. */
  #watchHead(): void {
    if (this.#deadline) clearTimeout(this.#deadline);
    this.#deadline = null;
    const head = this.#queue[0];
    if (head === undefined) return;
    this.#headSince = performance.now();
    this.#headCpu = null;
    this.#deadline = setTimeout(() => this.#overdue(head), this.#limitMs(head));
  }

  #limitMs(batch: Batch): number {
    const timeoutMs = this.#versions.get(batch.versionId)?.timeoutMs ?? 100;
    // each call of a batch has its own deadline, which the child keeps
    return timeoutMs * batch.calls.length + GRACE_MS;
  }

  /** Late by the clock. Has it been running, or waiting for a processor? */
  #overdue(head: Batch): void {
    if (this.#queue[0] !== head) return;
    const limit = this.#limitMs(head);
    const cpu = this.#child.cpuMs();
    const waited = performance.now() - this.#headSince;
    // Somebody's version is being loaded in front of it, or its own.
    const isLoading =
      (this.#loading.size > 0 || this.#inChild.get(head.versionId) === false) && waited < LOAD_TIMEOUT_MS;
    const isStarting = isLoading || (!this.#child.isReady && waited < START_TIMEOUT_MS);
    const ran = cpu === null ? limit : this.#headCpu === null ? 0 : cpu - this.#headCpu;
    // The first look only takes the time: from then on what it uses counts.
    if (isStarting || (ran < limit * 0.5 && waited < limit * HARD_FACTOR)) {
      this.#headCpu ??= isStarting ? null : cpu;
      this.#deadline = setTimeout(() => this.#overdue(head), isStarting ? 20 : Math.max(10, limit / 4));
      return;
    }
    this.#child.kill();
  }

  #lost(child: HostChild): void {
    if (child !== this.#child || this.#stopped) return;
    for (const [id, settle] of [...this.#loading]) {
      this.#loading.delete(id);
      settle(`the sandbox process ended: ${child.complaint.trim().split('\n')[0] || 'killed'}`);
    }
    const rest = this.#queue.splice(0);
    if (!child.isReady) {
      // It never came up: another one at once would not either.
      for (const batch of rest) fail(batch, 'overloaded', 'no sandbox process can be started');
      this.#events.onStartFailed(child.complaint);
      setTimeout(() => this.#restart(), RESTART_MS).unref();
      return;
    }
    const head = rest.shift();
    this.#restart();
    if (head !== undefined) this.#afterKill(head);
    for (const batch of rest) {
      this.#queue.push(batch);
      this.#send(batch);
    }
    this.#watchHead();
  }

  #restart(): void {
    if (this.#stopped) return;
    this.#inChild.clear();
    this.#child = this.#start();
  }

  /** One call: it is to blame. Several: they are run again one by one, and whichever it was will show itself. */
  #afterKill(head: Batch): void {
    if (head.calls.length === 1) {
      this.#events.onKilled(head.versionId);
      fail(head, 'killed', 'did not come back at its deadline, or ended its process');
      return;
    }
    const answers: HostAnswer[] = [];
    let text = '';
    for (const call of head.calls) {
      const single: Batch = {
        id: this.#nextBatch++,
        versionId: head.versionId,
        calls: [call],
        done: ([answer], consoleText) => {
          answers.push(answer!);
          text += consoleText;
          if (answers.length === head.calls.length) head.done(answers, text);
        },
      };
      this.#queue.push(single);
      this.#send(single);
    }
  }
}

function fail(batch: Batch, outcome: 'killed' | 'overloaded' | 'bad_result', message: string): void {
  batch.done(
    batch.calls.map(() => cutOff(outcome, message)),
    '',
  );
}
