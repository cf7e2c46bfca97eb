import { dirname } from 'node:path';
import { FunctionSet, type FunctionLog, type SetSettings } from './function-set.ts';
import { printable } from './failure.ts';
import { Hosts } from './hosts.ts';
import type { Excess } from './shares.ts';
import { sourceFiles, type DatabaseFunctions, type SourceSettings } from './sources.ts';
import { SourceWatcher } from './watch.ts';

export type { Decision, FunctionCall, FunctionLog } from './function-set.ts';
export { FunctionSet };

type Policy = 'pass' | 'error' | 'disconnect';

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
  readonly routing_rules_on_failure: Policy;
  readonly rewrite_query_on_failure: Policy;
  readonly routing_rules_disconnect_on_failure: boolean;
  readonly rewrite_query_disconnect_on_failure: boolean;
}

/** A row of SHOW FUNCTIONS. */
export interface FunctionSetRow {
  readonly tenant: string;
  readonly routing_rules: string;
  readonly rewrite_query: string;
  readonly databases: string;
  readonly state: string;
  readonly version: string;
  readonly loaded_at: Date | null;
  readonly calls: number;
  readonly routed: number;
  readonly rewritten: number;
  readonly rejected: number;
  readonly refused_moves: number;
  readonly failures: number;
  readonly last_error: string;
}

/** All function sets of a proxy, and the hosts that run them. */
export class Functions {
  #settings: FunctionSettings;
  #databases: ReadonlyMap<string, DatabaseFunctions>;
  /** the `*` entry: what it says counts for all names that have no entry */
  #fallback: DatabaseFunctions | null;
  readonly #log: FunctionLog;
  readonly #isDbkey: (name: string) => boolean;
  /** by database name; null: none applies. Filled as names are asked for. */
  readonly #byDatabase = new Map<string, FunctionSet | null>();
  /** by the files that they are made of */
  readonly #sets = new Map<string, FunctionSet>();
  readonly #loading = new Set<Promise<void>>();
  #hosts: Hosts;
  /** Clients are served: from now on a new version must not keep them waiting. */
  #started = false;
  #watcher: SourceWatcher | null = null;
  #refreshes = 0;
  #stopped = false;

  constructor(options: {
    settings: FunctionSettings;
    databases: Iterable<DatabaseFunctions>;
    fallback?: DatabaseFunctions | null;
    log: FunctionLog;
    isDbkey: (name: string) => boolean;
  }) {
    this.#settings = options.settings;
    this.#databases = byName(options.databases);
    this.#fallback = options.fallback ?? null;
    this.#log = options.log;
    this.#isDbkey = options.isDbkey;
    this.#hosts = this.#newHosts();
  }

