import { dirname } from 'node:path';
import { Breaker } from './breaker.ts';
import type { SourceFiles } from './bundle-job.ts';
import { checked, failureOf, GO, refusalOf, type Decision, type FailurePolicy } from './decision.ts';
import { where } from './failure.ts';
import type { CallFailure, FailureOutcome, HostAnswer, HostCall, Part, SandboxHost } from './host.ts';
import { Loader, type LoadTools, type Version } from './loading.ts';
import { SetRecord, type FunctionLog } from './record.ts';

export type { Decision, FunctionLog };

/** What a set needs to know of the configuration; replaced as a whole on RELOAD. */
export interface SetSettings {
  readonly timeoutMs: number;
  readonly memoryLimitMb: number;
  readonly maxQueryBytes: number;
  readonly maxResult: number;
  readonly onRoutingFailure: FailurePolicy;
  readonly onRewriteFailure: FailurePolicy;
  readonly databases: readonly string[];
}

export type FunctionCall = HostCall;

/** What crosses at once: more would need more memory than an isolate has, and keep others waiting for longer. */
const MAX_BATCH_CALLS = 64;
const MAX_BATCH_LENGTH = 1_000_000;

interface Pending {
  readonly call: FunctionCall;
  readonly done: (decision: Decision) => void;
}

/** A call that waits for the first version is answered with an error after this long. */
const LONGEST_WAIT_MS = 30_000;
/** cannot_connect_now: the rules that a query has to be shown to are not loaded yet */
const NOT_LOADED: Decision = {
  kind: 'reject',
  message: 'the user functions of this database are not loaded yet',
  code: '57P03',
  hint: 'The log of the proxy says why. Try again later.',
  detail: null,
};

/** The user functions that apply to one or more databases: one bundle, one isolate, one record. */
export class FunctionSet {
  /** whose functions these are: the folder that they come from */
  readonly tenant: string;
  readonly files: SourceFiles;
  readonly record: SetRecord;
  readonly #isDbkey: (name: string) => boolean;
  readonly #onFault: (set: FunctionSet) => void;
  readonly loader: Loader;
  readonly #breaker = new Breaker();
  #pending: Pending[] = [];
  /** batches that were sent and are not answered */
  #inFlight = 0;
  /** a flush is due, or something is in flight */
  #isBusy = false;
  /** The first attempt to load it has not ended yet: calls wait for that. */
  #isNew = true;
  readonly #longestWaitMs: number;
  #waitTimer: NodeJS.Timeout | null = null;
  /** files that it is made of have been gone for too long: each call is a failure, and this is why */
  #missing: string | null = null;

  constructor(options: {
    files: SourceFiles;
    settings: SetSettings;
    host: SandboxHost;
    log: FunctionLog;
    isDbkey: (name: string) => boolean;
    /** It has hung or eaten memory again and again. */
    onFault: (set: FunctionSet) => void;
    tools: LoadTools;
    /** how long calls wait for the first version, in ms */
    longestWaitMs?: number;
  }) {
    this.files = options.files;
    this.tenant = dirname((options.files.routing ?? options.files.rewrite)!);
    this.#isDbkey = options.isDbkey;
    this.#onFault = options.onFault;
    this.#longestWaitMs = options.longestWaitMs ?? LONGEST_WAIT_MS;
    const { routing, rewrite } = options.files;
    const names = [...new Set([routing, rewrite])].filter((file) => file !== null);
    this.record = new SetRecord(this.tenant, names.join(', '), options.log);
    this.loader = new Loader({
      files: options.files,
      tenant: this.tenant,
      settings: options.settings,
      host: options.host,
      record: this.record,
      tools: options.tools,
      onVersion: (isNew) => {
        if (isNew) this.#breaker.reset();
      },
      onSettled: () => this.#open(),
      isInUse: () => this.record.counters.calls > 0 || this.#pending.length > 0,
    });
  }

