/**
 * A tenant: user functions that apply to one or more databases, with their settings, the serving version, the calls under way
 * and the journal. Everything that is shared with other tenants is in its context.
 */
import type { TenantSnapshot, TenantState } from '../../telemetry/snapshots/functions.ts';
import type { SourceFiles } from '../build/bundle-job.ts';
import { entriesOf, nameOf } from '../build/sources.ts';
import type { Decision } from '../decide/policy.ts';
import type { Question } from '../decide/question.ts';
import type { FailureOutcome, HostCall } from '../sandbox/call.ts';
import type { SandboxHost } from '../sandbox/host.ts';
import type { Pause, Pin } from '../store/version-record.ts';
import type { TenantContext } from './context.ts';
import type { Identity } from './identity.ts';
import { Journal } from './journal.ts';
import { originsOf, type Origins } from './judge.ts';
import { Lane } from './lane.ts';
import { Loader } from './loader.ts';
import { Obstacles } from './obstacles.ts';
import { Pinning } from './pinning.ts';
import { Presence } from './presence.ts';
import { Rollout } from './rollout.ts';
import type { Policies, TenantSettings } from './settings.ts';
import type { Version } from './version.ts';

/** One query, as functions are asked about it. */
export type FunctionCall = HostCall;

export interface TenantOptions {
  /** owner and id (identity.ts) */
  readonly identity: Identity;
  readonly files: SourceFiles;
  readonly settings: TenantSettings;
  /** the host for its versions, asked for when one is to be loaded */
  readonly host: () => SandboxHost;
  readonly context: TenantContext;
  /** how long calls wait for an answer, the loading of a first version included, in ms */
  readonly longestWaitMs?: number;
}

