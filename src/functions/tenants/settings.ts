/** The configuration of user functions, and the part of it that each tenant gets. */
import type { Unjudged } from '../../config/options.ts';
import type { DatabaseFunctions, SourceSettings } from '../build/sources.ts';
import type { FailurePolicy } from '../decide/policy.ts';

/** The options of [pgbouncer] that concern user functions. */
export interface FunctionSettings extends SourceSettings {
  /** ms */
  readonly user_function_timeout: number;
  /** MB */
  readonly user_function_memory_limit: number;
  readonly user_function_isolation: 'inline' | 'process';
  /** bytes */
  readonly user_function_max_query: number;
  /** characters */
  readonly user_function_max_result: number;
  readonly routing_rules_on_failure: FailurePolicy;
  readonly rewrite_query_on_failure: FailurePolicy;
  readonly routing_rules_disconnect_on_failure: boolean;
  readonly rewrite_query_disconnect_on_failure: boolean;
  readonly user_functions_allow: readonly Unjudged[];
  /** how long rules stay active after their file has vanished, in ms */
  readonly user_function_removal_grace: number;
}

/** Stands for all database names that have neither an entry nor a folder of rules. */
export const ANY = '*';

/** A configuration, replaced as a whole by RELOAD and SET. */
export class FunctionsConfig {
  readonly settings: FunctionSettings;
  /** entries of [databases], by name */
  readonly databases: ReadonlyMap<string, DatabaseFunctions>;
  /** the `*` entry, which applies to all names that have no entry; null: none */
  readonly fallback: DatabaseFunctions | null;

  constructor(
    settings: FunctionSettings,
    databases: Iterable<DatabaseFunctions>,
    fallback: DatabaseFunctions | null,
  ) {
    this.settings = settings;
    this.databases = new Map([...databases].map((database) => [database.name, database]));
    this.fallback = fallback;
  }

  /** Names of all entries, `*` included. */
  get entries(): string[] {
    return [...this.databases.keys(), ...(this.fallback === null ? [] : [ANY])];
  }

  /** The configuration for a database of this name; undefined: no such database. */
  databaseOf(name: string): DatabaseFunctions | undefined {
    return this.databases.get(name) ?? this.fallback ?? undefined;
  }

  /** Whether clients may log in to a database of this name. */
  isDatabase(name: string): boolean {
    return this.fallback !== null || this.databases.has(name);
  }

  /** Whether a name is an entry of [databases], `*` included. */
  isEntry(name: string): boolean {
    return name === ANY || this.databases.has(name);
  }
}

/** The settings of one tenant. A change of any of them is a new object. */
export interface TenantSettings {
  /** for one call, in ms */
  readonly timeoutMs: number;
  readonly memoryLimitMb: number;
  readonly maxQueryBytes: number;
  /** characters */
  readonly maxResult: number;
  readonly onRoutingFailure: FailurePolicy;
  readonly onRewriteFailure: FailurePolicy;
  /** names in ctx.databases, unless a call brings its own */
  readonly databases: readonly string[];
}

/** @param databases names in ctx.databases */
export function tenantSettings(settings: FunctionSettings, databases: readonly string[]): TenantSettings {
  return {
    timeoutMs: settings.user_function_timeout,
    memoryLimitMb: settings.user_function_memory_limit,
    maxQueryBytes: settings.user_function_max_query,
    maxResult: settings.user_function_max_result,
    onRoutingFailure: settings.routing_rules_disconnect_on_failure
      ? 'disconnect'
      : settings.routing_rules_on_failure,
    onRewriteFailure: settings.rewrite_query_disconnect_on_failure
      ? 'disconnect'
      : settings.rewrite_query_on_failure,
    databases,
  };
}
