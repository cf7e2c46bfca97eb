/**
 * The entrance to user functions. A database's clients ask its tenant (tenants/tenant.ts) about a query; everything else here
 * starts, configures, observes and stops the parts below.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Unjudged } from '../config/options.ts';
import { systemClock } from '../platform/clock.ts';
import type { FunctionsSnapshot } from '../telemetry/snapshot.ts';
import { IdCounter } from '../telemetry/id-counter.ts';
import type { SourceFiles } from './build/bundle-job.ts';
import { Bundlers } from './build/bundlers.ts';
import { printable } from './build/places.ts';
import { entriesOf, isThere, nameOf, type DatabaseFunctions } from './build/sources.ts';
import { trailOf } from './build/trail.ts';
import { CATALOG } from './limits.ts';
import { prepareScripts } from './sandbox/programs.ts';
import { Catalog } from './tenants/catalog.ts';
import { Changes } from './tenants/changes.ts';
import type { TenantContext } from './tenants/context.ts';
import { Folders } from './tenants/folders.ts';
import { Housing } from './tenants/housing.ts';
import type { FunctionLog } from './tenants/journal.ts';
import { reloadAll } from './tenants/reload.ts';
import { Removals } from './tenants/removals.ts';
import {
  FunctionsConfig,
  tenantSettings,
  type FunctionSettings,
  type TenantSettings,
} from './tenants/settings.ts';
import { Targets } from './tenants/targets.ts';
import { Tenant } from './tenants/tenant.ts';

export { GO, type Decision } from './decide/policy.ts';
export type { FunctionLog } from './tenants/journal.ts';
export type { FunctionSettings } from './tenants/settings.ts';
export type { FunctionCall, Tenant } from './tenants/tenant.ts';

export interface FunctionsOptions {
  readonly settings: FunctionSettings;
  readonly databases: Iterable<DatabaseFunctions>;
  readonly fallback?: DatabaseFunctions | null;
  readonly log: FunctionLog;
  /** the entry of [databases] that a name leads to; null: no such database */
  readonly entryOf: (name: string) => string | null;
}

export class Functions {
  readonly #log: FunctionLog;
  #config: FunctionsConfig;
  readonly #targets: Targets;
  readonly #housing: Housing;
  readonly #removals: Removals;
  readonly #folders: Folders;
  readonly #catalog: Catalog;
  readonly #changes: Changes;
  readonly #context: TenantContext;

  constructor(options: FunctionsOptions) {
    const { settings, databases, fallback = null, log, entryOf } = options;
    const config = (): FunctionsConfig => this.#config;
    this.#log = log;
    this.#config = new FunctionsConfig(settings, databases, fallback);
    this.#targets = new Targets(this.#config, entryOf);
    this.#housing = new Housing({
      settings,
      log,
      servedBy: (versionId) => this.#catalog.servedBy(versionId),
      isThere: (tenant) => this.#catalog.has(tenant),
    });
    this.#removals = new Removals({
      settings: () => this.#config.settings,
      using: (file) => this.#catalog.using(file),
      onRemoved: () => this.#catalog.refresh(),
    });
    this.#folders = new Folders({
      config,
      clock: systemClock,
      onPlaces: (trail, matters) => this.#changes.followFolders(trail, matters),
      onNewPlaces: () => this.#catalog.refresh(),
      onListed: (names) => this.#catalog.noteFolders(names),
    });
    this.#catalog = new Catalog({
      config,
      folders: this.#folders,
      find: this.#removals.find,
      hasLostFiles: (tenant) => this.#removals.concerns(tenant),
      newTenant: (id, files, entry) => this.#newTenant(id, files, entry),
      onGone: (tenant, isReplaced) => this.#gone(tenant, isReplaced),
    });
    this.#changes = new Changes({ catalog: this.#catalog, folders: this.#folders, log });
    this.#context = this.#newContext();
  }

  /** Notes which rules there are before clients are served: rules that vanish after that are missed. */
  async prepare(): Promise<void> {
    await this.#folders.list();
  }

  /**
   * Begins to load all tenants. Calls of a tenant wait until its functions are loaded; a broken file is only logged.
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
    for (const file of this.#removals.confirm())
      this.#log.info({ event: 'rules_removal' }, `removal of ${printable(file)} confirmed by RELOAD`);
  }

  /**
   * Takes over other options and databases, and looks at all files again.
   * @returns when everything that can be loaded has been, or after the longest wait
   */
  async reconfigure(
    settings: FunctionSettings,
    databases: Iterable<DatabaseFunctions>,
    fallback: DatabaseFunctions | null = null,
  ): Promise<void> {
    const last = this.#config;
    const next = new FunctionsConfig(settings, databases, fallback);
    this.#config = next;
    if (settings.user_functions_dir !== last.settings.user_functions_dir) this.#folders.forget();
    this.#targets.configure(next);
    const { tenants } = this.#catalog;
    const areSame = isDeepStrictEqual([last.databases, last.fallback], [next.databases, next.fallback]);
    if (!areSame) for (const tenant of tenants) tenant.judgeAgain();
    const retireHosts = this.#housing.configure(settings);
    const moved = Promise.all(
      tenants.map((tenant) => {
        const entry = this.#catalog.anEntryOf(tenant);
        return tenant.configure(this.#settingsOf(tenant.files, entry), this.#housing.of(tenant.id));
      }),
    );
    if (retireHosts !== null) void moved.then(retireHosts);
    this.#catalog.refresh();
    const parts = { catalog: this.#catalog, housing: this.#housing, log: this.#log };
    await reloadAll(parts, Promise.all([moved, this.#folders.refresh()]));
  }

  /** The state of every tenant: plain data of this moment. */
  observe(): FunctionsSnapshot {
    const databases = this.#catalog.databases();
    return { tenants: this.#catalog.tenants.map((tenant) => tenant.observe(databases.get(tenant) ?? [])) };
  }

  async stop(): Promise<void> {
    this.#folders.close();
    this.#changes.close();
    this.#removals.stop();
    this.#catalog.close();
    await this.#housing.stop();
  }

  #newContext(): TenantContext {
    const bundlers = new Bundlers();
    return {
      log: this.#log,
      clock: systemClock,
      builder: bundlers,
      disk: { trailOf, isThere, isSearched: (file) => this.#folders.isSearched(file) },
      housing: this.#housing,
      targets: this.#targets,
      versionIds: new IdCounter(),
      generations: new IdCounter(),
      onTrail: (tenantId, trail) => this.#changes.follow(tenantId, trail),
      onBuilt: () => this.#catalog.handOver(),
    };
  }

  /** @param entry one whose clients the functions judge */
  #newTenant(id: string, files: SourceFiles, entry: string): Tenant {
    const tenant = new Tenant({
      id,
      files,
      settings: this.#settingsOf(files, entry),
      host: this.#housing.ofNew(id, nameOf(files)),
      context: this.#context,
    });
    if (this.#targets.isMixed(files)) tenant.warnOfMixedRights();
    return tenant;
  }

  #settingsOf(files: SourceFiles, entry: string | null): TenantSettings {
    return tenantSettings(this.#config.settings, this.#targets.shown(files, entry));
  }

  #gone(tenant: Tenant, isReplaced: boolean): void {
    const { id, name, files } = tenant;
    this.#changes.forget(id);
    this.#housing.release(id);
    // another tenant has its files, or other files take precedence over them
    if (isReplaced && entriesOf(files).every(isThere)) return;
    this.#log.info({ event: 'rules_removed', tenant: name }, `user functions of ${name} removed`);
  }
}
