import { dirname } from 'node:path';
import { Batcher } from './batcher.ts';
import { asyncPlaces, bundle, BundleError, type Bundle, type SourceFiles } from './bundle.ts';
import { checked, failureOf, GO, refusalOf, type Decision, type FailurePolicy } from './decision.ts';
import { positionsOf, printable, where, type Positions } from './failure.ts';
import {
  isPlatformFailure,
  type CallFailure,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
  type LoadResult,
  type Part,
  type SandboxHost,
  type VersionCode,
} from './host.ts';
import { SetRecord, type FunctionLog } from './record.ts';
import { isThere } from './sources.ts';
import { tryVersion } from './trial.ts';

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

interface Version {
  readonly id: number;
  readonly bundle: Bundle;
  readonly positions: Positions;
  readonly host: SandboxHost;
  /** as its hosts are given it */
  readonly code: VersionCode;
  /** what loading it gave */
  readonly result: LoadResult;
  readonly loadedAt: Date;
}

/** The first version has not been loaded. Nobody knows what it would have said. */
const NOT_LOADED = ['overloaded', 'no version is loaded yet'] as const;
/** The files cannot be loaded: the rule's own failure. */
const NO_VERSION = ['no_version', 'no valid version is loaded'] as const;

let nextVersionId = 1;

/** The user functions that apply to one or more databases: one bundle, one isolate, one record. */
export class FunctionSet {
  /** whose functions these are: the folder that they come from */
  readonly tenant: string;
  readonly files: SourceFiles;
  readonly record: SetRecord;
  readonly #isDbkey: (name: string) => boolean;
  readonly #onFault: (set: FunctionSet) => void;
  readonly #tryOn: () => SandboxHost | null;
  #settings: SetSettings;
  #host: SandboxHost;
  #version: Version | null = null;
  readonly #batcher: Batcher;
  #warnedAbout = '';
  #noVersion: readonly [FailureOutcome, string] = NOT_LOADED;
  #build = 0;
  #inputs: readonly string[];

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
    /** Where calls run that cost others too much; null: alone, but where all others do. */
    apart: () => SandboxHost | null;
  }) {
    this.files = options.files;
    this.tenant = dirname((options.files.routing ?? options.files.rewrite)!);
    this.#settings = options.settings;
    this.#host = options.host;
    this.#isDbkey = options.isDbkey;
    this.#onFault = options.onFault;
    this.#tryOn = options.tryOn;
    this.#inputs = this.#entries();
    this.record = new SetRecord(this.tenant, this.#inputs.join(', '), options.log);
    this.#batcher = new Batcher({
      serving: () => this.#version,
      noVersion: () => this.#noVersion,
      decide: (call, answer, opened) => this.#decide(call, answer, opened),
      onPrinted: (text) => this.record.printed(text),
      onOpened: () => this.#onFault(this),
      apart: options.apart,
    });
  }

  get maxQueryBytes(): number {
    return this.#settings.maxQueryBytes;
  }

  /** Files that the set is made of, as far as they are known. */
  get inputs(): readonly string[] {
    return this.#inputs;
  }

  /** Whether its files are where they were. */
  get isThere(): boolean {
    return this.#entries().every(isThere);
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

  get state(): 'serving' | 'no version' | 'suspended' {
    if (this.#batcher.isSuspended) return 'suspended';
    return this.#version === null ? 'no version' : 'serving';
  }

  get versionId(): number | null {
    return this.#version?.id ?? null;
  }

  /**
   * Asks the functions about a query.
   * @param done is called once, never before `evaluate` has returned
   */
  evaluate(call: FunctionCall, done: (decision: Decision) => void): void {
    this.#batcher.evaluate(call, done);
  }

  /** The decision for a query that is too large to be evaluated (user_function_max_query). */
  tooLarge(sizeBytes: number): Decision {
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
    if (build === this.#build) this.#batcher.open();
  }

  async #bundleAndLoad(build: number): Promise<void> {
    let made: Bundle;
    try {
      made = await bundle(this.files);
    } catch (error) {
      if (build !== this.#build) return;
      if (error instanceof BundleError) this.#inputs = [...new Set([...this.#inputs, ...error.inputs])];
      // taken away meanwhile, which is no mistake: whoever watches the folder finds what takes its place
      this.#noVersion = NO_VERSION;
      if (this.#version === null || this.isThere)
        this.record.refused(this.versionHash, (error as Error).message);
      return;
    }
    if (build !== this.#build) return;
    // the entries also by the path that they are known by, which may lead over symbolic links
    this.#inputs = [...new Set([...this.#entries(), ...made.inputs])];
    if (this.#version?.bundle.hash === made.hash) return this.record.restored(made.hash);
    await this.#load(made, build, true);
  }

  /** The set applies to nothing any more. What it was asked before that is answered. */
  dispose(): void {
    this.#build++;
    this.#batcher.close(() => {
      if (this.#version) this.#version.host.dispose(this.#version.id);
      this.#version = null;
    });
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
      if (build !== this.#build) return;
      // a process that could not be started says nothing about the files
      this.#noVersion = isPlatformFailure(failure.outcome) ? NOT_LOADED : NO_VERSION;
      this.record.refused(this.versionHash, printable(place + failure.message));
      return;
    }
    if (build !== this.#build) {
      // a newer build has begun meanwhile
      host.dispose(id);
      return;
    }
    const old = this.#version;
    this.#version = { id, bundle: made, positions, host, code, result, loadedAt: new Date() };
    if (old) old.host.dispose(old.id);
    if (isNew) {
      this.#batcher.reset();
      this.record.loaded(made.hash);
    } else this.record.forgive();
    this.#warnOfPassing(made);
  }

  /** Applies the policies to an answer. */
  #decide(call: FunctionCall, answer: HostAnswer, opened = false): Decision {
    this.record.counters.calls++;
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

  /** A rule that refuses queries is a guard, and some would get past it. */
  #warnOfPassing(made: Bundle): void {
    const { onRewriteFailure, onRoutingFailure, maxQueryBytes } = this.#settings;
    const { rewrites, routes } = this.#kinds();
    const options = [
      rewrites && onRewriteFailure === 'pass' ? 'rewrite_query_on_failure' : '',
      routes && onRoutingFailure === 'pass' ? 'routing_rules_on_failure' : '',
    ].filter((option) => option !== '');
    // once for each version, and again when the options change
    const about = `${made.hash} ${options.join()} ${maxQueryBytes}`;
    if (options.length === 0 || about === this.#warnedAbout || !canReject(made.code)) return;
    this.#warnedAbout = about;
    this.record.passes(options, maxQueryBytes);
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

  #entry(): string {
    return (this.files.routing ?? this.files.rewrite)!;
  }

  #entries(): string[] {
    return [...new Set([this.files.routing, this.files.rewrite])].filter((file) => file !== null);
  }
}

/** Whether a bundle uses `reject` beyond the line that takes it over from the isolate (bundle.ts). */
function canReject(code: string): boolean {
  return /\breject\d*\b/.test(code.replace(/^.*\breject\d* = globalThis\.reject;$/gm, ''));
}
