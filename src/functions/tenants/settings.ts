/** The part of the configuration that user functions follow, and what each tenant is given of it. */
import { basename, dirname } from 'node:path';
import type { TenantConfig } from '../../config/config.ts';
import type { Unjudged } from '../../config/options.ts';
import { NO_DEFAULTS, OPERATOR } from '../../config/tenants.ts';
import { areOperators, ownFolder, type DatabaseFunctions, type SourceSettings } from '../build/sources.ts';
import {
  OPTION_NAMES,
  type FailurePolicy,
  type LimitPolicy,
  type OutagePolicy,
  type SettingNames,
} from '../decide/policy.ts';
import { JOURNAL, SHADOW } from '../limits.ts';

/** The options of [pgbouncer] that concern user functions. */
export interface FunctionSettings extends SourceSettings {
  /** ms */
  readonly user_function_timeout: number;
  /** MB */
  readonly user_function_memory_limit: number;
  /** MB for all tenants; 0: nothing is remembered */
  readonly user_function_cache: number;
  /** ms of processor time in a second; 0: no limit */
  readonly user_function_cpu_limit: number;
  /** ms of processor time in a second */
  readonly user_function_shadow_limit: number;
  /** percent */
  readonly canary_tolerance: number;
  /** ms */
  readonly canary_duration: number;
  readonly user_function_isolation: 'inline' | 'process';
  /** most processes for calls */
  readonly user_function_hosts: number;
  readonly user_function_tenants_per_host: number;
  /** MB */
  readonly user_function_host_memory: number;
  readonly user_function_preload: 'auto' | '0' | '1';
  /** ms; 0: never */
  readonly user_function_idle_timeout: number;
  /** bytes */
  readonly user_function_max_query: number;
  /** characters */
  readonly user_function_max_result: number;
  readonly routing_rules_on_failure: FailurePolicy;
  /** of a query that could not be judged because the platform failed */
  readonly user_function_over_limit: LimitPolicy;
  readonly user_function_unavailable: OutagePolicy;
  readonly rewrite_query_on_failure: FailurePolicy;
  readonly routing_rules_disconnect_on_failure: boolean;
  readonly rewrite_query_disconnect_on_failure: boolean;
  readonly user_functions_allow: readonly Unjudged[];
  /** how long rules stay active after their file has vanished, in ms */
  readonly user_function_removal_grace: number;
  /** absolute path of the folder where versions are kept; '': none */
  readonly user_functions_state_dir: string;
}

const MB = 1024 * 1024;

/** Stands for all database names that have neither an entry nor a folder of rules. */
export const ANY = '*';

/** The section [tenants]. */
export interface TenantConfigs {
  readonly tenants: ReadonlyMap<string, TenantConfig>;
  /** for tenants that have no entry */
  readonly tenantDefaults: TenantConfig;
}

export const NO_TENANTS: TenantConfigs = { tenants: new Map(), tenantDefaults: NO_DEFAULTS };

/** A configuration, replaced as a whole by RELOAD and SET. */
export class FunctionsConfig {
  readonly settings: FunctionSettings;
  /** entries of [databases], by name */
  readonly databases: ReadonlyMap<string, DatabaseFunctions>;
  /** the `*` entry, which applies to all names that have no entry; null: none */
  readonly fallback: DatabaseFunctions | null;
  /** entries of [tenants], by name */
  readonly tenants: ReadonlyMap<string, TenantConfig>;
  /** for tenants that have no entry */
  readonly tenantDefaults: TenantConfig;
  /** by database, the entry of [tenants] that names it */
  readonly #owners: ReadonlyMap<string, TenantConfig>;
  /** by the files that options name, the first entry that names them and is in no tenant */
  readonly #firstWith = new Map<string, string>();

  constructor(
    settings: FunctionSettings,
    databases: Iterable<DatabaseFunctions>,
    fallback: DatabaseFunctions | null,
    { tenants, tenantDefaults }: TenantConfigs = NO_TENANTS,
  ) {
    this.tenants = tenants;
    this.tenantDefaults = tenantDefaults;
    this.#owners = new Map(
      [...tenants.values()].flatMap((tenant) => tenant.databases.map((name) => [name, tenant] as const)),
    );
    this.settings = settings;
    this.databases = new Map([...databases].map((database) => [database.name, database]));
    this.fallback = fallback;
    for (const [name, options] of [
      ...this.databases,
      ...(fallback === null ? [] : [[ANY, fallback] as const]),
    ]) {
      const pair = pairOf(options);
      if (!this.#owners.has(name) && !this.#firstWith.has(pair)) this.#firstWith.set(pair, name);
    }
  }

