/**
 * The entrance to user functions. A database's clients ask its tenant (tenants/tenant.ts) about a query; everything else here
 * starts, configures, observes and stops the parts below.
 */
import { basename, dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Unjudged } from '../config/options.ts';
import { monotonicClock, systemClock, type Clock } from '../platform/clock.ts';
import type { FunctionsSnapshot } from '../telemetry/snapshots/functions.ts';
import type { RolloutSnapshot } from '../telemetry/snapshots/rollout.ts';
import { IdCounter } from '../telemetry/id-counter.ts';
import type { SourceFiles } from './build/bundle-job.ts';
import { Bundlers } from './build/bundlers.ts';
import { entriesOf, isThere, type DatabaseFunctions } from './build/sources.ts';
import { nextFiles } from './build/next-files.ts';
import { trailOf } from './build/trail.ts';
import { Turns } from './build/turns.ts';
import { MemoryRoom } from './decide/memory.ts';
import { CATALOG, IDLE } from './limits.ts';
import { ClientKeys } from './rollout/share.ts';
import { prepareScripts } from './sandbox/programs.ts';
import { Exchange } from './shared/exchange.ts';
import { KeptValues } from './shared/kept-values.ts';
import { LentFiles } from './shared/lent-files.ts';
import { Member } from './shared/member.ts';
import { ALONE, type SharedStore } from './shared/store.ts';
import { TenantRules } from './shared/tenant-rules.ts';
import { StateFolder } from './store/state-folder.ts';
import { VersionStore } from './store/version-store.ts';
import { Budgets } from './tenants/budgets.ts';
import { Administration } from './tenants/administration.ts';
import { Catalog } from './tenants/catalog.ts';
import { Changes } from './tenants/changes.ts';
import type { TenantContext } from './tenants/context.ts';
import { DecisionTap } from './tenants/decision-tap.ts';
import { Folders } from './tenants/folders.ts';
import { Housing } from './tenants/housing.ts';
import type { Identity } from './tenants/identity.ts';
import { IdleTenants } from './tenants/idle.ts';
import type { FunctionLog } from './tenants/journal.ts';
import { LogLines } from './tenants/log-lines.ts';
import {
  logConfirmed,
  logGone,
  logNotKept,
  logRemoved,
  logUnloaded,
  logWithoutFunctions,
} from './tenants/notices.ts';
import { reloadAll, reloadSome, type ReloadParts } from './tenants/reload.ts';
import { Removals } from './tenants/removals.ts';
import {
  FunctionsConfig,
  NO_TENANTS,
  rolloutLimits,
  tenantSettings,
  type FunctionSettings,
  type TenantConfigs,
  type TenantSettings,
} from './tenants/settings.ts';
import { Targets } from './tenants/targets.ts';
import { Tenant } from './tenants/tenant.ts';

export { sqlstateClass } from './rollout/arm.ts';
export type { Place } from './build/places.ts';
export type { ShownFile } from './store/texts.ts';
export { RollbackError } from './tenants/administration.ts';
export { GO, type Decision } from './decide/policy.ts';
export type { ContextValue, Question } from './decide/question.ts';
export { CONTEXT_FIELDS } from './sandbox/context-fields.ts';
export type { FunctionLog } from './tenants/journal.ts';
export type { FunctionSettings } from './tenants/settings.ts';
export type { AskedBy } from './tenants/asked-by.ts';
export { RolloutError, type Rollout } from './tenants/rollout.ts';
export type { FunctionCall, Tenant } from './tenants/tenant.ts';

const MB = 1024 * 1024;

export interface FunctionsOptions {
  readonly settings: FunctionSettings;
  readonly databases: Iterable<DatabaseFunctions>;
  readonly fallback?: DatabaseFunctions | null;
  readonly tenants?: TenantConfigs;
  readonly log: FunctionLog;
  readonly clock?: Clock;
  /** the entry of [databases] that a name leads to; null: no such database */
  readonly entryOf: (name: string) => string | null;
  /** what the proxies of a fleet share; missing: this one is alone */
  readonly shared?: SharedStore;
}

export class Functions {
  readonly #log: FunctionLog;
  readonly #clock: Clock;
  #config: FunctionsConfig;
  readonly #targets: Targets;
  readonly #store: VersionStore;
  readonly #budgets: Budgets;
  readonly #housing: Housing;
  readonly #removals: Removals;
  readonly #folders: Folders;
  readonly #catalog: Catalog;
  readonly #changes: Changes;
  readonly #memory: MemoryRoom;
  readonly #idle: IdleTenants<Tenant>;
  /** the tenants of all databases are known */
  #areFound = false;
  readonly #context: TenantContext;
  readonly #canaries = new Set<object>();
  readonly #lines = new LogLines();
  readonly #clientKeys = new ClientKeys();
  readonly #bundlers = new Bundlers();
  readonly #member: Member;
  readonly #lent: LentFiles;
  /** for the live tail of decisions */
  readonly tap = new DecisionTap();
  /** what administrators do to one tenant */
  readonly administration: Administration;

