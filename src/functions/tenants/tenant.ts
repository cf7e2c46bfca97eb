import { basename, dirname } from 'node:path';
import type { TenantSnapshot, TenantState } from '../../telemetry/snapshot.ts';
import { Batcher } from '../decide/batcher.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import {
  checked,
  failureOf,
  GO,
  misnamed,
  refusalOf,
  type Decision,
  type FailurePolicy,
  type Nameable,
} from '../decide/policy.ts';
import type { Place } from '../build/places.ts';
import type {
  CallFailure,
  FailureOutcome,
  HostAnswer,
  HostCall,
  Part,
  SandboxHost,
} from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import { Loader, type LoadTools, type Version } from './loader.ts';
import { Journal, type FunctionLog } from './journal.ts';
import type { Targets } from './targets.ts';
import { failedOne } from './trials.ts';

export type { Decision, FunctionLog };

/** What a set needs to know of the configuration; replaced as a whole on RELOAD. */
export interface TenantSettings {
  readonly timeoutMs: number;
  readonly memoryLimitMb: number;
  readonly maxQueryBytes: number;
  readonly maxResult: number;
  readonly onRoutingFailure: FailurePolicy;
  readonly onRewriteFailure: FailurePolicy;
  readonly databases: readonly string[];
}

export type FunctionCall = HostCall;

/** What the functions of a tenant may name (targets.ts). */
export type Naming = Pick<Targets, 'mayName' | 'nameable' | 'areOperators'>;

let nextGeneration = 1;

/** The user functions that apply to one or more databases: one bundle, one isolate, one record. */
export class Tenant {
  /** whose functions these are: the folder that they come from */
  readonly name: string;
  readonly files: SourceFiles;
  readonly journal: Journal;
  readonly #targets: Naming;
  readonly #onFault: (set: Tenant) => void;
  readonly loader: Loader;
  readonly #batcher: Batcher;
  #generation = nextGeneration++;
  #warnedAbout = '';
  /** files that it is made of have been gone for too long: each call is a failure, and this is why */
  #missing: string | null = null;

  constructor(options: {
    files: SourceFiles;
    settings: TenantSettings;
    host: SandboxHost;
    log: FunctionLog;
    targets: Naming;
    /** It has hung or eaten memory again and again. */
    onFault: (set: Tenant) => void;
    /** Where calls run that cost others too much; null: alone, but where all others do. */
    apart: () => SandboxHost | null;
    tools: LoadTools;
    /** how long calls wait for an answer, the loading of a first version included, in ms */
    longestWaitMs?: number;
  }) {
    this.files = options.files;
    this.name = dirname((options.files.routing ?? options.files.rewrite)!);
    this.#targets = options.targets;
    this.#onFault = options.onFault;
    const { routing, rewrite } = options.files;
    const names = [...new Set([routing, rewrite])].filter((file) => file !== null);
    this.journal = new Journal(this.name, names.join(', '), options.log);
    this.#batcher = new Batcher({
      serving: () => (this.#missing === null ? this.#version : null),
      noVersion: () => this.#noVersion(),
      decide: (call, answer, opened, manifest) => this.#decide(call, answer, opened, manifest),
      onPrinted: (text) => this.journal.printed(text),
      onOpened: () => this.#onFault(this),
      apart: options.apart,
      ...(options.longestWaitMs !== undefined && { longestWaitMs: options.longestWaitMs }),
    });
    this.loader = new Loader({
      files: options.files,
      tenant: this.name,
      settings: options.settings,
      host: options.host,
      journal: this.journal,
      tools: options.tools,
      onVersion: (isNew) => {
        if (isNew) {
          // Calls that wait for a first version are judged by it.
          if (!this.#batcher.isNew) this.judgeAgain();
          this.#batcher.reset();
        }
        this.#warnOfPassing(this.#version!.bundle);
        if (isNew) this.#warnOfMisdirected(this.#version!);
      },
      onSettled: () => this.#batcher.open(),
      isInUse: () => this.journal.counters.calls > 0 || !this.#batcher.isIdle,
    });
  }

