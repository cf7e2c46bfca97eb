/** The section [tenants]: the owners of user functions, their databases, limits and rights. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { printable } from '../telemetry/printable.ts';
import type { DatabaseConfig, TenantConfig } from './config.ts';
import { asOption, asText, plain, readKeys, type EntryContext, type Key } from './connection-string.ts';
import { formatPlace, nearestHint, type Diagnostics, type Place } from './diagnostics.ts';
import { int, splitList } from './option.ts';
import { OPTIONS } from './options.ts';

/** The tenant that owns the operator's functions. No entry may have this name. */
export const OPERATOR = '(operator)';

/** Most lines a second that `log_limit` may allow. */
const MAX_LOG_LIMIT = 10_000;

/** The keys of an entry of [tenants]. */
export const TENANT_KEYS: Readonly<Record<string, Key>> = {
  admin_users: plain(splitList),
  cache: plain(asOption(OPTIONS.user_function_cache.kind)),
  canary_duration: plain(asOption(OPTIONS.canary_duration.kind)),
  canary_tolerance: plain(asOption(OPTIONS.canary_tolerance.kind)),
  cpu_limit: plain(asOption(OPTIONS.user_function_cpu_limit.kind)),
  databases: plain(splitList),
  functions_dir: plain(asText),
  isolation: plain(asOption(OPTIONS.user_function_isolation.kind)),
  log_limit: plain(asOption(int(0, MAX_LOG_LIMIT))),
  memory_limit: plain(asOption(OPTIONS.user_function_memory_limit.kind)),
  on_rewrite_failure: plain(asOption(OPTIONS.rewrite_query_on_failure.kind)),
  on_routing_failure: plain(asOption(OPTIONS.routing_rules_on_failure.kind)),
  shadow_limit: plain(asOption(OPTIONS.user_function_shadow_limit.kind)),
  targets: plain(splitList),
  timeout: plain(asOption(OPTIONS.user_function_timeout.kind)),
};

/** Keys that only make sense for one tenant. */
const NOT_FOR_ALL = ['databases', 'functions_dir'] as const;

/** What holds where neither an entry nor `*` says otherwise: the options of [pgbouncer]. */
export const NO_DEFAULTS: TenantConfig = Object.freeze({
  name: '*',
  databases: [],
  functions_dir: null,
  targets: [],
  timeout: null,
  memory_limit: null,
  cache: null,
  cpu_limit: null,
  isolation: null,
  on_routing_failure: null,
  on_rewrite_failure: null,
  admin_users: [],
  shadow_limit: null,
  canary_tolerance: null,
  canary_duration: null,
  log_limit: null,
});

/** One line of [tenants], before the defaults are filled in. */
export interface TenantEntry {
  readonly name: string;
  readonly place: Place;
  /** only the keys that the line names */
  readonly given: Partial<TenantConfig>;
}

/** An entry of [tenants]; functions_dir is relative to `folder`. Null when it is no entry at all. */
export function parseTenant(
  name: string,
  value: string,
  folder: string,
  context: EntryContext,
): TenantEntry | null {
  const { diagnostics, place } = context;
  if (name === OPERATOR) {
    diagnostics.add(place, `tenant name "${OPERATOR}" is reserved`, {
      option: printable(name),
      hint: "the options of [pgbouncer] are those of the operator's own functions",
    });
    return null;
  }
  const keys = readKeys(value, TENANT_KEYS, printable(name), context);
  if (keys === null) return null;
  const given: { -readonly [K in keyof TenantConfig]?: TenantConfig[K] } = Object.fromEntries(keys);
  if (given.functions_dir != null) given.functions_dir = resolve(folder, given.functions_dir);
  const entry = { name, place, given };
  if (name === '*') checkDefaults(entry, diagnostics);
  else checkEntry(entry, diagnostics);
  return entry;
}

function checkDefaults({ name, place, given }: TenantEntry, diagnostics: Diagnostics): void {
  for (const key of NOT_FOR_ALL)
    if (given[key] !== undefined)
      diagnostics.add(place, `${key} belongs to one tenant, and * sets defaults for all`, {
        option: printable(name),
        hint: 'move it to the entry of that tenant',
      });
}

function checkEntry({ name, place, given }: TenantEntry, diagnostics: Diagnostics): void {
  const complain = (message: string, hint: string): void =>
    diagnostics.add(place, message, { option: printable(name), hint });
  if ((given.databases ?? []).length === 0)
    complain('a tenant without databases', 'name them: databases=NAME,NAME');
  const folder = given.functions_dir;
  if (folder == null) return;
  const problem = folderProblem(folder);
  if (problem !== null)
    complain(`functions_dir: "${printable(folder)}" ${problem}`, 'create it, or correct the path');
}

/** Why a path can't be a folder of functions; null: it can. */
function folderProblem(path: string): string | null {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true ? null : 'is not a folder';
  } catch (error) {
    return `can't be examined: ${(error as NodeJS.ErrnoException).code}`;
  }
}

