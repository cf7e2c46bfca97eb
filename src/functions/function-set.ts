import { dirname } from 'node:path';
import { Breaker } from './breaker.ts';
import { asyncPlaces, bundle, BundleError, type Bundle, type SourceFiles } from './bundle.ts';
import { checked, failureOf, GO, refusalOf, type Decision, type FailurePolicy } from './decision.ts';
import { fingerprint, positionsOf, printable, where, type Positions } from './failure.ts';
import type {
  CallFailure,
  FailureOutcome,
  HostAnswer,
  HostCall,
  LoadResult,
  Part,
  SandboxHost,
} from './host.ts';
import { tryVersion } from './trial.ts';

export type { Decision };

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

/** The part of a pino logger that is used here. */
export interface FunctionLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export type FunctionCall = HostCall;

interface Version {
  readonly id: number;
  readonly bundle: Bundle;
  readonly positions: Positions;
  readonly host: SandboxHost;
  /** what loading it gave */
  readonly result: LoadResult;
  readonly loadedAt: Date;
}

/** What crosses at once: more would need more memory than an isolate has, and keep others waiting for longer. */
const MAX_BATCH_CALLS = 64;
const MAX_BATCH_LENGTH = 1_000_000;

interface Pending {
  readonly call: FunctionCall;
  readonly done: (decision: Decision) => void;
}

/** Counters of a set, for the console. */
export interface SetCounters {
  calls: number;
  routed: number;
  rewritten: number;
  rejected: number;
  /** moves that were asked for inside a transaction or pipeline */
  refusedMoves: number;
  readonly failures: Partial<Record<FailureOutcome, number>>;
}

let nextVersionId = 1;

/** The user functions that apply to one or more databases: one bundle, one isolate, one record. */
export class FunctionSet {
  /** whose functions these are: the folder that they come from */
  readonly tenant: string;
  readonly files: SourceFiles;
  readonly counters: SetCounters = {
    calls: 0,
    routed: 0,
    rewritten: 0,
    rejected: 0,
    refusedMoves: 0,
    failures: {},
  };
  lastError = '';
  /** what the files hold now could not be loaded */
  #isRefused = false;
  readonly #log: FunctionLog;
  readonly #isDbkey: (name: string) => boolean;
  readonly #onFault: (set: FunctionSet) => void;
  readonly #tryOn: () => SandboxHost | null;
  #settings: SetSettings;
  #host: SandboxHost;
  #version: Version | null = null;
  readonly #breaker = new Breaker();
  #pending: Pending[] = [];
  /** batches that were sent and are not answered */
  #inFlight = 0;
  /** a flush is due, or something is in flight */
  #isBusy = false;
  #build = 0;
  /** The first attempt to load it has not ended yet: calls wait for that. */
  #isNew = true;
  #inputs: readonly string[];
  #quietUntil = 0;
  #suppressed = 0;

  constructor(options: {
    files: SourceFiles;
    settings: SetSettings;
    host: SandboxHost;
    log: FunctionLog;
    isDbkey: (name: string) => boolean;
    /** It has hung or eaten memory again and again. */
    onFault: (set: FunctionSet) => void;
    /** Where a new version is tried first, so that its loading costs nobody time; null: where it will run. */
    tryOn: () => SandboxHost | null;
  }) {
    this.files = options.files;
    this.tenant = dirname((options.files.routing ?? options.files.rewrite)!);
    this.#settings = options.settings;
    this.#host = options.host;
    this.#log = options.log;
    this.#isDbkey = options.isDbkey;
    this.#onFault = options.onFault;
    this.#tryOn = options.tryOn;
    this.#inputs = this.#entries();
  }

  get maxQueryBytes(): number {
    return this.#settings.maxQueryBytes;
  }

  /** Files that the set is made of, as far as they are known. */
  get inputs(): readonly string[] {
    return this.#inputs;
  }

  /** Hash of the code that serves; '' while there is none. */
  get versionHash(): string {
    return this.#version?.bundle.hash ?? '';
  }