  get #version(): Version | null {
    return this.loader.version;
  }

  get #settings(): TenantSettings {
    return this.loader.settings;
  }

  /**
   * Another number, unique among all sets, whenever a query might be judged otherwise than before: statements that were
   * prepared under another are judged again. Never 0.
   */
  get generation(): number {
    return this.#generation;
  }

  /** What the functions may name has changed. */
  judgeAgain(): void {
    this.#generation = nextGeneration++;
  }

  get maxQueryBytes(): number {
    return this.#settings.maxQueryBytes;
  }

  /** By function the file that it comes from; '' for one that there is none of. One file may hold both. */
  get origins(): { readonly routing: string; readonly rewrite: string } {
    const { routing, rewrite } = this.files;
    const { routes, rewrites } = this.#manifest;
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

  get state(): TenantState {
    if (this.#missing !== null) return 'missing';
    if (this.#batcher.isSuspended) return 'suspended';
    if (this.#version !== null) return this.loader.isOutdated ? 'serving old version' : 'serving';
    return this.#batcher.isNew ? 'loading' : 'no version';
  }

  /** @param databases names of those whose clients the functions judge */
  observe(id: string, databases: readonly string[]): TenantSnapshot {
    const { origins, journal } = this;
    const { failures, ...counters } = journal.counters;
    return {
      id,
      name: this.name,
      routingFile: origins.routing,
      rewriteFile: origins.rewrite,
      databases,
      state: this.state,
      version: this.versionHash,
      loadedAtMs: this.loadedAt?.getTime() ?? null,
      ...counters,
      failures: { ...failures },
      lastError: journal.lastError,
      lastErrorAtMs: journal.lastErrorAt?.getTime() ?? null,
    };
  }

  /** How a call fails that no version can be asked about. Files that can't be loaded are the rule's own failure. */
  #noVersion(): readonly [FailureOutcome, string] {
    if (this.#missing !== null) return ['no_version', this.#missing];
    if (this.loader.isRefused) return ['no_version', 'no valid version is loaded'];
    return ['overloaded', 'no version is loaded yet'];
  }

  get versionId(): number | null {
    return this.#version?.id ?? null;
  }

  /**
   * Asks the functions about a query.
   * @param done is called once, never before `decide` has returned
   */
  decide(call: FunctionCall, done: (decision: Decision) => void): void {
    this.#batcher.evaluate(call, done);
  }

  /** Whether the functions, asked for an entry's clients, may name a database. */
  mayName(entry: string, name: string): boolean {
    return this.#targets.mayName(this.files, entry, name);
  }

  /** What ctx.databases shows to them, separated by U+0001; '': all databases that are configured. */
  nameable(entry: string): string {
    return this.#targets.nameable(this.files, entry);
  }

  /**
   * Whether a query that another tenant has rewritten has been through this rewriting function already: both have the same
   * file, and the other's functions are all the operator's. A routing function of a database's own runs in one isolate with
   * the rewriting function, and could change what that does.
   */
  sharesRewriting(other: Tenant | null): boolean {
    const { rewrite } = this.files;
    return rewrite !== null && rewrite === other?.files.rewrite && this.#targets.areOperators(other.files);
  }

  readonly #mayBeNamed = (name: string, call: FunctionCall): boolean =>
    this.mayName(call.entry ?? call.loginDatabase ?? call.database, name);

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
    return this.journal.moveRefused();
  }

  /** Builds what its files hold now, and serves that when it is new and sound (loader.ts). */
  reload(isAsked = false): Promise<void> {
    return this.loader.reload(isAsked);
  }

  /** Takes over changed settings; a version that was loaded with others is loaded again. */
  configure(settings: TenantSettings, host: SandboxHost): Promise<void> {
    if (JSON.stringify(settings) !== JSON.stringify(this.#settings)) this.judgeAgain();
    return this.loader.configure(settings, host);
  }

  /** Moves the set to another host. Its record goes with it: a set that is suspended stays so. */
  moveTo(host: SandboxHost): Promise<void> {
    return this.loader.moveTo(host);
  }

  /** @param message why its calls fail, although a version is loaded; null: they don't */
  setMissing(message: string | null): void {
    if (message === this.#missing) return;
    this.#missing = message;
    this.judgeAgain();
  }

  /** The set applies to nothing any more. The calls that it has are answered. */
  dispose(): void {
    this.#batcher.close(() => this.loader.dispose());
  }

  /**
   * Applies the policies to an answer.
   * @param manifest of the version that gave it, which may not serve any more; null: none did
   */
  #decide(
    call: FunctionCall,
    answer: HostAnswer,
    opened = false,
    manifest: Manifest | null = null,
  ): Decision {
    this.journal.counters.calls++;
    if (answer.rewrite === null && answer.route === null) return GO;
    const { rewrite, route } = checked(call, answer, this.#mayBeNamed, (each) => this.#nameable(each));
    const { rewrites, routes } = manifest ?? this.#manifest;
    // A call that was cut off failed once, whichever function it was in.
    const failure = failureOf(rewrite) ?? failureOf(route);
    if (failure !== null) {
      const place = this.#place(failure);
      const subject = place === null ? this.#subject(failure, rewrite, route) : '';
      this.journal.failed(call.query, { ...failure, message: subject + failure.message }, place, opened);
    }
    return (
      (rewrites && this.#refusal(call, rewrite, this.#settings.onRewriteFailure)) ||
      (routes && this.#refusal(call, route, this.#settings.onRoutingFailure)) ||
      this.#go(call, rewrite, route)
    );
  }

  #go(call: FunctionCall, rewrite: Part, route: Part): Decision {
    const query = rewrite !== null && 'text' in rewrite && rewrite.text !== call.query ? rewrite.text : null;
    const dbkey = route !== null && 'text' in route ? route.text : null;
    if (query !== null) this.journal.counters.rewritten++;
    if (dbkey !== null) this.journal.counters.routed++;
    return query === null && dbkey === null ? GO : { kind: 'go', query, dbkey };
  }

  #refusal(call: FunctionCall, part: Part, policy: FailurePolicy): Decision | null {
    const refusal = refusalOf(call.query, part, policy);
    if (part !== null && 'rejection' in part) this.journal.counters.rejected++;
    return refusal;
  }

  /** A rule that refuses queries is a guard, and some would get past it. */
  #warnOfPassing(made: Bundle): void {
    const { onRewriteFailure, onRoutingFailure, maxQueryBytes } = this.#settings;
    const { rewrites, routes } = this.#manifest;
    const options = [
      rewrites && onRewriteFailure === 'pass' ? 'rewrite_query_on_failure' : '',
      routes && onRoutingFailure === 'pass' ? 'routing_rules_on_failure' : '',
    ].filter((option) => option !== '');
    // once for each version, and again when the options change
    const about = `${made.hash} ${options.join()} ${maxQueryBytes}`;
    if (options.length === 0 || about === this.#warnedAbout || !canReject(made.code)) return;
    this.#warnedAbout = about;
    this.journal.passes(options, maxQueryBytes);
  }

  /** Which functions there are. Before anything could be loaded: both, because each of the files may hold them. */
  get #manifest(): Manifest {
    return this.#version?.manifest ?? { rewrites: true, routes: true };
  }

  #place(failure: CallFailure): Place | null {
    return this.#version === null ? null : this.#version.positions.find(failure.stack);
  }

  /** Which function `took longer than …`, where that has no place in its source. */
  #subject({ message }: CallFailure, rewrite: Part, route: Part): string {
    if (!/^(?:did|needed|returned|threw|took)\b/.test(message)) return '';
    const name = failedOne(this.#version?.manifest ?? null, rewrite, route);
    if (name === '') return 'the call ';
    const { origins } = this;
    return `${name} (${basename(name === 'rewrite_query' ? origins.rewrite : origins.routing)}) `;
  }

  #nameable({ nameable = '' }: FunctionCall): Nameable {
    const { databases } = this.#settings;
    return nameable === ''
      ? { names: databases, isAll: true }
      : { names: nameable.split('\u0001'), isAll: false };
  }

  /** Most likely a name that is misspelt: every query that is routed like the trial call would be a failure. */
  #warnOfMisdirected({ trialRoute, code: { databases } }: Version): void {
    const call = { username: '', query: '', inTransaction: false, database: databases[0] ?? '' };
    if (trialRoute === null || this.#mayBeNamed(trialRoute, call)) return;
    this.journal.misdirected(`routing_rules ${misnamed(trialRoute, this.#nameable(call))}`);
  }
}

/** Whether a bundle uses `reject` beyond the line that takes it over from the isolate (bundle.ts). */
function canReject(code: string): boolean {
  return /\breject\d*\b/.test(code.replace(/^.*\breject\d* = globalThis\.reject;$/gm, ''));
}