export class Tenant {
  /** unique among all tenants of the proxy, and the same wherever its files are */
  readonly id: string;
  /** its name, which it is blamed by; files that a database's options name are a tenant of the same name */
  readonly owner: string;
  #files: SourceFiles;
  /** those that the version that serves was made of */
  #servingFiles: SourceFiles;
  readonly #journal: Journal;
  readonly #context: TenantContext;
  /** the versions that serve */
  readonly #serving: Lane;
  #loader: Loader;
  readonly #presence = new Presence();
  /** a version has served, or has been found sound */
  #hasVersions = false;
  #generation: number;
  readonly #obstacles = new Obstacles(() => {
    this.judgeAgain();
    this.#serving.batcher.wake();
  });
  /** which version serves by command */
  readonly pinning: Pinning;
  /** its candidate */
  readonly rollout: Rollout;

  constructor(options: TenantOptions) {
    const { identity, files, context } = options;
    this.id = identity.id;
    this.owner = identity.owner;
    this.#files = files;
    this.#servingFiles = files;
    this.#context = context;
    this.#generation = context.generations.next();
    this.#journal = new Journal(context.lines.recorded(identity.owner, context.log));
    this.#journal.name(this.name, entriesOf(files));
    this.#serving = this.#newLane(options);
    this.pinning = new Pinning({
      key: identity,
      context,
      files: () => this.#files,
      servePinned: () => {
        this.#presence.need();
        return this.#loader.servePinned();
      },
      load: () => void this.#loader.load(),
      install: ({ bundle, manifest, trialRoute: route }) =>
        this.#serving.installer.install(bundle, { kind: 'sound', manifest, route }),
      endCanary: (why) => this.rollout.endCanary(why),
      withdraw: () => this.rollout.withdraw(),
    });
    this.rollout = new Rollout({
      identity,
      context,
      serving: this.#serving,
      files: () => this.#files,
      refusalOf: (asked) => this.pinning.refusalOf(asked),
      serve: (version, isOfFiles, asked) => this.pinning.promote(version, isOfFiles, asked),
      onNone: () => (this.pin === null ? Promise.resolve() : this.#loader.reload()),
    });
    this.#loader = this.#newLoader();
  }

  #newLane({ identity, settings, host, context, longestWaitMs }: TenantOptions): Lane {
    return new Lane({
      key: identity,
      files: () => this.#files,
      settings,
      host,
      journal: this.#journal,
      context,
      budget: context.budgets.of(identity.owner),
      ...(longestWaitMs !== undefined && { longestWaitMs }),
      isBlocked: () => this.#obstacles.isBlocked,
      noVersion: () => this.#noVersion(),
      pausedAs: () => this.#obstacles.pausedAs,
      onGiven: (versionId) => context.housing.noteVersion(versionId, this),
      onOpened: () => context.housing.punish(this),
      onCostlyMove: () => context.housing.addBlame(this.owner),
      onInstalled: (version, isNew, isReset) => this.#noteInstalled(version, isNew, isReset),
      onDiffered: () => this.judgeAgain(),
    });
  }

  #newLoader(held: string | null = null): Loader {
    const context = this.#context;
    return new Loader({
      tenantId: this.id,
      held,
      name: this.owner,
      files: this.#files,
      installer: this.#serving.installer,
      journal: this.#journal,
      context,
      isNeeded: () => this.#presence.isNeeded,
      onKept: (hash, { manifest }) => {
        context.fleet.noteServing(this, hash);
        this.#servingFiles = this.#files;
        if (this.#serving.expect(hash, manifest)) this.#noteOther();
      },
      onNewer: (bundle, trial) => this.rollout.offer(bundle, trial),
      onCaughtUp: () => {
        const { pin } = this;
        // a version that is being promoted does not serve yet
        if (pin?.untilFiles !== true || pin.number !== this.version?.record.number) return;
        this.pinning.caughtUp();
        if (pin.by !== 'fleet') this.#journal.caughtUp(this.version.hash);
        this.rollout.withdraw();
      },
      onSettled: () => {
        if (!this.#presence.settle()) return;
        if (this.version === null || this.#loader.isSound) this.#servingFiles = this.#files;
        this.#serving.batcher.open();
        this.rollout.look();
      },
    });
  }

  // --- identity -----------------------------------------------------------------------------------------------------------

  /** The folder that the functions lie in, absolute: log lines name it. */
  get name(): string {
    return nameOf(this.#files);
  }

  get files(): SourceFiles {
    return this.#files;
  }

  get isolation(): 'inline' | 'process' {
    return this.#settings.isolation;
  }

  /** What becomes of a query whose function fails. */
  get policies(): Policies {
    return this.#settings;
  }

  /** The version that serves; null: there is none. */
  get version(): Version | null {
    return this.#serving.version;
  }

  /** Its functions are loaded, or are being loaded. */
  get isNeeded(): boolean {
    return this.#presence.isNeeded;
  }

  /** Its files have been looked at. */
  get isKnown(): boolean {
    return this.#loader.isKnown;
  }

  /** Hash of the sound code that its files held last; null: they have not been looked at yet, or never were sound. */
  get held(): string | null {
    return this.#loader.held;
  }

  /** A version serves, or serves as soon as a call arrives. */
  get canServe(): boolean {
    return this.#hasVersions;
  }

  /** Calls that it has had. */
  get calls(): number {
    return this.#serving.counters.calls;
  }

  /** Whether these files are the tenant's. */
  isOf({ routing, rewrite }: SourceFiles): boolean {
    return this.files.routing === routing && this.files.rewrite === rewrite;
  }

  get state(): TenantState {
    if (this.#obstacles.pausedAs !== null) return 'paused';
    if (this.#obstacles.isMissing) return 'missing';
    if (this.#serving.batcher.isSuspended) return 'suspended';
    if (this.version !== null) {
      if (this.pin !== null && this.pin.by !== 'fleet') return 'pinned';
      if (this.pin !== null && this.#loader.held !== this.version.hash) return "fleet's version";
      return this.#loader.isOutdated ? 'serving old version' : 'serving';
    }
    if (!this.#presence.isNeeded)
      return this.#loader.isRefused && !this.canServe ? 'no version' : 'not loaded';
    return this.#serving.batcher.isNew ? 'loading' : 'no version';
  }

  /** By function, the file that it comes from; '': no such function. One file may hold both. */
  get origins(): Origins {
    return originsOf(this.files, this.#serving.judge.manifest);
  }

  /**
   * Changes whenever a query might be judged otherwise than before: statements that were prepared under another generation are
   * judged again. Unique among all tenants, and never 0. While a canary is running, its clients have another one than others.
   */
  generationOf(clientId: number): number {
    return this.rollout.generationOf(clientId) ?? this.#generation;
  }

  get maxQueryBytes(): number {
    return this.#settings.maxQueryBytes;
  }

  /** The number of builds begun of its files. */
  get builds(): number {
    return this.#loader.builds;
  }

  get isBuilding(): boolean {
    return this.#loader.isBusy;
  }

  /** @param databases names of the databases whose clients the functions judge */
  observe(databases: readonly string[]): TenantSnapshot {
    const { id, owner, name, state } = this;
    const origins = originsOf(this.#servingFiles, this.#serving.judge.manifest);
    return {
      id,
      owner,
      name,
      routingFile: origins.routing,
      rewriteFile: origins.rewrite,
      databases,
      state,
      ...this.#serving.observe(),
      lastError: this.#journal.lastError,
      lastErrorAtMs: this.#journal.lastErrorAtMs,
    };
  }

  // --- calls ---------------------------------------------------------------------------------------------------------------

  /** The decision for a query, if it was made before and is remembered; null: the functions must be asked. */
  recall(question: Question): Decision | null {
    const decision =
      this.rollout.isActive && !this.#obstacles.isBlocked
        ? this.rollout.recall(question)
        : this.#serving.remembered(question);
    const { tap } = this.#context;
    if (tap.isWatched && decision !== null) tap.note(this.owner, question, decision, null);
    return decision;
  }

  /**
   * Asks the functions about a query.
   * @param done called once, never before `decide` has returned
   */
  decide(call: FunctionCall, done: (decision: Decision) => void): void {
    this.load();
    const tell = this.#context.tap.isWatched ? this.#watched(call, done) : done;
    if (this.rollout.isActive && !this.#obstacles.isBlocked) this.rollout.decide(call, tell);
    else this.#serving.decide(call, tell);
  }

  /** The same as `done`, for the live tail as well. */
  #watched(call: FunctionCall, done: (decision: Decision) => void): (decision: Decision) => void {
    const { tap } = this.#context;
    const askedAt = tap.now;
    return (decision) => {
      tap.note(this.owner, call, decision, askedAt);
      done(decision);
    };
  }

  /**
   * The decision for a query that is too large to be shown to the functions (user_function_max_query).
   * @returns null: that depends on functions that are not loaded yet, and `decide` must be asked (HostCall.tooLong)
   */
  tooLarge(sizeBytes: number): Decision | null {
    const { batcher, judge } = this.#serving;
    return batcher.isNew && !judge.knowsVersion ? null : judge.tooLarge(sizeBytes);
  }

  /** A move to another database was not made, because a transaction or pipeline was open. @returns whether to log it */
  noteRefusedMove(): boolean {
    this.#serving.counters.noteRefusedMove();
    return this.#journal.moveRefused();
  }

  /** Whether the functions, asked for an entry's clients, may name a database. */
  mayName(entry: string, name: string): boolean {
    return this.#context.targets.mayName(this.files, entry, name);
  }

  /** ctx.databases of an entry's clients; undefined: all configured databases. */
  nameable(entry: string): readonly string[] | undefined {
    return this.#context.targets.nameable(this.files, entry);
  }

  /**
   * Whether a query that another tenant has rewritten has already been through this rewriting function: both have the same
   * file, and all of the other's functions are the operator's. A routing function of a database's own runs in one isolate with
   * the rewriting function, and could change its behaviour.
   */
  sharesRewriting(other: Tenant | null): boolean {
    if (other === null || this.rollout.hasCanary || other.rollout.hasCanary) return false;
    // versions of the files from before may still serve
    const { rewrite } = this.#servingFiles;
    const others = other.#servingFiles;
    return rewrite !== null && rewrite === others.rewrite && this.#context.targets.areOperators(others);
  }

  // --- versions ------------------------------------------------------------------------------------------------------------

  /** Loads its functions unless they are loaded (presence.ts). Calls wait for that. */
  load(): void {
    if (this.#presence.need()) void this.#loader.load();
  }

  /**
   * Unloads its functions, which nobody has used for long. The next call loads them again.
   * @returns false: they are in use, or are not loaded, or could not be loaded again as they are
   */
  unload(): boolean {
    const isReady = this.version !== null && this.#loader.isSound && !this.#loader.isBusy;
    if (!isReady || this.#obstacles.isMissing || this.rollout.isActive || !this.#serving.unload())
      return false;
    return this.#presence.leave();
  }

  /** Looks at its files when it is its turn, if its functions are not loaded. */
  look(): Promise<void> {
    return this.#context.looks.run(this.owner, () =>
      this.#loader.isKnown ? this.#loader.verify() : this.#loader.reload(),
    );
  }

  /** Builds its present files, and serves the result if it is new, sound and needed (loader.ts). */
  reload(isAsked = false): Promise<void> {
    const reloaded = this.#loader.reload(isAsked);
    return isAsked ? reloaded.then(() => this.rollout.reload(true)) : reloaded;
  }

  /** The pin that applies to it; null: its files decide which version serves. */
  get pin(): Pin | null {
    return this.#loader.pin;
  }

  /** Compares the files with their last known state, where changes are not reported. */
  verify(): Promise<void> {
    void this.rollout.verify();
    return this.#loader.verify();
  }

  /** When nothing is being built. */
  idle(): Promise<void> {
    return this.#loader.idle();
  }

  /** Whether a change of one of these paths may change the functions, as far as is known. */
  areOnTrail(paths: ReadonlySet<string>): boolean {
    return this.#loader.areOnTrail(paths);
  }

  /** Takes over settings and another host; a version that was loaded with others is loaded again. Null: it needs no host. */
  async configure(settings: TenantSettings, host: SandboxHost | null): Promise<void> {
    if (this.#serving.installer.configure(settings)) this.judgeAgain();
    await Promise.all([host && this.moveTo(host), this.rollout.configure(settings)]);
  }

  /** Moves the calls to another host. The breaker goes with them: a tenant that is suspended stays so. */
  moveTo(host: SandboxHost): Promise<void> {
    // it has been unloaded: it gets a host with the next call
    if (!this.#presence.isNeeded) return Promise.resolve();
    this.#serving.installer.useHost(host);
    return this.#loader.renew();
  }

  /**
   * Its files are elsewhere now, or others. Everything else about it stays: its counters, its breaker, and the version that
   * serves until `reload` has loaded another one.
   */
  useFiles(files: SourceFiles): void {
    this.#files = files;
    this.#journal.name(this.name, entriesOf(files));
    this.#obstacles.useFiles(entriesOf(files));
    this.#loader.dispose();
    this.#loader = this.#newLoader(this.#loader.held);
  }

  /** No call reaches the functions from now on. @param as what becomes of queries; null: calls reach them again */
  setPaused(as: Pause['as'] | null): void {
    this.#obstacles.setPaused(as);
  }

  /** The functions' targets have changed. */
  judgeAgain(): void {
    this.#generation = this.#context.generations.next();
    this.#serving.recall.forget();
    this.rollout.judgeAgain();
  }

  /**
   * Its routing function may name fewer databases than others of the operator's, because of the rewriting function beside it.
   */
  warnOfMixedRights(): void {
    this.#journal.mixed(this.files.routing ?? '', this.files.rewrite ?? '');
  }

  /** Nothing is built or asked any more. The serving version answers the calls that the tenant already has. */
  dispose(): void {
    this.#loader.dispose();
    this.rollout.dispose();
    this.#serving.close();
  }

  // --- vanished files ------------------------------------------------------------------------------------------------------

  /** A file has vanished. The functions stay active for a while. @param graceMs how long at least */
  noteGone(file: string, graceMs: number): void {
    this.#journal.gone(file, this.version?.hash ?? '', graceMs);
  }

  /** A file has been gone for too long: each call fails from now on. */
  failWithout(file: string): void {
    this.#obstacles.miss(file, this.#journal.overdue(file));
  }

  /** A file is back. @param areAllThere the other files exist too, and the functions are built again */
  noteBack(file: string, areAllThere: boolean): void {
    this.#journal.back(file);
    if (!areAllThere) return;
    this.#obstacles.found();
    void (this.isNeeded ? this.reload() : this.look());
  }

  get #settings(): TenantSettings {
    return this.#serving.settings;
  }

  #noteInstalled(version: Version, isNew: boolean, isReset: boolean): void {
    // calls since `configure` were still answered under the former settings
    if (isReset) this.judgeAgain();
    if (isNew) {
      this.#context.store.noteServing(this, version.record.number);
      this.#context.fleet.noteServing(this, version.hash);
      this.#noteOther();
    }
    this.#serving.judge.warnOfPassing(version);
    this.#serving.judge.warnOfOutages(version);
    if (isNew) this.#serving.judge.warnOfMisdirected(version);
    this.#loader.noteInstalled(version, isNew);
    if (isNew) this.rollout.noteServing();
  }

  /** Other code serves from now on, or as soon as it is loaded. */
  #noteOther(): void {
    // the first version judges the calls that wait for it
    if (this.#hasVersions || !this.#serving.batcher.isNew) this.judgeAgain();
    this.#hasVersions = true;
    this.#serving.batcher.reset();
  }

  /** How a call fails if there is no version to ask. Files that can't be loaded are the rule's own failure. */
  #noVersion(): readonly [FailureOutcome, string] {
    const { failure } = this.#obstacles;
    if (failure !== null) return failure;
    if (this.#loader.isRefused) return ['no_version', 'no valid version is loaded'];
    // it has harmed others
    if (this.#context.housing.waitMs(this.owner) > 0) return ['overloaded', 'its version is held back'];
    return ['unavailable', 'no version is loaded yet'];
  }
}