  /** Loads what there is. A broken file is logged, and does not keep the proxy from starting. */
  async start(): Promise<void> {
    this.#watcher = new SourceWatcher((folders) => void this.#changed(folders));
    for (const name of this.#names()) this.setFor(name);
    this.#watch();
    await this.#settled();
    this.#started = true;
  }

  /** The set that applies to a database's clients; null: none. */
  setFor(name: string): FunctionSet | null {
    const known = this.#byDatabase.get(name);
    if (known !== undefined) return known;
    const files = sourceFiles(this.#settings, name, this.#databases.get(name) ?? this.#fallback ?? undefined);
    const set = files === null || this.#stopped ? null : this.#setOf(files);
    // names that clients make up must not fill the memory
    if (this.#byDatabase.size > 10_000) this.#byDatabase.clear();
    this.#byDatabase.set(name, set);
    return set;
  }

  /** RELOAD: other options, other databases. Resolves when all that could be loaded is. */
  async reconfigure(
    settings: FunctionSettings,
    databases: Iterable<DatabaseFunctions>,
    fallback: DatabaseFunctions | null = null,
  ): Promise<void> {
    const hostsChanged =
      settings.user_function_isolation !== this.#settings.user_function_isolation ||
      settings.user_function_memory_limit !== this.#settings.user_function_memory_limit;
    this.#settings = settings;
    this.#databases = byName(databases);
    this.#fallback = fallback;
    const old = this.#hosts;
    if (hostsChanged) this.#hosts = this.#newHosts();
    const setSettings = this.#setSettings();
    await Promise.all(
      [...this.#sets.values()].map((set) => set.configure(setSettings, this.#hosts.of(set.files))),
    );
    if (hostsChanged) await old.retire();
    await this.#refresh(null);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#watcher?.close();
    await this.#settled();
    await this.#hosts.stop();
  }

  stats(): FunctionSetRow[] {
    return [...this.#sets.values()].map((set) => ({
      tenant: set.tenant,
      routing_rules: set.origins.routing,
      rewrite_query: set.origins.rewrite,
      databases: [...this.#byDatabase]
        .filter(([, each]) => each === set)
        .map(([name]) => name)
        .join(','),
      state: set.state,
      version: set.versionHash,
      loaded_at: set.loadedAt,
      calls: set.record.counters.calls,
      routed: set.record.counters.routed,
      rewritten: set.record.counters.rewritten,
      rejected: set.record.counters.rejected,
      refused_moves: set.record.counters.refusedMoves,
      failures: Object.values(set.record.counters.failures).reduce((sum, count) => sum + count, 0),
      last_error: set.record.lastError,
    }));
  }

  /** Entries of [databases]. */
  #names(): string[] {
    return [...this.#databases.keys(), ...(this.#fallback === null ? [] : ['*'])];
  }

  #setOf(files: { routing: string | null; rewrite: string | null }): FunctionSet {
    const key = `${files.routing ?? ''}\0${files.rewrite ?? ''}`;
    let set = this.#sets.get(key);
    if (set === undefined) {
      set = new FunctionSet({
        files,
        settings: this.#setSettings(),
        host: this.#hosts.of(files),
        log: this.#log,
        isDbkey: this.#isDbkey,
        onFault: (faulty) => this.#separate(faulty),
        tryOn: () => (this.#started ? this.#hosts.trial() : null),
        apart: () => this.#hosts.apart(),
      });
      this.#sets.set(key, set);
      this.#track(set.reload().then(() => this.#watch()));
    }
    return set;
  }

  #track(work: Promise<void>): void {
    this.#loading.add(work);
    void work.finally(() => this.#loading.delete(work));
  }

  async #settled(): Promise<void> {
    while (this.#loading.size > 0) await Promise.all(this.#loading);
  }

  #setSettings(): SetSettings {
    const settings = this.#settings;
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
      databases: [...this.#databases.keys()],
    };
  }

  #newHosts(): Hosts {
    return new Hosts({
      isolation: this.#settings.user_function_isolation,
      memoryLimitMb: this.#settings.user_function_memory_limit,
      onKilled: (versionId) => this.#killed(versionId),
      onAccident: (signal) =>
        this.#log.warn(
          { event: 'sandbox_ended', signal },
          `sandbox process ended by ${signal}, which is not the proxy's: another one takes over`,
        ),
      onStartFailed: (complaint) =>
        this.#log.error(
          { event: 'sandbox_failed' },
          `sandbox process ended before it was ready: ${printable(complaint.trim()) || 'no reason given'}`,
        ),
      onExcess: (versionId, excess) => this.#takesTooMuch(versionId, excess),
    });
  }

  /** It gets a process of its own. That is no fault: it stays below its limits, and others feel it all the same. */
  #takesTooMuch(versionId: number, excess: Excess): void {
    const set = this.#setOfVersion(versionId);
    if (set === undefined || !this.#separate(set)) return;
    this.#log.info(
      { event: 'sandbox_separated', tenant: set.tenant, excess },
      `user functions of ${set.tenant} take much ${excess}: they get a sandbox process of their own`,
    );
  }

  #setOfVersion(versionId: number): FunctionSet | undefined {
    return [...this.#sets.values()].find((each) => each.versionId === versionId);
  }

  #killed(versionId: number): void {
    const set = this.#setOfVersion(versionId);
    if (set === undefined) return;
    this.#log.error(
      { event: 'sandbox_killed', tenant: set.tenant },
      `sandbox process killed because of user functions in ${set.tenant}`,
    );
    this.#separate(set);
  }

  /** @returns whether there was something to separate it from */
  #separate(set: FunctionSet): boolean {
    const host = this.#hosts.separate(set.files);
    if (host !== null) this.#track(set.moveTo(host));
    return host !== null;
  }

  async #changed(folders: ReadonlySet<string>): Promise<void> {
    if (!this.#stopped) await this.#refresh(folders);
  }

  /**
   * Looks again at which files apply where, and bundles those sets whose folders have changed (null: all). Where other
   * files apply than before, what applied goes on until they have been loaded.
   */
  async #refresh(folders: ReadonlySet<string> | null): Promise<void> {
    const refresh = ++this.#refreshes;
    const before = new Map(this.#byDatabase);
    const known = new Set(this.#sets.values());
    this.#byDatabase.clear();
    const wanted = new Map<string, FunctionSet | null>();
    for (const name of new Set([...before.keys(), ...this.#names()])) {
      wanted.set(name, this.setFor(name));
    }
    const handOver = (): void => {
      for (const [name, set] of wanted) {
        const last = before.get(name) ?? null;
        const waits = set !== null && set.versionId === null && last !== null && last.versionId !== null;
        this.#byDatabase.set(name, waits ? last : set);
      }
    };
    handOver();
    this.#dropUnused(wanted);
    const applying = new Set(wanted.values());
    for (const set of this.#sets.values()) {
      // what goes on only until another set has been loaded may have been taken away: that is no mistake
      if (!known.has(set) || (!applying.has(set) && !set.isThere)) continue;
      if (folders === null || set.inputs.some((file) => folders.has(dirname(file))))
        this.#track(set.reload());
    }
    await this.#settled();
    // the one that has begun meanwhile does the rest
    if (refresh !== this.#refreshes) return;
    handOver();
    this.#dropUnused(wanted);
    this.#watch();
  }

  #dropUnused(wanted: ReadonlyMap<string, FunctionSet | null>): void {
    const used = new Set([...wanted.values(), ...this.#byDatabase.values()]);
    for (const [key, set] of this.#sets) if (!used.has(set)) this.#drop(key, set);
  }

  #drop(key: string, set: FunctionSet): void {
    this.#sets.delete(key);
    set.dispose();
    this.#hosts.release(set.files);
    this.#log.info({ event: 'rules_removed', tenant: set.tenant }, `user functions of ${set.tenant} removed`);
  }

  #watch(): void {
    if (this.#stopped) return;
    const folder = this.#settings.user_functions_dir || null;
    const inputs = [...this.#sets.values()].flatMap((set) => set.inputs);
    this.#watcher?.watch(folder, new Set(inputs.map((file) => dirname(file))));
  }
}

function byName(databases: Iterable<DatabaseFunctions>): ReadonlyMap<string, DatabaseFunctions> {
  return new Map([...databases].map((database) => [database.name, database]));
}
