import { readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Unjudged } from '../config/options.ts';
import type { FunctionsSnapshot } from '../telemetry/snapshot.ts';
import { Blame } from './tenants/blame.ts';
import { isPassingError, type SourceFiles } from './build/bundle-job.ts';
import { bundlers } from './build/bundlers.ts';
import { GO } from './decide/policy.ts';
import { Tenant, type FunctionLog, type TenantSettings } from './tenants/tenant.ts';
import { printable } from './build/places.ts';
import { Hosts } from './sandbox/hosts.ts';
import { KnownFiles } from './tenants/known-files.ts';
import type { LoadTools } from './tenants/loader.ts';
import type { Excess } from './sandbox/shares.ts';
import {
  areOperators,
  isCandidate,
  isThere,
  sourceFiles,
  type DatabaseFunctions,
  type FindFile,
  type SourceSettings,
} from './build/sources.ts';
import { prepareScripts } from './sandbox/prelude.ts';
import { Targets } from './tenants/targets.ts';
import { trailOf } from './build/trail.ts';
import { Trials } from './tenants/trials.ts';
import { SourceWatcher, type Matters } from './build/watch.ts';
import { CATALOG, LOADING, WATCH } from './limits.ts';

export type { Decision, FunctionCall, FunctionLog } from './tenants/tenant.ts';
export { Tenant, GO };

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
  /** how long rules whose file is gone go on, in ms */
  readonly user_function_removal_grace: number;
}

/** A row of SHOW FUNCTIONS. */
export interface TenantRow {
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
  readonly last_error_at: Date | null;
}

/** What applies to all names that have neither an entry nor a folder of rules. */
const ANY = '*';