  constructor(options: FunctionsOptions) {
    const { settings, databases, fallback = null, tenants, log, entryOf } = options;
    const config = (): FunctionsConfig => this.#config;
    this.#log = log;
    this.#clock = options.clock ?? systemClock;
    this.#config = new FunctionsConfig(settings, databases, fallback, tenants);
    this.#targets = new Targets(this.#config, entryOf);
    const { user_functions_state_dir: stateDir } = settings;
    this.#store = new VersionStore(stateDir === '' ? null : new StateFolder(stateDir), log);
    this.#budgets = new Budgets(this.#config, log);
    this.#housing = new Housing({
      config: this.#config,
      budgets: this.#budgets,
      log,
      servedBy: (versionId) => this.#catalog.servedBy(versionId),
      isThere: (tenant) => this.#catalog.has(tenant),
    });
    this.#removals = new Removals({
      settings: () => this.#config.settings,
      using: (file) => this.#catalog.using(file),
      policiesOf: (file) => this.#config.policiesOf(file),
      onRemoved: () => this.#catalog.refresh(),
      onChanged: () => this.#store.keepKnownFiles(() => this.#removals.known),
    });
    this.#folders = new Folders({
      config,
      clock: this.#clock,
      onPlaces: (trail, matters) => this.#changes.followFolders(trail, matters),
      onNewPlaces: () => this.#catalog.refresh(),
      onListed: (names) => this.#catalog.noteFolders(names),
    });
    this.#lent = new LentFiles(stateDir === '' ? null : stateDir);
    this.#catalog = new Catalog({
      config,
      lentFolder: (owner) => (options.shared?.isConfigured === true ? this.#lent.folderOf(owner) : null),
      folders: this.#folders,
      find: this.#removals.find,
      hasLostFiles: (tenant) => this.#removals.concerns(tenant),
      newTenant: (identity, files, entry) => this.#newTenant(identity, files, entry),
      onFiles: (tenant, isNew) => this.#noteFiles(tenant, isNew),
      onGone: (tenant, isReplaced) => this.#gone(tenant, isReplaced),
    });
    this.#member = this.#newMember(options.shared ?? ALONE);
    this.administration = new Administration({
      fleet: this.#member,
      config,
      catalog: this.#catalog,
      store: this.#store,
      targets: this.#targets,
      lines: this.#lines,
      reload: (own, isAsked) => reloadSome(this.#reloadParts, own, isAsked),
    });
    this.#changes = new Changes({ catalog: this.#catalog, folders: this.#folders, log });
    this.#memory = new MemoryRoom(settings.user_function_cache * MB);
    this.#idle = new IdleTenants({
      clock: options.clock ?? monotonicClock,
      timeoutMs: () => this.#config.settings.user_function_idle_timeout,
      tenants: () => this.#catalog.tenants,
      onUnloaded: (idle, idleMs) => logUnloaded(log, idle, idleMs),
    });
    this.#context = this.#newContext();
  }

  /** Notes which rules there are before clients are served: rules that vanish after that are missed. */
  async prepare(): Promise<void> {
    await this.#store.prepare();
    this.#restoreKnown(await this.#store.knownFiles());
    await this.#folders.list();
  }

  /** The store of the fleet has been asked for: takes over what the fleet serves. Call this between `prepare` and `start`. */
  join(): Promise<void> {
    return this.#member.open();
  }

  /** A file that has vanished while no proxy ran counts as one that vanishes now: it may be a guard's. */
  #restoreKnown(known: readonly (readonly [place: string, file: string])[]): void {
    const gone = this.#removals.restore(known);
    const names = gone.map((file) => basename(dirname(file)));
    this.#catalog.noteFolders(names.filter((name) => this.#config.isDatabase(name)));
    const graceMs = this.#config.settings.user_function_removal_grace;
    for (const file of gone) logGone(this.#log, file, graceMs);
  }

  /**
   * Finds all tenants, and loads them ahead if they are few (user_function_preload). Calls of a tenant wait until its functions
   * are loaded; a broken file is only logged.
   * @returns when everything has been loaded, or refused
   */
  async start(): Promise<void> {
    // an error here will recur, and be reported, where the scripts are needed
    await prepareScripts().catch(() => {});
    for (const [i, name] of this.#config.entries.entries()) {
      // unless a reload has removed it meanwhile
      if (this.#config.isDatabase(name)) this.#catalog.tenantOf(name);
      // lets clients be served
      if (i % CATALOG.namesPerTurn === 0) await nextTurn();
    }
    this.#areFound = true;
    if (this.#catalog.tenants.some(({ isolation }) => isolation === 'process')) this.#housing.prepare();
    this.#idle.begin();
    this.#preload();
    this.#store.tidy([...this.#config.tenants.keys(), ...this.#catalog.tenants.map(({ owner }) => owner)]);
    await Promise.all([this.#folders.refresh(), ...this.#catalog.tenants.map((tenant) => tenant.idle())]);
  }

  /** The tenant whose functions apply to a database's clients; null: no functions apply. */
  tenantOf(name: string): Tenant | null {
    return this.#catalog.tenantOf(name);
  }

  /** Whether an entry's clients may do things that its functions can't judge (user_functions_allow). */
  allows(entry: string, what: Unjudged): boolean {
    return this.#targets.allows(entry, what);
  }

  /** RELOAD: rule files that are missing now count as removed. Call this before `reconfigure`. */
  confirmRemovals(): void {
    // a file that has just vanished may not have been noticed yet
    this.#catalog.refresh();
    this.#catalog.checkNoted();
    for (const file of this.#removals.confirm()) logConfirmed(this.#log, file);
  }

  /**
   * Takes over other options and databases, and looks at all files again.
   * @returns when everything that can be loaded has been, or after the longest wait
   */
  async reconfigure(
    settings: FunctionSettings,
    databases: Iterable<DatabaseFunctions>,
    fallback: DatabaseFunctions | null = null,
    tenantConfigs: TenantConfigs = NO_TENANTS,
  ): Promise<void> {
    const last = this.#config;
    const next = new FunctionsConfig(settings, databases, fallback, tenantConfigs);
    this.#config = next;
    if (settings.user_functions_dir !== last.settings.user_functions_dir) this.#folders.forget();
    this.#targets.configure(next);
    this.#memory.resize(settings.user_function_cache * MB);
    this.#budgets.configure(next);
    const { tenants } = this.#catalog;
    const areSame = isDeepStrictEqual(
      [last.databases, last.fallback, last.tenants, last.tenantDefaults],
      [next.databases, next.fallback, next.tenants, next.tenantDefaults],
    );
    if (!areSame) for (const tenant of tenants) tenant.judgeAgain();
    const retireHosts = this.#housing.configure(next);
    const moved = Promise.all(tenants.map((tenant) => this.#configure(tenant)));
    if (retireHosts !== null) void moved.then(retireHosts);
    this.#catalog.refresh();
    this.#idle.begin();
    this.#preload();
    await reloadAll(this.#reloadParts, Promise.all([moved, this.#folders.refresh()]));
  }

  get #reloadParts(): ReloadParts {
    return { catalog: this.#catalog, housing: this.#housing, log: this.#log };
  }

  /** Gives a tenant its settings, and the host that these ask for. */
  async #configure(tenant: Tenant): Promise<void> {
    this.administration.applyPause(tenant);
    const { isolation, owner, files, id } = tenant;
    const settings = this.#settingsOf(owner, files, this.#catalog.anEntryOf(tenant));
    const host = tenant.isNeeded ? this.#housing.of(id, settings.isolation) : null;
    this.administration.applyPause(tenant);
    await tenant.configure(settings, host);
    // unless its version could not be loaded there, or a later RELOAD has changed that back
    if (host !== null && isolation !== tenant.isolation && tenant.version?.host === host)
      this.#housing.leave(id, isolation);
  }

  /** A client has logged in. @param identity texts by which it is the same client on another proxy */
  noteClient(id: number, identity: readonly string[]): void {
    if (this.#member.isOn) this.#clientKeys.note(id, identity);
  }

  forgetClient(id: number): void {
    this.#clientKeys.forget(id);
  }

  /** The state of every tenant: plain data of this moment. */
  observe(): FunctionsSnapshot {
    const databases = this.#catalog.databases();
    return { tenants: this.#catalog.tenants.map((tenant) => tenant.observe(databases.get(tenant) ?? [])) };
  }

  /** Whether a canary of any tenant is running. */
  get hasCanaries(): boolean {
    return this.#canaries.size > 0;
  }

  observeRollouts(owner: string): RolloutSnapshot[] {
    return this.administration.rolloutsOf(owner).map((rollout) => rollout.observe());
  }

  /** Another process takes over: it goes on with what canaries have counted. */
  handOver(): void {
    for (const { rollout } of this.#catalog.tenants) rollout.keep();
    this.#store.held.handOver(true);
  }

  /** The other process has ended before it served. */
  takeBack(): void {
    this.#store.held.handOver(false);
  }

  async stop(): Promise<void> {
    await this.#member.close();
    this.#folders.close();
    this.#changes.close();
    this.#idle.stop();
    this.#removals.stop();
    this.#catalog.close();
    await this.#housing.stop();
    await this.#store.flush();
  }

  #newContext(): TenantContext {
    return {
      log: this.#log,
      clock: this.#clock,
      steadyClock: monotonicClock,
      canaries: this.#canaries,
      clientKeys: this.#clientKeys,
      rolloutLimits: (owner) => rolloutLimits(this.#config.settings, this.#config.tenantConfig(owner)),
      builder: this.#bundlers,
      disk: { trailOf, isThere, isSearched: (file) => this.#folders.isSearched(file), next: nextFiles },
      housing: this.#housing,
      budgets: this.#budgets,
      store: this.#store,
      fleet: this.#member,
      lines: this.#lines,
      tap: this.tap,
      looks: new Turns(1),
      targets: this.#targets,
      memory: this.#memory,
      random: () => Math.random(),
      versionIds: new IdCounter(),
      generations: new IdCounter(),
      onTrail: (owner, trail) => this.#changes.follow(owner, trail),
      onPlaces: (owner, paths) => this.#changes.followPlaces(owner, paths),
      onBuilt: () => this.#catalog.handOver(),
    };
  }

  #newMember(shared: SharedStore): Member {
    const { user_functions_state_dir: folder } = this.#config.settings;
    const log = this.#log;
    const store = this.#store;
    return new Member({
      shared,
      log,
      exchange: new Exchange({
        shared,
        store,
        check: (owner, artifact) => this.#bundlers.received(owner, artifact),
      }),
      kept: new KeptValues(folder === '' ? null : folder, (error) => logNotKept(log, error)),
      rules: new TenantRules({
        config: () => this.#config,
        catalog: () => this.#catalog,
        store,
        targets: this.#targets,
        applyPauses: (owner) => this.administration.applyPauses(owner),
        lent: this.#lent,
        onLent: (owner) => {
          if (this.#areFound) this.#catalog.refresh(this.#config.databasesOf(owner));
        },
      }),
    });
  }

  /** @param entry one whose clients the functions judge */
  #newTenant(identity: Identity, files: SourceFiles, entry: string): Tenant {
    const { id, owner } = identity;
    const settings = this.#settingsOf(owner, files, entry);
    const tenant: Tenant = new Tenant({
      identity,
      files,
      settings,
      host: () => this.#housing.ofNew(id, owner, tenant.isolation),
      context: this.#context,
    });
    this.administration.applyPause(tenant);
    if (this.#targets.isMixed(files)) tenant.warnOfMixedRights();
    return tenant;
  }

  /** Whether tenants are loaded before a call arrives. */
  get #arePreloaded(): boolean {
    const { user_function_preload: option } = this.#config.settings;
    if (option !== 'auto') return option === '1';
    return this.#areFound && this.#catalog.tenants.length <= IDLE.maxPreloaded;
  }

  #preload(): void {
    if (this.#arePreloaded) for (const tenant of this.#catalog.tenants) tenant.load();
  }

  /** Its author hears of mistakes at once, whether or not it is loaded. */
  #noteFiles(tenant: Tenant, isNew: boolean): void {
    this.administration.applyPause(tenant);
    if (isNew) this.#member.noteSet(tenant);
    if (tenant.isNeeded) void tenant.reload();
    else if (this.#arePreloaded) tenant.load();
    else if (this.#areFound || !isNew) void tenant.look();
  }

  /** @param owner the tenant's name */
  #settingsOf(owner: string, files: SourceFiles, entry: string | null): TenantSettings {
    const config = this.#config.tenantConfig(owner, entry);
    return tenantSettings(this.#config.settings, config, this.#targets.shown(files, entry));
  }

  #gone(tenant: Tenant, isReplaced: boolean): void {
    const { id, owner, files } = tenant;
    this.#changes.forget(id);
    this.#housing.release(id);
    this.#store.forget(tenant);
    // somebody has removed the files on purpose, and not the tenant
    if (!isReplaced && this.#config.isOwner(owner)) this.#member.noteRemoved(tenant);
    // another tenant has its files, or other files take precedence over them
    if (isReplaced && entriesOf(files).every(isThere)) return;
    logRemoved(this.#log, tenant);
    if (!this.#config.tenants.has(owner) || this.#catalog.ownedBy(owner).length > 0) return;
    logWithoutFunctions(this.#log, owner);
  }
}
