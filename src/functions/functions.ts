import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { GO } from './decision.ts';
import { FunctionSet, type FunctionLog, type SetSettings } from './function-set.ts';
import { printable } from './failure.ts';
import { Hosts } from './hosts.ts';
import type { Unjudged } from '../config/options.ts';
import type { SourceFiles } from './bundle.ts';
import type { Excess } from './shares.ts';
import { areOperators, sourceFiles, type DatabaseFunctions, type SourceSettings } from './sources.ts';
import { SourceWatcher } from './watch.ts';

export type { Decision, FunctionCall, FunctionLog } from './function-set.ts';
export { FunctionSet, GO };

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
  readonly user_functions_allow: readonly Unjudged[];
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

/** What the functions of an entry's own may name besides its own databases. */
interface Rights {
  readonly targets: ReadonlySet<string>;
  readonly shown: string;
}

/** How many names of databases are remembered. */
const MAX_NAMES = 10_000;

/** All function sets of a proxy, and the hosts that run them. */
export class Functions {
  #settings: FunctionSettings;
  #databases: ReadonlyMap<string, DatabaseFunctions>;
  /** the `*` entry: what it says counts for all names that have no entry */
  #fallback: DatabaseFunctions | null;
  readonly #log: FunctionLog;
  readonly #entryOf: (name: string) => string | null;
  /** by entry; filled as they are asked for */
  readonly #rights = new Map<string, Rights>();
  /** by the files of a set; filled as they are asked for */
  #operators = new WeakMap<SourceFiles, boolean>();
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
    /** the entry of [databases] that a name leads to; null: there is no such database */
    entryOf: (name: string) => string | null;
  }) {
    this.#settings = options.settings;
    this.#databases = byName(options.databases);
    this.#fallback = options.fallback ?? null;
    this.#log = options.log;
    this.#entryOf = options.entryOf;
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

  /** Whether clients of a database may do what its functions can't judge. */
  allows(entry: string, what: Unjudged): boolean {
    const own = (this.#databases.get(entry) ?? this.#fallback)?.user_functions_allow;
    return (own ?? this.#settings.user_functions_allow).includes(what);
  }

  /** Whether the functions of a set, asked for an entry's clients, may name a database. */
  mayName({ files }: Pick<FunctionSet, 'files'>, entry: string, name: string): boolean {
    const target = this.#entryOf(name);
    if (target === null) return false;
    if (target === entry || this.#areOperators(files)) return true;
    const { targets } = this.#rightsOf(entry);
    return target.startsWith(`${entry}.`) || targets.has(name) || targets.has(target) || targets.has('*');
  }

  /** What ctx.databases shows to them, separated by U+0001; '': all that are configured. */
  nameable({ files }: FunctionSet, entry: string): string {
    return this.#areOperators(files) ? '' : this.#rightsOf(entry).shown;
  }

  #areOperators(files: SourceFiles): boolean {
    let known = this.#operators.get(files);
    if (known === undefined) this.#operators.set(files, (known = areOperators(this.#settings, files)));
    return known;
  }

  #shownTo(entry: string | null): string[] {
    return entry === null ? [] : this.#rightsOf(entry).shown.split('\u0001');
  }

  #rightsOf(entry: string): Rights {
    let rights = this.#rights.get(entry);
    if (rights === undefined) {
      const targets = new Set((this.#databases.get(entry) ?? this.#fallback)?.routing_targets);
      const variants = [...this.#databases.keys()].filter((name) => name.startsWith(`${entry}.`));
      const names = targets.has('*') ? this.#databases.keys() : [entry, ...variants, ...targets];
      rights = { targets, shown: [...new Set(names)].join('\u0001') };
      // names that clients make up must not fill the memory
      if (this.#rights.size > MAX_NAMES) this.#rights.clear();
      this.#rights.set(entry, rights);
    }
    return rights;
  }

  /** The set that applies to a database's clients; null: none. */
  setFor(name: string): FunctionSet | null {
    const known = this.#byDatabase.get(name);
    if (known !== undefined) return known;
    const files = sourceFiles(this.#settings, name, this.#databases.get(name) ?? this.#fallback ?? undefined);
    const set = files === null || this.#stopped ? null : this.#setOf(files, name);
    // names that clients make up must not fill the memory
    if (this.#byDatabase.size > MAX_NAMES) this.#byDatabase.clear();
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
    const before = [this.#databases, this.#fallback];
    this.#settings = settings;
    this.#databases = byName(databases);
    this.#fallback = fallback;
    this.#rights.clear();
    this.#operators = new WeakMap();
    if (!isDeepStrictEqual(before, [this.#databases, fallback]))
      for (const set of this.#sets.values()) set.judgeAgain();
    const old = this.#hosts;
    if (hostsChanged) this.#hosts = this.#newHosts();
    await Promise.all(
      [...this.#sets.values()].map((set) =>
        set.configure(this.#setSettings(set.files, this.#anEntryOf(set)), this.#hosts.of(set.files)),
      ),
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

  /** An entry whose clients a set's functions judge; null: there is none just now. */
  #anEntryOf(set: FunctionSet): string | null {
    for (const [name, each] of this.#byDatabase) if (each === set) return name;
    return null;
  }

  /** @param entry one that they apply to */
  #setOf(files: SourceFiles, entry: string): FunctionSet {
    const key = `${files.routing ?? ''}\0${files.rewrite ?? ''}`;
    let set = this.#sets.get(key);
    if (set === undefined) {
      set = new FunctionSet({
        files,
        settings: this.#setSettings(files, entry),
        host: this.#hosts.of(files),
        log: this.#log,
        isDbkey: (name, call) =>
          this.mayName({ files }, call.entry ?? call.loginDatabase ?? call.database, name),
        onFault: (faulty) => this.#separate(faulty),
        tryOn: () => (this.#started ? this.#hosts.trial() : null),
        apart: () => this.#hosts.apart(),
      });
      this.#sets.set(key, set);
      this.#warnOfMixed(files);
      this.#track(set.reload().then(() => this.#watch()));
    }
    return set;
  }

  /** A routing function of the operator's that may name less than others do, because of the file that it runs with. */
  #warnOfMixed(files: SourceFiles): void {
    const { routing, rewrite } = files;
    if (routing === null || rewrite === null || this.#areOperators(files)) return;
    if (!areOperators(this.#settings, { routing, rewrite: null })) return;
    this.#log.warn(
      { event: 'rules_mixed', tenant: dirname(rewrite) },
      `${routing} runs in one isolate with ${rewrite}, which is a database's own: it may only name what that database's functions may (routing_targets adds more)`,
    );
  }

  #track(work: Promise<void>): void {
    this.#loading.add(work);
    void work.finally(() => this.#loading.delete(work));
  }

  async #settled(): Promise<void> {
    while (this.#loading.size > 0) await Promise.all(this.#loading);
  }

  #setSettings(files: SourceFiles, entry: string | null): SetSettings {
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
      // a tenant's are told again with each call, because each entry has its own
      databases: this.#areOperators(files) ? [...this.#databases.keys()] : this.#shownTo(entry),
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