/** All function sets of a proxy, and the hosts that run them. */
export class Functions {
  #settings: FunctionSettings;
  #databases: ReadonlyMap<string, DatabaseFunctions>;
  /** the `*` entry: what it says counts for all names that have no entry */
  #fallback: DatabaseFunctions | null;
  readonly #log: FunctionLog;
  /** what they may name */
  readonly #targets: Targets;
  /** by entry, by name with a folder of rules, and for ANY, what applies; null: none does. Filled as names are asked for. */
  readonly #byDatabase = new Map<string, Tenant | null>();
  /** by database name, what its files say; it applies as soon as it has been loaded */
  readonly #wanted = new Map<string, Tenant | null>();
  /** by the files that they are made of */
  readonly #sets = new Map<string, Tenant>();
  /** whether each database that a set applied to has another one now */
  readonly #replaced = new WeakMap<Tenant, boolean>();
  readonly #known: KnownFiles;
  readonly #blame = new Blame();
  /** By version: it may end a process after another one, or another set, has taken its place. */
  readonly #tenants = new Map<number, string>();
  readonly #trials: Trials;
  readonly #tools: LoadTools;
  readonly #watcher: SourceWatcher;
  readonly #findFile: FindFile = (folder, name, extensions) => this.#known.find(folder, name, extensions);
  #hosts: Hosts;
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
    this.#targets = new Targets(options.entryOf);
    this.#targets.configure(this.#settings, this.#databases, this.#fallback);
    this.#hosts = this.#newHosts();
    this.#trials = new Trials(() => this.#hosts.forTrials());
    this.#known = new KnownFiles(() => this.#settings.user_function_removal_grace, {
      onGone: (file) => this.#fileGone(file),
      onBack: (file) => this.#fileBack(file),
      onOverdue: (file) => this.#fileOverdue(file),
    });
    this.#watcher = new SourceWatcher({
      onChange: (paths) => this.#changed(paths),
      onPoll: () => this.#lookAtAll(),
      onBlind: (folder, error, pollMs) =>
        this.#log.warn(
          { event: 'rules_unwatched' },
          `cannot watch ${printable(folder)}: ${error.message}; rule files are looked at every ${pollMs / 1000} s instead (on Linux, fs.inotify.max_user_watches and max_user_instances limit this)`,
        ),
    });
    this.#tools = {
      blame: this.#blame,
      bundle: (tenant, isSuspect, files) => bundlers.bundle(tenant, isSuspect, files),
      asyncPlaces: (tenant, inputs, folder) => bundlers.asyncPlaces(tenant, inputs, folder),
      trial: (tenant, isSuspect, version, isWanted) =>
        this.#settings.user_function_isolation === 'inline'
          ? null
          : this.#trials.try(tenant, isSuspect, version, isWanted),
      isSearched: (file) => this.#isSearched(file),
      separate: (files) => this.#hosts.separate(files),
      onVersion: (id, tenant) => {
        this.#tenants.set(id, tenant);
        if (this.#tenants.size > LOADING.maxVersions)
          this.#tenants.delete(this.#tenants.keys().next().value!);
      },
      onTrail: (loader) => {
        if (!this.#stopped) this.#watcher.watch(loader, loader.trail.keys());
      },
      onBuilt: () => this.#handOver(),
    };
  }

  /**
   * Begins to load what there is; calls of a set wait until that one has been loaded. A broken file is only logged.
   * @returns when everything has been loaded, or refused
   */
  async start(): Promise<void> {
    // what goes wrong here goes wrong again, and is told, where the scripts are needed
    await prepareScripts().catch(() => {});
    for (const [i, name] of this.#names().entries()) {
      // unless a reload has removed it meanwhile
      if (this.#isName(name)) this.tenantOf(name);
      // let clients be served
      if (i % CATALOG.namesPerTurn === 0) await nextTurn();
    }
    await Promise.all([this.#watchFolders(), ...[...this.#sets.values()].map((set) => set.loader.idle())]);
  }

  /** The set that applies to a database's clients; null: none. */
  tenantOf(name: string): Tenant | null {
    const known = this.#byDatabase.get(name);
    if (known !== undefined) return known;
    if (!this.#mayHaveOwn(name)) return this.tenantOf(ANY);
    const set = this.#wantedFor(name);
    // until the folders are known, clients could fill the memory with names
    if (this.#folders === null && !this.#isEntry(name) && set === this.tenantOf(ANY)) return set;
    this.#wanted.set(name, set);
    this.#byDatabase.set(name, set);
    return set;
  }

  /** Whether an entry's clients may do what its functions can't judge (user_functions_allow). */
  allows(entry: string, what: Unjudged): boolean {
    return this.#targets.allows(entry, what);
  }

  /** Whether something else may apply to a name than to any: clients make names up, and these must cost nothing. */
  #mayHaveOwn(name: string): boolean {
    if (this.#isEntry(name)) return true;
    if (!this.#settings.user_functions_dir) return false;
    return this.#folders === null || this.#folders.has(name);
  }

  /** An entry of [databases], `*` included. */
  #isEntry(name: string): boolean {
    return name === ANY || this.#databases.has(name);
  }

  /** RELOAD: rule files that are gone just now were removed. To be called before `reconfigure`. */
  confirmRemovals(): void {
    // what has vanished just now is not known yet
    this.#lookUp();
    for (const file of this.#known.confirmRemovals())
      this.#log.info({ event: 'rules_removal' }, `removal of ${printable(file)} confirmed by RELOAD`);
  }

  /**
   * Other options, other databases; all files are looked at again.
   * @returns when all that could be loaded is, or after the longest wait
   */
  async reconfigure(
    settings: FunctionSettings,
    databases: Iterable<DatabaseFunctions>,
    fallback: DatabaseFunctions | null = null,
  ): Promise<void> {
    const hostsChanged =
      settings.user_function_isolation !== this.#settings.user_function_isolation ||
      settings.user_function_memory_limit !== this.#settings.user_function_memory_limit;
    const before = [this.#databases, this.#fallback];
    if (settings.user_functions_dir !== this.#settings.user_functions_dir) this.#folders = null;
    this.#settings = settings;
    this.#databases = byName(databases);
    this.#fallback = fallback;
    this.#targets.configure(settings, this.#databases, fallback);
    if (!isDeepStrictEqual(before, [this.#databases, fallback]))
      for (const set of this.#sets.values()) set.judgeAgain();
    const old = this.#hosts;
    if (hostsChanged) {
      this.#hosts = this.#newHosts();
      // whoever has cost others something still does
      for (const owner of old.separated) this.#hosts.separate(owner);
    }
    const moved = Promise.all(
      [...this.#sets.values()].map((set) =>
        set.configure(this.#setSettings(set.files, this.#anEntryOf(set)), this.#hosts.of(set.files)),
      ),
    );
    if (hostsChanged) void moved.then(() => old.retire());
    this.#lookUp();
    const sets = [...this.#sets.values()];
    const suspects = sets.filter((set) => this.#blame.isSuspect(set.name));
    const others = sets.filter((set) => !suspects.includes(set));
    await Promise.all([
      inTime(
        Promise.all([moved, this.#watchFolders(), this.#reload(others, true)]),
        CATALOG.longestReloadMs,
        () => this.#warnOfLate(others),
      ),
      inTime(this.#reload(suspects, true), CATALOG.longestSuspectMs, () => this.#warnOfLate(suspects)),
    ]);
  }

  #warnOfLate(sets: readonly Tenant[]): void {
    const late = sets.filter((set) => set.loader.isBusy).map((set) => set.name);
    const more = late.length > CATALOG.maxNamed ? ` and ${late.length - CATALOG.maxNamed} more` : '';
    this.#log.warn(
      { event: 'reload' },
      `RELOAD does not wait any longer for user functions that are still being loaded: ${late.slice(0, CATALOG.maxNamed).join(', ')}${more}`,
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#watcher.close();
    this.#known.stop();
    for (const set of this.#sets.values()) set.dispose();
    await Promise.all([this.#trials.stop(), this.#hosts.stop()]);
  }

  /** What every tenant's functions are doing: plain data, as of now. */
  observe(): FunctionsSnapshot {
    const databases = Map.groupBy(this.#byDatabase.keys(), (name) => this.#byDatabase.get(name));
    return {
      tenants: [...this.#sets].map(([key, set]) => set.observe(key, databases.get(set) ?? [])),
    };
  }

  stats(): TenantRow[] {
    return [...this.#sets.values()].map((set) => ({
      tenant: set.name,
      routing_rules: set.origins.routing,
      rewrite_query: set.origins.rewrite,
      databases: [...this.#byDatabase]
        .filter(([, each]) => each === set)
        .map(([name]) => name)
        .join(','),
      state: set.state,
      version: set.versionHash,
      loaded_at: set.loadedAt,
      calls: set.journal.counters.calls,
      routed: set.journal.counters.routed,
      rewritten: set.journal.counters.rewritten,
      rejected: set.journal.counters.rejected,
      refused_moves: set.journal.counters.refusedMoves,
      failures: Object.values(set.journal.counters.failures).reduce((sum, count) => sum + count, 0),
      last_error: set.journal.lastError,
      last_error_at: set.journal.lastErrorAt,
    }));
  }

  /** Entries of [databases]. */
  #names(): string[] {
    return [...this.#databases.keys(), ...(this.#fallback === null ? [] : [ANY])];
  }

  /** An entry whose clients a set's functions judge; null: there is none just now. */
  #anEntryOf(set: Tenant): string | null {
    for (const [name, each] of this.#byDatabase) if (each === set) return name;
    return null;
  }

  #wantedFor(name: string, findFile: FindFile = this.#findFile): Tenant | null {
    if (this.#stopped) return null;
    const database = this.#databases.get(name) ?? this.#fallback ?? undefined;
    const files = sourceFiles(this.#settings, name === ANY ? '' : name, database, findFile);
    return files === null ? null : this.#setOf(files, name);
  }

  /** @param entry one that they apply to */
  #setOf(files: SourceFiles, entry: string): Tenant {
    const key = keyOf(files);
    let set = this.#sets.get(key);
    if (set === undefined) {
      // A tenant whose other rules have harmed their neighbours starts in a process of its own.
      const isSuspect = this.#blame.isSuspect(dirname((files.routing ?? files.rewrite)!));
      const own = isSuspect ? this.#hosts.separate(files) : null;
      set = new Tenant({
        files,
        settings: this.#setSettings(files, entry),
        host: own ?? this.#hosts.of(files),
        log: this.#log,
        targets: this.#targets,
        onFault: (faulty) => this.#fault(faulty),
        apart: () => this.#hosts.apart(),
        tools: this.#tools,
      });
      this.#sets.set(key, set);
      this.#warnOfMixed(files);
      void set.reload();
    }
    return set;
  }

  /** A routing function of the operator's that may name less than others do, because of the file that it runs with. */
  #warnOfMixed(files: SourceFiles): void {
    const { routing, rewrite } = files;
    if (routing === null || rewrite === null || this.#targets.areOperators(files)) return;
    if (!areOperators(this.#settings, { routing, rewrite: null })) return;
    this.#log.warn(
      { event: 'rules_mixed', tenant: dirname(rewrite) },
      `${routing} runs in one isolate with ${rewrite}, which is a database's own: it may only name what that database's functions may (routing_targets adds more)`,
    );
  }

  #setSettings(files: SourceFiles, entry: string | null): TenantSettings {
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
      databases: this.#targets.areOperators(files)
        ? [...this.#databases.keys()]
        : this.#targets.shownTo(entry),
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
      onStalled: () =>
        this.#log.warn(
          { event: 'sandbox_stalled' },
          'sandbox process ended because it had no processor, or was stopped: another one takes over',
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
      { event: 'sandbox_separated', tenant: set.name, excess },
      `user functions of ${set.name} take much ${excess}: they get a sandbox process of their own`,
    );
  }

  #setOfVersion(versionId: number): Tenant | undefined {
    return [...this.#sets.values()].find((each) => each.versionId === versionId);
  }

  #killed(versionId: number): void {
    const tenant = this.#tenants.get(versionId);
    if (tenant === undefined) return;
    this.#log.error(
      { event: 'sandbox_killed', tenant },
      `sandbox process killed because of user functions in ${tenant}`,
    );
    this.#blame.add(tenant);
    const set = this.#setOfVersion(versionId);
    if (set !== undefined) this.#separate(set);
  }

  /** A set has harmed those that share its process. */
  #fault(set: Tenant): void {
    this.#blame.add(set.name);
    if (this.#sets.get(keyOf(set.files)) === set) this.#separate(set);
  }

  /** @returns whether there was something to separate it from */
  #separate(set: Tenant): boolean {
    const host = this.#hosts.separate(set.files);
    if (host !== null) void set.moveTo(host);
    return host !== null;
  }

  #changed(paths: ReadonlySet<string>): void {
    if (this.#stopped) return;
    const known = new Set(this.#sets.values());
    if ([...paths].some((path) => this.#isPlace(path))) {
      this.#lookUp();
      void this.#watchFolders();
    }
    // one that has just been made is being loaded already
    const concerned = [...known].filter((set) => [...paths].some((path) => set.loader.trail.has(path)));
    void this.#reload(concerned);
  }

  /** Some folders can't be watched: compares all files with what they were. */
  #lookAtAll(): void {
    if (this.#stopped) return;
    this.#lookUp();
    void this.#watchFolders();
    for (const set of this.#sets.values()) if (!this.#isGone(set)) void set.loader.verify();
  }

  /** Whether other files may apply somewhere when this path changes. */
  #isPlace(path: string): boolean {
    return isCandidate(basename(path)) || this.#places.has(path) || this.#isName(basename(path));
  }

  /** The file was found in user_functions_dir, and no option names it. */
  #isSearched(file: string): boolean {
    const root = this.#settings.user_functions_dir || null;
    const folder = dirname(file);
    return isCandidate(basename(file)) && root !== null && (folder === root || dirname(folder) === root);
  }

  #isName(name: string): boolean {
    return this.#fallback !== null || this.#databases.has(name);
  }

  async #reload(sets: readonly Tenant[], isAsked = false): Promise<void> {
    await Promise.all(
      sets
        .filter((set) => this.#sets.has(keyOf(set.files)) && !this.#isGone(set))
        .map((set) => set.reload(isAsked)),
    );
  }

  /** Looks again which files apply where. What applied goes on until what applies now has been loaded. */
  #lookUp(): void {
    // many databases look into the same folder
    const found = new Map<string, string | null>();
    const findOnce: FindFile = (folder, name, extensions) => {
      const place = join(folder, name);
      if (!found.has(place)) found.set(place, this.#findFile(folder, name, extensions));
      return found.get(place)!;
    };
    for (const name of new Set([...this.#byDatabase.keys(), ...this.#names()]))
      this.#wanted.set(name, this.#wantedFor(name, findOnce));
    this.#handOver();
  }

  /** What has been loaded applies from now on, and what applies nowhere any more goes. */
  #handOver(): void {
    if (this.#stopped) return;
    for (const [name, set] of this.#wanted) {
      const last = this.#byDatabase.get(name) ?? null;
      const waits = set !== null && set.versionId === null && last !== null && last.versionId !== null;
      if (waits) continue;
      this.#byDatabase.set(name, set);
      if (last !== null && last !== set)
        this.#replaced.set(last, set !== null && this.#replaced.get(last) !== false);
      // nothing of its own applies to it any more
      if (!this.#mayHaveOwn(name)) this.#forgetName(name, set);
    }
    const used = new Set([...this.#wanted.values(), ...this.#byDatabase.values()]);
    for (const [key, set] of this.#sets) if (!used.has(set)) this.#drop(key, set);
  }

  #forgetName(name: string, set: Tenant | null): void {
    if (set !== this.tenantOf(ANY)) return;
    this.#wanted.delete(name);
    this.#byDatabase.delete(name);
  }

  #drop(key: string, set: Tenant): void {
    this.#sets.delete(key);
    this.#watcher.forget(set.loader);
    set.dispose();
    this.#hosts.release(set.files);
    // another set has its files, or those that count instead of them
    if (this.#replaced.get(set) === true && set.loader.entries.every(isThere)) return;
    this.#log.info({ event: 'rules_removed', tenant: set.name }, `user functions of ${set.name} removed`);
  }

  #isGone({ files }: Tenant): boolean {
    return this.#known.isGone(files.routing) || this.#known.isGone(files.rewrite);
  }

  #using(file: string): Tenant[] {
    return [...this.#sets.values()].filter(({ files }) => files.routing === file || files.rewrite === file);
  }

  #fileGone(file: string): void {
    const seconds = this.#settings.user_function_removal_grace / 1000;
    for (const set of this.#using(file)) {
      const serving = set.versionHash === '' ? 'nothing is loaded' : `version ${set.versionHash} goes on`;
      set.journal.gone(
        `${file} is gone: ${serving} for ${seconds} s, unless the file comes back or RELOAD confirms its removal`,
      );
    }
  }

  #fileBack(file: string): void {
    for (const set of this.#using(file)) {
      set.journal.back(file);
      if (this.#isGone(set)) continue;
      set.setMissing(null);
      void set.reload();
    }
  }

  /** Under `pass` the rules are taken for removed. A guard that is gone is a failure under any other policy. */
  #fileOverdue(file: string): boolean {
    const guarded = this.#using(file).filter((set) => this.#isGuard(set, file));
    for (const set of guarded) {
      const message = `${file} is gone: each query is a failure until it is back, or RELOAD confirms its removal`;
      set.setMissing(message);
      set.journal.gone(message);
    }
    if (guarded.length > 0) return false;
    // after KnownFiles has forgotten the file
    process.nextTick(() => {
      if (!this.#stopped) this.#lookUp();
    });
    return true;
  }

  /** Whether a function that comes from this file has a policy other than `pass`. */
  #isGuard(set: Tenant, file: string): boolean {
    const { onRoutingFailure, onRewriteFailure } = this.#setSettings(set.files, null);
    const { routing, rewrite } = set.origins;
    return (
      (routing === file && onRoutingFailure !== 'pass') || (rewrite === file && onRewriteFailure !== 'pass')
    );
  }

  /** on the way to user_functions_dir and to the folders of databases in it */
  #places: ReadonlySet<string> = new Set();
  /** names of the folders in user_functions_dir; null: they have not been listed yet */
  #folders: ReadonlySet<string> | null = null;
  #watching = 0;

  /** Watches where rules may appear: user_functions_dir, the folders of databases in it, and what leads there. */
  async #watchFolders(isAgain = false): Promise<void> {
    if (this.#stopped) return;
    const round = ++this.#watching;
    const root = this.#settings.user_functions_dir || null;
    const folders = new Map<string, Matters>();
    const paths: string[] = [];
    let own: Listing | null = { names: [], isWhole: true };
    if (root !== null) {
      paths.push(root);
      own = await namesIn(root);
      if (round !== this.#watching || this.#stopped) return;
      if (own === null) {
        // what is watched stays so until then
        setTimeout(() => void this.#watchFolders(), WATCH.retryMs).unref();
        return;
      }
      if (this.#folders !== null) this.#folders = own.isWhole ? new Set(own.names) : null;
      const names = own.names.filter((name) => this.#isName(name));
      this.#noteFiles(names);
      const databases = names.map((name) => join(root, name));
      paths.push(...databases);
      for (const folder of databases) {
        const real = await realpath(folder).catch(() => null);
        if (real !== null) folders.set(real, isCandidate);
      }
      const real = await realpath(root).catch(() => null);
      if (real !== null)
        folders.set(real, (name, isNew) => isCandidate(name) || (isNew && this.#isName(name)));
    }
    const trail = await trailOf(paths);
    if (round !== this.#watching || this.#stopped) return;
    const before = this.#places;
    this.#places = new Set(trail.keys());
    this.#watcher.watch(this, trail.keys(), folders);
    // A folder that is watched from now on may have got its files before that, and other folders.
    const isNew = [...this.#places].some((place) => !before.has(place));
    if (isNew) this.#lookUp();
    if (isNew && !isAgain) return await this.#watchFolders(true);
    if (own.isWhole) this.#folders ??= new Set(own.names);
  }

  /** Rules of databases that only the `*` entry knows count as known before a client names these. */
  #noteFiles(names: readonly string[]): void {
    for (const name of names) {
      if (this.#byDatabase.has(name)) continue;
      sourceFiles(
        this.#settings,
        name,
        this.#databases.get(name) ?? this.#fallback ?? undefined,
        this.#findFile,
      );
    }
  }
}

interface Listing {
  readonly names: readonly string[];
  /** nothing else is there; otherwise the folder may not be listed, while what is in it may be looked into */
  readonly isWhole: boolean;
}

/** Folders, and links that may lead to some; null: that can't be told now. */
async function namesIn(folder: string): Promise<Listing | null> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    const folders = entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink());
    return { names: folders.map(({ name }) => name), isWhole: true };
  } catch (error) {
    if (isPassingError(error)) return null;
    const { code } = error as NodeJS.ErrnoException;
    return { names: [], isWhole: code === 'ENOENT' || code === 'ENOTDIR' };
  }
}

function keyOf({ routing, rewrite }: SourceFiles): string {
  return `${routing ?? ''}\0${rewrite ?? ''}`;
}

/** @param onLate is called when the work takes longer; it goes on all the same */
async function inTime(work: Promise<unknown>, limitMs: number, onLate: () => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      onLate();
      resolve();
    }, limitMs);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

function byName(databases: Iterable<DatabaseFunctions>): ReadonlyMap<string, DatabaseFunctions> {
  return new Map([...databases].map((database) => [database.name, database]));
}