  /** Names of all entries, `*` included, and of tenants' databases that only `*` knows. */
  get entries(): string[] {
    const names = new Set([...this.databases.keys(), ...this.#owners.keys()]);
    return [...names, ...(this.fallback === null ? [] : [ANY])];
  }

  /** The configuration for a database of this name; undefined: no such database. */
  databaseOf(name: string): DatabaseFunctions | undefined {
    return this.databases.get(name) ?? this.fallback ?? undefined;
  }

  /** Whether clients may log in to a database of this name. */
  isDatabase(name: string): boolean {
    return this.fallback !== null || this.databases.has(name);
  }

  /** Whether a name is an entry of [databases], `*` included, or a tenant's database. */
  isEntry(name: string): boolean {
    return name === ANY || this.databases.has(name) || this.#owners.has(name);
  }

  /** The entry of [tenants] that a database belongs to; undefined: it is in none. */
  tenantOf(database: string): TenantConfig | undefined {
    return this.#owners.get(database);
  }

  /** The databases that a tenant may have functions for; undefined: all. */
  databasesOf(tenant: string): readonly string[] | undefined {
    return tenant === OPERATOR ? undefined : (this.tenants.get(tenant)?.databases ?? [tenant]);
  }

  /**
   * The configuration of a tenant, by its name: its entry, or the defaults.
   * @param database one that its functions judge; null: none
   */
  tenantConfig(tenant: string, database: string | null = null): TenantConfig {
    // options of [pgbouncer] are those of the operator's own functions
    if (tenant === OPERATOR) return NO_DEFAULTS;
    // a tenant that has another name now serves until its functions have been loaded under that name
    const heir = database === null ? undefined : this.tenantOf(database);
    return this.tenants.get(tenant) ?? heir ?? this.tenantDefaults;
  }

  /** Whether a folder of this name in user_functions_dir may belong to a tenant or a database. */
  isOwner(name: string): boolean {
    return this.tenants.has(name) || this.isDatabase(name);
  }

  /** The folder of a database's own functions, or of its tenant's; null: it can have none. */
  folderOf(database: string): string | null {
    const tenant = this.tenantOf(database);
    if (tenant !== undefined) return tenant.functions_dir ?? ownFolder(this.settings, tenant.name);
    // the folder of that name is the tenant's, which the database does not belong to
    return this.tenants.has(database) ? null : ownFolder(this.settings, database);
  }

  /** The folder of a tenant's own functions, by the tenant's name; null: it can have none. */
  folderOfTenant(name: string): string | null {
    return this.tenants.get(name)?.functions_dir ?? ownFolder(this.settings, name);
  }

  /** Databases whose own folder, or whose tenant's, this is. @param folder absolute */
  databasesIn(folder: string): string[] {
    const named = [...this.tenants.values()].filter((tenant) => tenant.functions_dir === folder);
    const names = [
      ...named.flatMap(({ databases }) => databases),
      ...(this.databasesOf(basename(folder)) ?? []),
    ];
    return [...new Set(names)].filter((name) => this.isDatabase(name) && this.folderOf(name) === folder);
  }

  /** The policies for the functions of an entry of [tenants]. */
  policiesOfTenant(name: string): Policies {
    return tenantSettings(this.settings, this.tenants.get(name) ?? this.tenantDefaults, []);
  }

  /** The policies for functions in a file that no client has used yet. */
  policiesOf(file: string): Policies {
    const folder = dirname(file);
    const folderOf = ({ name, functions_dir: named }: TenantConfig): string | null =>
      named ?? ownFolder(this.settings, name);
    const tenant = [...this.tenants.values()].find((each) => folderOf(each) === folder);
    const general = areOperators(this.settings, { routing: file, rewrite: null })
      ? NO_DEFAULTS
      : this.tenantDefaults;
    return tenantSettings(this.settings, tenant ?? general, []);
  }

  /** The first entry of [databases] whose options name the same files as a database's; `*` where those are its options. */
  firstWithFilesOf(database: string): string {
    const options = this.databaseOf(database);
    return (options && this.#firstWith.get(pairOf(options))) ?? database;
  }

  /** Folders that entries of [tenants] name, absolute. */
  get namedFolders(): string[] {
    return [...new Set([...this.tenants.values()].flatMap(({ functions_dir: folder }) => folder ?? []))];
  }

  /** The highest memory limit of any tenant, in MB. */
  get memoryLimitMb(): number {
    const { user_function_memory_limit: general } = this.settings;
    const configs = [this.tenantDefaults, ...this.tenants.values()];
    return configs.reduce((most, { memory_limit: limit }) => Math.max(most, limit ?? 0), general);
  }
}

function pairOf({ routing_rules_file: routing, rewrite_query_file: rewrite }: DatabaseFunctions): string {
  return JSON.stringify([routing, rewrite]);
}

/** How a tenant's candidate is compared with the version that serves. A change takes effect at once, and loads nothing. */
export interface RolloutLimits {
  /** processor time for shadowing, in ms per second */
  readonly shadowMs: number;
  /** percent */
  readonly tolerance: number;
  readonly durationMs: number;
}

/** @param tenant its keys take precedence over the options */
export function rolloutLimits(settings: FunctionSettings, tenant: TenantConfig): RolloutLimits {
  const shadowMs = tenant.shadow_limit ?? settings.user_function_shadow_limit;
  const cpuMs = tenant.cpu_limit ?? settings.user_function_cpu_limit;
  return {
    // a part of the tenant's own budget, where there is one
    shadowMs: cpuMs > 0 ? Math.min(shadowMs, cpuMs * SHADOW.largestPart) : shadowMs,
    tolerance: tenant.canary_tolerance ?? settings.canary_tolerance,
    durationMs: tenant.canary_duration ?? settings.canary_duration,
  };
}

/** What becomes of a query whose function fails. */
export type Policies = Pick<TenantSettings, 'onRoutingFailure' | 'onRewriteFailure'>;

/** The settings of one tenant. A change of any of them is a new object. */
export interface TenantSettings {
  /** for one call, in ms */
  readonly timeoutMs: number;
  readonly memoryLimitMb: number;
  readonly maxQueryBytes: number;
  /** for remembered decisions */
  readonly cacheBytes: number;
  /** characters */
  readonly maxResult: number;
  readonly isolation: 'inline' | 'process';
  /** lines that may be printed to the log in a second */
  readonly maxPrinted: number;
  readonly onRoutingFailure: FailurePolicy;
  readonly onRewriteFailure: FailurePolicy;
  readonly onOutage: OutagePolicy;
  readonly onOverLimit: LimitPolicy;
  readonly names: SettingNames;
  /** names in ctx.databases, unless a call brings its own */
  readonly databases: readonly string[];
}

/**
 * @param tenant its keys take precedence over the options
 * @param databases names that ctx.databases shows
 */
export function tenantSettings(
  settings: FunctionSettings,
  tenant: TenantConfig,
  databases: readonly string[],
): TenantSettings {
  return {
    timeoutMs: tenant.timeout ?? settings.user_function_timeout,
    memoryLimitMb: tenant.memory_limit ?? settings.user_function_memory_limit,
    maxQueryBytes: settings.user_function_max_query,
    cacheBytes: MB * (tenant.cache ?? settings.user_function_cache / 4),
    maxResult: settings.user_function_max_result,
    isolation: tenant.isolation ?? settings.user_function_isolation,
    maxPrinted: tenant.log_limit ?? JOURNAL.maxPrinted,
    onRoutingFailure:
      tenant.on_routing_failure ??
      (settings.routing_rules_disconnect_on_failure ? 'disconnect' : settings.routing_rules_on_failure),
    onRewriteFailure:
      tenant.on_rewrite_failure ??
      (settings.rewrite_query_disconnect_on_failure ? 'disconnect' : settings.rewrite_query_on_failure),
    onOutage: settings.user_function_unavailable,
    onOverLimit: settings.user_function_over_limit,
    names: namesFor(tenant),
    databases,
  };
}

function namesFor(tenant: TenantConfig): SettingNames {
  const { timeout, memory, onRewriteFailure, onRoutingFailure } = OPTION_NAMES;
  return {
    timeout: tenant.timeout === null ? timeout : 'timeout in [tenants]',
    memory: tenant.memory_limit === null ? memory : 'memory_limit in [tenants]',
    onRewriteFailure:
      tenant.on_rewrite_failure === null ? onRewriteFailure : 'on_rewrite_failure in [tenants]',
    onRoutingFailure:
      tenant.on_routing_failure === null ? onRoutingFailure : 'on_routing_failure in [tenants]',
  };
}