  get loadedAt(): Date | null {
    return this.#version?.loadedAt ?? null;
  }

  get state(): 'serving' | 'no version' | 'suspended' {
    if (this.#breaker.isOpen) return 'suspended';
    return this.#version === null ? 'no version' : 'serving';
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
    this.counters.calls++;
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

  /** A move that it wanted was not made: a transaction or pipeline was open. */
  noteRefusedMove(): void {
    this.counters.refusedMoves++;
  }

  /** Takes over changed settings; a version that was loaded with others is loaded again. */
  configure(settings: SetSettings, host: SandboxHost): Promise<void> {
    const changed = JSON.stringify(settings) !== JSON.stringify(this.#settings) || host !== this.#host;
    this.#settings = settings;
    this.#host = host;
    return changed && this.#version !== null
      ? this.#load(this.#version.bundle, ++this.#build, false)
      : Promise.resolve();
  }

  /** Moves the set to another host. Its record goes with it: whoever is suspended stays so. */
  async moveTo(host: SandboxHost): Promise<void> {
    this.#host = host;
    if (this.#version !== null) await this.#load(this.#version.bundle, ++this.#build, false);
    // a newer version that was on its way has been overtaken by this
    await this.reload();
  }

  /**
   * Bundles the files and, when they have changed, loads them. The version that serves goes on until the new one has
   * answered a trial call; a broken one is only logged.
   */
  async reload(): Promise<void> {
    const build = ++this.#build;
    await this.#bundleAndLoad(build);
    if (build === this.#build) this.#open();
  }

  /** Calls no longer wait: there is a version now, or a complaint. */
  #open(): void {
    if (!this.#isNew) return;
    this.#isNew = false;
    if (this.#isBusy) this.#schedule();
  }

  async #bundleAndLoad(build: number): Promise<void> {
    let made: Bundle;
    try {
      made = await bundle(this.files);
    } catch (error) {
      if (build !== this.#build) return;
      if (error instanceof BundleError) this.#inputs = [...new Set([...this.#inputs, ...error.inputs])];
      this.#refused((error as Error).message);
      return;
    }
    if (build !== this.#build) return;
    // the entries also by the path that they are known by, which may lead over symbolic links
    this.#inputs = [...new Set([...this.#entries(), ...made.inputs])];
    if (this.#version?.bundle.hash === made.hash) return this.#restored();
    await this.#load(made, build, true);
  }

  /** The set applies to nothing any more. What it was asked before that is answered. */
  dispose(): void {
    this.#build++;
    this.#isNew = false;
    this.#sendAll(this.#takePending());
    if (this.#version) this.#version.host.dispose(this.#version.id);
    this.#version = null;
  }

  async #load(made: Bundle, build: number, isNew: boolean): Promise<void> {
    const id = nextVersionId++;
    const host = this.#host;
    const { timeoutMs, memoryLimitMb, maxResult, databases } = this.#settings;
    const code = { id, code: made.code, databases, memoryLimitMb, maxResult, timeoutMs };
    const positions = positionsOf(made.map, this.#entry());
    const elsewhere = isNew ? this.#tryOn() : null;
    let tried = elsewhere === null ? null : await tryVersion(elsewhere, code);
    if (tried?.failure === null) elsewhere?.dispose(id);
    if (build !== this.#build) return;
    if (tried === null || tried.failure === null) tried = await tryVersion(host, code);
    const { result, failure } = tried;
    if (failure !== null) {
      const place = / must not be async: /.test(failure.message)
        ? (await asyncPlaces(made.inputs, dirname(this.#entry()))).map((each) => `${each}: `).join('')
        : where(positions, failure);
      if (build === this.#build) this.#refused(printable(place + failure.message));
      return;
    }
    if (build !== this.#build) {
      // a newer build has begun meanwhile
      host.dispose(id);
      return;
    }
    const old = this.#version;
    this.#version = { id, bundle: made, positions, host, result, loadedAt: new Date() };
    this.lastError = '';
    this.#isRefused = false;
    if (old) old.host.dispose(old.id);
    if (!isNew) return;
    this.#breaker.reset();
    this.#logLoaded();
  }

  readonly #flush = (): void => {
    if (this.#isNew) return;
    this.#inFlight++;
    this.#sendAll(this.#takePending());
    this.#answered();
  };

  #takePending(): Pending[] {
    const batch = this.#pending;
    this.#pending = [];
    this.counters.calls += batch.length;
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
        if (consoleText !== '') this.#print(consoleText);
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
    if (failure !== null) this.#note(call, failure, opened);
    return (
      (rewrites && this.#refusal(rewrite, this.#settings.onRewriteFailure)) ||
      (routes && this.#refusal(route, this.#settings.onRoutingFailure)) ||
      this.#go(call, rewrite, route)
    );
  }

  #go(call: FunctionCall, rewrite: Part, route: Part): Decision {
    const query = rewrite !== null && 'text' in rewrite && rewrite.text !== call.query ? rewrite.text : null;
    const dbkey = route !== null && 'text' in route ? route.text : null;
    if (query !== null) this.counters.rewritten++;
    if (dbkey !== null) this.counters.routed++;
    return query === null && dbkey === null ? GO : { kind: 'go', query, dbkey };
  }

  #refusal(part: Part, policy: FailurePolicy): Decision | null {
    const refusal = refusalOf(part, policy);
    if (part !== null && 'rejection' in part) this.counters.rejected++;
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

  /** Counts a failure and logs it, once a second at most. */
  #note(call: FunctionCall, failure: CallFailure, opened: boolean): void {
    const { outcome } = failure;
    this.counters.failures[outcome] = (this.counters.failures[outcome] ?? 0) + 1;
    const now = performance.now();
    const place = this.#version === null ? '' : where(this.#version.positions, failure);
    this.lastError = printable(`${place}${failure.message}`);
    if (now < this.#quietUntil && !opened) {
      this.#suppressed++;
      return;
    }
    const more = this.#suppressed > 0 ? ` (and ${this.#suppressed} more failures since the last line)` : '';
    this.#quietUntil = now + 1_000;
    this.#suppressed = 0;
    this.#log.warn(
      { event: 'function_failed', tenant: this.tenant, outcome, query: fingerprint(call.query) },
      `user function of ${this.tenant} failed: ${outcome}: ${this.lastError} [query ${fingerprint(call.query)}]${more}${opened ? '; suspended' : ''}`,
    );
  }

  /** The files are again what serves. That is only worth a word where the last thing that was said is a complaint. */
  #restored(): void {
    if (!this.#isRefused) return;
    this.#isRefused = false;
    this.lastError = '';
    this.#logLoaded();
  }

  #logLoaded(): void {
    this.#log.info(
      { event: 'rules_loaded', tenant: this.tenant, version: this.versionHash },
      `user functions loaded: ${this.#names()} (version ${this.versionHash})`,
    );
  }

  #refused(complaint: string): void {
    this.#isRefused = true;
    this.lastError = printable(complaint);
    const serving =
      this.#version === null ? 'there is no earlier version' : `version ${this.#version.bundle.hash} goes on`;
    this.#log.error(
      { event: 'rules_refused', tenant: this.tenant },
      `user functions not loaded, ${serving}: ${this.#names()}\n${complaint}`,
    );
  }

  #print(text: string): void {
    for (const line of text.split('\n'))
      this.#log.info(
        { event: 'function_console', tenant: this.tenant },
        `console of ${this.tenant}: ${printable(line)}`,
      );
  }

  #entry(): string {
    return (this.files.routing ?? this.files.rewrite)!;
  }

  #entries(): string[] {
    return [...new Set([this.files.routing, this.files.rewrite])].filter((file) => file !== null);
  }

  #names(): string {
    return this.#entries().join(', ');
  }
}