  get #version(): Version | null {
    return this.loader.version;
  }

  get #settings(): SetSettings {
    return this.loader.settings;
  }

  get maxQueryBytes(): number {
    return this.#settings.maxQueryBytes;
  }

  /** By function the file that it comes from; '' for one that there is none of. One file may hold both. */
  get origins(): { readonly routing: string; readonly rewrite: string } {
    const { routing, rewrite } = this.files;
    const { routes, rewrites } = this.#kinds();
    return {
      routing: routing ?? (routes ? rewrite : null) ?? '',
      rewrite: rewrite ?? (rewrites ? routing : null) ?? '',
    };
  }

  /** Hash of the code that serves; '' while there is none. */
  get versionHash(): string {
    return this.#version?.bundle.hash ?? '';
  }

  get loadedAt(): Date | null {
    return this.#version?.loadedAt ?? null;
  }

  get state(): 'serving' | 'loading' | 'no version' | 'suspended' | 'missing' {
    if (this.#missing !== null) return 'missing';
    if (this.#breaker.isOpen) return 'suspended';
    if (this.#version !== null) return 'serving';
    return this.#isNew ? 'loading' : 'no version';
  }

  get versionId(): number | null {
    return this.#version?.id ?? null;
  }

  /**
   * Asks the functions about a query. The calls of one turn of the event loop cross into the isolate together, and what
   * comes while the isolate is busy with them crosses together when it is done: a host works on one batch at a time
   * anyway, and fewer and larger ones cost less.
   * @param done is called once, never before `evaluate` has returned
   */
  evaluate(call: FunctionCall, done: (decision: Decision) => void): void {
    this.#pending.push({ call, done });
    if (!this.#isBusy) this.#schedule();
  }

  #schedule(): void {
    this.#isBusy = true;
    // behind the reads of all sockets that are ready in this turn
    setImmediate(this.#flush);
  }

  /** The decision for a query that is too large to be evaluated (user_function_max_query). */
  tooLarge(sizeBytes: number): Decision {
    this.record.counters.calls++;
    const failure: CallFailure = {
      outcome: 'too_large',
      message: `query of ${sizeBytes} bytes is over user_function_max_query (${this.#settings.maxQueryBytes})`,
      stack: '',
    };
    return this.#decide(
      { username: '', query: '', inTransaction: false, database: '' },
      { rewrite: { failure }, route: { failure } },
    );
  }

  /** A move that it wanted was not made: a transaction or pipeline was open. @returns whether that is worth a line */
  noteRefusedMove(): boolean {
    return this.record.moveRefused();
  }

  /** Builds what its files hold now, and serves that when it is new and sound (loading.ts). */
  reload(isAsked = false): Promise<void> {
    return this.loader.reload(isAsked);
  }

  /** Takes over changed settings; a version that was loaded with others is loaded again. */
  configure(settings: SetSettings, host: SandboxHost): Promise<void> {
    return this.loader.configure(settings, host);
  }

  /** Moves the set to another host. Its record goes with it: whoever is suspended stays so. */
  moveTo(host: SandboxHost): Promise<void> {
    return this.loader.moveTo(host);
  }

  /** Calls no longer wait: there is a version now, or a complaint. */
  #open(): void {
    if (!this.#isNew) return;
    this.#isNew = false;
    if (this.#waitTimer) clearTimeout(this.#waitTimer);
    if (this.#isBusy) this.#schedule();
  }

  /** @param message why its calls fail, although a version is loaded; null: they don't */
  setMissing(message: string | null): void {
    this.#missing = message;
  }

  /** The set applies to nothing any more. What it was asked before that is answered. */
  dispose(): void {
    if (this.#isNew) this.#giveUp();
    this.#isNew = false;
    if (this.#waitTimer) clearTimeout(this.#waitTimer);
    this.#sendAll(this.#takePending());
    this.loader.dispose();
  }

  /** What waits for a first version does not wait for ever, and goes nowhere unjudged. */
  readonly #giveUp = (): void => {
    this.#waitTimer = null;
    if (!this.#isNew) return;
    const batch = this.#takePending();
    this.#isBusy = false;
    for (const { done } of batch) done(NOT_LOADED);
  };

  readonly #flush = (): void => {
    if (this.#isNew) {
      this.#waitTimer ??= setTimeout(this.#giveUp, this.#longestWaitMs).unref();
      return;
    }
    this.#inFlight++;
    this.#sendAll(this.#takePending());
    this.#answered();
  };

  #takePending(): Pending[] {
    const batch = this.#pending;
    this.#pending = [];
    this.record.counters.calls += batch.length;
    return batch;
  }

  /** What is in flight has become one batch less. */
  #answered(): void {
    if (--this.#inFlight > 0) return;
    if (this.#pending.length > 0) this.#schedule();
    else this.#isBusy = false;
  }

  #sendAll(batch: readonly Pending[]): void {
    const version = this.#version;
    if (this.#missing !== null) return this.#failAll(batch, 'no_version', this.#missing);
    if (version === null) return this.#failAll(batch, 'no_version', 'no valid version is loaded');
    if (this.#breaker.isOpen) {
      const isTrial = this.#breaker.allows(performance.now());
      this.#failAll(batch.slice(isTrial ? 1 : 0), 'overloaded', 'suspended after repeated faults');
      if (isTrial) this.#send(version, batch.slice(0, 1));
      return;
    }
    for (let from = 0, to = 0; to < batch.length; from = to) {
      let size = 0;
      while (to < batch.length && to - from < MAX_BATCH_CALLS && (to === from || size < MAX_BATCH_LENGTH))
        size += batch[to++]!.call.query.length;
      this.#send(version, from === 0 && to === batch.length ? batch : batch.slice(from, to));
    }
  }

  #send(version: Version, batch: readonly Pending[]): void {
    this.#inFlight++;
    version.host.evaluate(
      version.id,
      batch.map((each) => each.call),
      (answers, consoleText) => {
        if (consoleText !== '') this.record.printed(consoleText);
        for (let i = 0; i < batch.length; i++) {
          const { call, done } = batch[i]!;
          const { rewrite, route } = answers[i]!;
          const failed = failureOf(rewrite) ?? failureOf(route);
          const opened = failed !== null && this.#breaker.fault(failed.outcome, performance.now());
          if (opened && failed.outcome !== 'killed') this.#onFault(this);
          if (failed === null) this.#breaker.answered();
          done(this.#decide(call, { rewrite, route }, opened));
        }
        this.#answered();
      },
    );
  }

  #failAll(batch: readonly Pending[], outcome: FailureOutcome, message: string): void {
    const failure = { failure: { outcome, message, stack: '' } };
    for (const { call, done } of batch) done(this.#decide(call, { rewrite: failure, route: failure }));
  }

  /** Applies the policies to an answer. */
  #decide(call: FunctionCall, answer: HostAnswer, opened = false): Decision {
    if (answer.rewrite === null && answer.route === null) return GO;
    const { rewrite, route } = checked(call, answer, this.#isDbkey);
    const { rewrites, routes } = this.#kinds();
    // A call that was cut off failed once, whichever function it was in.
    const failure = failureOf(rewrite) ?? failureOf(route);
    if (failure !== null) this.record.failed(call.query, failure, this.#place(failure), opened);
    return (
      (rewrites && this.#refusal(call, rewrite, this.#settings.onRewriteFailure)) ||
      (routes && this.#refusal(call, route, this.#settings.onRoutingFailure)) ||
      this.#go(call, rewrite, route)
    );
  }

  #go(call: FunctionCall, rewrite: Part, route: Part): Decision {
    const query = rewrite !== null && 'text' in rewrite && rewrite.text !== call.query ? rewrite.text : null;
    const dbkey = route !== null && 'text' in route ? route.text : null;
    if (query !== null) this.record.counters.rewritten++;
    if (dbkey !== null) this.record.counters.routed++;
    return query === null && dbkey === null ? GO : { kind: 'go', query, dbkey };
  }

  #refusal(call: FunctionCall, part: Part, policy: FailurePolicy): Decision | null {
    const refusal = refusalOf(call.query, part, policy);
    if (part !== null && 'rejection' in part) this.record.counters.rejected++;
    return refusal;
  }

  /** Which functions there are. Before anything could be loaded: whatever the files may have been meant to hold. */
  #kinds(): { rewrites: boolean; routes: boolean } {
    const result = this.#version?.result;
    if (result === undefined) {
      const both = this.files.routing === this.files.rewrite;
      return { rewrites: both || this.files.rewrite !== null, routes: both || this.files.routing !== null };
    }
    return { rewrites: result.includes('rewrites'), routes: result.includes('routes') };
  }

  #place(failure: CallFailure): string {
    return this.#version === null ? '' : where(this.#version.positions, failure);
  }
}