/** All entries with the defaults of `*`, and these defaults. A later line for a name replaces an earlier one. */
export function tenantsOf(entries: ReadonlyMap<string, TenantEntry>): {
  tenants: ReadonlyMap<string, TenantConfig>;
  tenantDefaults: TenantConfig;
} {
  const tenantDefaults = Object.freeze({ ...NO_DEFAULTS, ...entries.get('*')?.given });
  const tenants = new Map<string, TenantConfig>();
  for (const { name, given } of entries.values())
    if (name !== '*') tenants.set(name, Object.freeze({ ...tenantDefaults, ...given, name }));
  return { tenants, tenantDefaults };
}

/** Complains about tenants that claim databases which do not exist or belong to another one, and about unknown targets. */
export function checkTenants(
  entries: ReadonlyMap<string, TenantEntry>,
  databases: ReadonlyMap<string, DatabaseConfig>,
  targetCheck: TargetCheck,
  diagnostics: Diagnostics,
): void {
  const owners = new Map<string, TenantEntry>();
  for (const entry of entries.values()) {
    for (const database of new Set(entry.given.databases)) {
      checkDatabase(entry, database, { databases, targetCheck, diagnostics });
      const other = owners.get(database);
      if (other === undefined) owners.set(database, entry);
      else
        diagnostics.add(
          entry.place,
          `database "${printable(database)}" belongs to the tenant ${printable(other.name)} already`,
          {
            option: printable(entry.name),
            hint: `name it here or in ${formatPlace(other.place)}, not in both`,
          },
        );
    }
    const { name, place, given } = entry;
    targetCheck.check({ what: 'targets', option: printable(name), place, targets: given.targets ?? [] });
  }
  for (const { name, place, given } of entries.values()) {
    // an entry without databases has its own complaint
    const hasDatabases = (given.databases ?? []).length > 0;
    if (hasDatabases && databases.has(name) && !owners.has(name))
      diagnostics.add(place, `the database "${printable(name)}" has this tenant's name and is in no tenant`, {
        option: printable(name),
        hint: 'add it to databases=, or give the tenant another name',
      });
  }
}

function checkDatabase(
  { name, place }: TenantEntry,
  database: string,
  {
    databases,
    targetCheck,
    diagnostics,
  }: { databases: ReadonlyMap<string, DatabaseConfig>; targetCheck: TargetCheck; diagnostics: Diagnostics },
): void {
  if (database === '*')
    diagnostics.add(place, 'databases=* is not possible: a tenant has databases of its own', {
      option: printable(name),
      hint: 'functions for all other databases lie in user_functions_dir itself',
    });
  else if (targetCheck.isPart(database))
    diagnostics.add(place, `databases: "${printable(database)}" is a part of a cluster`, {
      option: printable(name),
      hint: 'name the entry of the cluster: its functions judge the clients of all parts',
    });
  else if (!databases.has(database) && !databases.has('*'))
    diagnostics.add(place, `databases: no such database: "${printable(database)}"`, {
      option: printable(name),
      hint: nearestHint(database, databases.keys()) ?? 'add it to [databases]',
    });
}

/** A list of databases that routing functions may name, and the line that it stands in. */
interface Targets {
  /** the key */
  readonly what: string;
  /** the entry */
  readonly option: string;
  readonly place: Place;
  readonly targets: readonly string[];
}

/**
 * Checks lists of targets. They may hold everything that a routing function could return: entries, and parts of their
 * clusters.
 */
export class TargetCheck {
  readonly #databases: ReadonlyMap<string, DatabaseConfig>;
  readonly #readers: ReadonlySet<string | null>;
  readonly #diagnostics: Diagnostics;

  constructor(databases: ReadonlyMap<string, DatabaseConfig>, diagnostics: Diagnostics) {
    this.#databases = databases;
    this.#readers = new Set([...databases.values()].map((each) => each.reader_database));
    this.#diagnostics = diagnostics;
  }

  check({ what, option, place, targets }: Targets): void {
    for (const target of targets) {
      if (this.#isTarget(target)) continue;
      const hint = nearestHint(target, this.#databases.keys());
      this.#diagnostics.add(place, `${what}: no such database: "${printable(target)}"`, { option, hint });
    }
  }

  /** Whether a name stands for a part of a cluster: clients that use it belong to the cluster's entry. */
  isPart(name: string): boolean {
    const databases = this.#databases;
    if (databases.has(name)) return false;
    if (this.#readers.has(name)) return true;
    const at = name.lastIndexOf('@');
    const owner = at > 0 ? (databases.get(name.slice(0, at)) ?? databases.get('*')) : undefined;
    return owner !== undefined && owner.topology_query !== null;
  }

  #isTarget(name: string): boolean {
    return name === '*' || this.#databases.has(name) || this.#databases.has('*') || this.isPart(name);
  }
}
