/** User functions in the production sandbox, without a proxy around them. */
import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import {
  Functions,
  type Decision,
  type FunctionCall,
  type FunctionLog,
} from '../../src/functions/functions.ts';
import type { FunctionSettings } from '../../src/functions/functions.ts';
import type { Clock } from '../../src/platform/clock.ts';
import type { DatabaseFunctions } from '../../src/functions/build/sources.ts';
import type { TenantSnapshot } from '../../src/telemetry/snapshots/functions.ts';
import type { Scope } from './scope.ts';

export interface RulesOptions {
  /** Files below user_functions_dir: path -> text. */
  files: Record<string, string>;
  /** Entries of [databases]. */
  databases?: readonly string[];
  settings?: Partial<FunctionSettings>;
  clock?: Clock;
  /** There is an entry `*`. */
  fallback?: boolean;
  /** The entry `*` exists. */
  targets?: readonly string[];
}

/** With these settings a rule whose file is gone is removed as soon as that is noticed. */
export const REMOVED_AT_ONCE = {
  routing_rules_on_failure: 'pass',
  rewrite_query_on_failure: 'pass',
  user_function_removal_grace: 0,
} as const;

/** A folder of rules, watched and served. */
export class Rules {
  readonly folder: string;
  readonly functions: Functions;
  readonly settings: FunctionSettings;
  /** Every logged line, level first. */
  readonly lines: string[] = [];

  readonly #options: RulesOptions;

  private constructor(folder: string, options: RulesOptions) {
    this.folder = folder;
    this.#options = options;
    const write =
      (level: string) =>
      (_fields: object, message: string): void => {
        this.lines.push(`${level} ${message}`);
      };
    const log: FunctionLog = { info: write('LOG'), warn: write('WARNING'), error: write('ERROR') };
    const databases = options.databases ?? ['a', 'b'];
    this.settings = {
      user_functions_dir: folder,
      routing_rules_file: null,
      rewrite_query_file: null,
      user_function_timeout: 100,
      user_function_memory_limit: 64,
      user_function_cache: 64,
      user_function_cpu_limit: 0,
      user_function_shadow_limit: 50,
      canary_tolerance: 1,
      canary_duration: 600_000,
      user_function_over_limit: 'error',
      user_function_unavailable: 'error',
      user_function_isolation: 'process',
      user_function_hosts: 8,
      user_function_tenants_per_host: 64,
      user_function_host_memory: 400,
      user_function_preload: 'auto',
      user_function_idle_timeout: 0,
      user_function_max_query: 65_536,
      user_function_max_result: 1_048_576,
      routing_rules_on_failure: 'error',
      rewrite_query_on_failure: 'error',
      routing_rules_disconnect_on_failure: false,
      rewrite_query_disconnect_on_failure: false,
      user_functions_allow: [],
      user_function_removal_grace: 10_000,
      user_functions_state_dir: '',
      ...options.settings,
    };
    const entry = (name: string): DatabaseFunctions => ({
      name,
      routing_rules_file: null,
      rewrite_query_file: null,
      routing_targets: options.targets ?? ['*'],
    });
    const { fallback = false } = options;
    this.functions = new Functions({
      settings: this.settings,
      databases: databases.map(entry),
      fallback: fallback ? entry('*') : null,
      log,
      ...(options.clock !== undefined && { clock: options.clock }),
      entryOf: (name) => (fallback || databases.includes(name) ? name : null),
    });
  }

  static async start(scope: Scope, options: RulesOptions): Promise<Rules> {
    const rules = new Rules(await temporaryFolder('rules'), options);
    for (const [path, text] of Object.entries(options.files)) await rules.write(path, text);
    scope.after(async () => {
      await rules.functions.stop();
      await rm(rules.folder, { recursive: true, force: true });
    });
    await rules.functions.prepare();
    await rules.functions.start();
    return rules;
  }

  /** The same files after a restart of the proxy. */
  async restart(scope: Scope): Promise<Rules> {
    await this.functions.stop();
    const rules = new Rules(this.folder, this.#options);
    scope.after(() => rules.functions.stop());
    await rules.functions.prepare();
    await rules.functions.start();
    return rules;
  }

  async write(path: string, text: string): Promise<void> {
    const file = join(this.folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }

  /** The console's view of them. */
  get tenants(): readonly TenantSnapshot[] {
    return this.functions.observe().tenants;
  }

  /** The outcome for a query of user `u` in a database. `as`: other fields of the call. */
  ask(query: string, database = 'a', as: Partial<FunctionCall> = {}): Promise<Decision> {
    const tenant = this.functions.tenantOf(database);
    if (tenant === null) return Promise.resolve({ kind: 'go', query: null, dbkey: null });
    return new Promise((resolve) => {
      const context = { database, login_database: database };
      tenant.decide({ username: 'u', query, inTransaction: false, context, ...as }, resolve);
    });
  }
}

/** The number of failed calls of a tenant, for any reason. */
export function failuresOf(tenant: TenantSnapshot | undefined): number {
  return Object.values(tenant!.failures).reduce((sum, count) => sum + count, 0);
}

/**
 * A decision in a word: `stay`, `go DATABASE`, `rewritten`, `reject CODE`, or the outcome of a function that failed (`deadline`,
 * `memory`, `bad_result`, ...).
 */
export function outcomeOf(decision: Decision): string {
  if (decision.kind !== 'go') {
    const { message, code } = decision.error;
    return /^user function failed: (\w+)$/.exec(message)?.[1] ?? `${decision.kind} ${code}`;
  }
  if (decision.query !== null) return 'rewritten';
  return decision.dbkey === null ? 'stay' : `go ${decision.dbkey}`;
}

/** @param expected an outcome, or several of which one is enough */
export function assertOutcome(
  decision: Decision,
  expected: string | readonly string[],
  what = 'outcome',
): void {
  const outcome = outcomeOf(decision);
  const all = [expected].flat();
  assert.ok(all.includes(outcome), `${what}: ${outcome} instead of ${all.join(' or ')}`);
}
