import type { Config, DatabaseConfig, UserConfig } from '../config/config.ts';
import type { Logger } from '../telemetry/log.ts';
import { DatabaseStats, IdCounter } from '../telemetry/stats.ts';
import { TrackedParameters } from './parameters.ts';
import { Peers } from './peers.ts';
import { Pool } from './pool.ts';
import { Resolver } from './resolver.ts';
import type { Server } from './server.ts';
import type { ClusterView, SessionWatch } from './watch.ts';

/** A user name as limits and SHOW USERS know it. */
export interface UserState {
  readonly name: string;
  /** entry in [users], if there is one */
  config: UserConfig | null;
  clientCount: number;
  /** a pool is his: he stays */
  hasPool: boolean;
}

/** An entry of [databases], or one that the `*` entry gave rise to. */
export class Database {
  readonly name: string;
  /**
   * Name of the entry that it belongs to, by which user functions are looked up: its own name; for a node of a cluster, that
   * of the database with the topology_query.
   */
  readonly entry: string;
  config: DatabaseConfig;
  /** made from `*` on a client's first use */
  readonly auto: boolean;
  readonly pools = new Map<string, Pool>();
  readonly stats = new DatabaseStats();
  clientCount = 0;
  paused = false;
  disabled = false;
  /** watches the servers of its pools: its cluster's controller, or its node's watch; null: no topology_query */
  watch: SessionWatch | null = null;
  /** the cluster that it stands for, or whose node it is; null: no topology_query */
  cluster: ClusterView | null = null;
  /** it stands for one node of another database's cluster, and is there as long as the node is */
  isNode = false;
  /** false: a node that does not answer, so that no connections are made in advance */
  isUp = true;
  /** connections are made in advance (min_pool_size), for a node */
  isPrepared: () => boolean = () => true;
  /** the entry is gone from the configuration */
  removed = false;
  /** ms of performance.now() since when nobody uses it (autodb_idle_timeout) */
  unusedSince = performance.now();

  constructor(name: string, config: DatabaseConfig, auto: boolean, entry = name) {
    this.name = name;
    this.entry = entry;
    this.config = config;
    this.auto = auto;
  }

  /** Servers that exist or are being made, in all pools. */
  get connectionCount(): number {
    let count = 0;
    for (const pool of this.pools.values()) count += pool.size;
    return count;
  }
}

/** Names that the `*` entry does not stand for: none at all, its own, and the console's. */
const NO_DBKEYS: ReadonlySet<string> = new Set(['', '*', 'pgbouncer']);
/** What may change while a database's servers stay. */
const NOT_OF_SERVERS: ReadonlySet<string> = new Set([
  'auth_dbname',
  'auth_query',
  'auth_user',
  'max_db_client_connections',
  'max_db_connections',
  'min_pool_size',
  'pool_size',
  'query_wait_timeout',
  'reserve_pool_size',
  'rewrite_query_file',
  'routing_rules_file',
  'routing_targets',
  'server_lifetime',
  'user_functions_allow',
] satisfies (keyof DatabaseConfig)[]);
/** `dev@writer`, `dev@readers`, `dev@host:port`: names that stand for a part of a cluster, and never for a new database. */
const PART_OF_CLUSTER = /^(.+)@(?:(writer|readers)|[^@]+:\d+)$/s;
/** Databases that clients have named and nobody uses: of more than that, the oldest are forgotten before their time. */
const MAX_UNUSED_AUTO = 1000;

/**
 * All databases, pools and users, and what is limited across them. There is one for the whole proxy; whoever wants a
 * connection asks it.
 */
export class Registry {
  config: Config;
  readonly log: Logger;
  readonly ids = new IdCounter();
  readonly tracked: TrackedParameters;
  readonly peers = new Peers(this);
  readonly resolver = new Resolver({
    ttls: () => this.config.settings,
    onChange: (host, addresses) => this.#hostMoved(host, addresses),
  });
  readonly databases = new Map<string, Database>();
  readonly users = new Map<string, UserState>();
  /** pools in which somebody waits */
  readonly waitingPools = new Set<Pool>();
  /** PAUSE without a database */
  paused = false;
  /** no new servers any more */
  stopping = false;
  /** names that stand for a database of the moment, as dev@readers; `current` is kept for as long as it will do */
  resolveAlias: (name: string, current?: Database | null) => Database | null = () => null;
  /** the entry that an alias belongs to; unlike `resolveAlias` it does not choose the next reader */
  entryOfAlias: (name: string) => string | null = () => null;
  /** told of each database with a topology_query when its first pool is made, and when it is no more */
  onFirstPool: (database: Database) => void = () => {};
  onForgotten: (database: Database) => void = () => {};
  /** auto-databases that were made since unused ones were looked for */
  #autoMade = 0;
  #activation: NodeJS.Immediate | null = null;
  readonly #serverWatchers = new Set<() => void>();

  constructor(config: Config, log: Logger) {
    this.config = config;
    this.log = log;
    this.tracked = new TrackedParameters(config.settings.track_extra_parameters);
    this.#adopt(config);
  }

  /**
   * Name of the entry that a name leads to: itself, that of the cluster that it is a part of, or one that the `*` entry stands
   * for. Null: no such database.
   */
  entryOf(name: string): string | null {
    const entry = this.databases.get(name)?.entry ?? this.entryOfAlias(name);
    if (entry !== null) return entry;
    if (this.config.fallback === null || NO_DBKEYS.has(name) || cutName(name) !== name) return null;
    const part = PART_OF_CLUSTER.exec(name);
    return part === null ? name : this.#newCluster(part);
  }

  /** The database of that name, or `current` where that does for an alias; made from the `*` entry when there is one; null: no such database. */
  find(name: string, current: Database | null = null): Database | null {
    const known = this.databases.get(name);
    if (known !== undefined && !known.removed) return known;
    const alias = this.resolveAlias(name, current);
    if (alias !== null) return alias;
    const { fallback } = this.config;
    if (fallback === null || NO_DBKEYS.has(name)) return null;
    if (cutName(name) !== name) return this.find(cutName(name), current);
    const part = PART_OF_CLUSTER.exec(name);
    if (part !== null) {
      // nobody has used the cluster yet, so nothing is known of its nodes: its writer is where the search for them begins
      const cluster = this.#newCluster(part);
      return cluster === null ? null : this.find(cluster);
    }
    const database = new Database(name, { ...fallback, name }, true);
    this.databases.set(name, database);
    this.log.info({ database: name, event: 'autodb' }, `registered new auto-database: ${name}`);
    if (++this.#autoMade >= MAX_UNUSED_AUTO) this.#forgetUnused();
    return database;
  }

  /** The cluster of which a name that nobody knows would be the writer or the readers; null: there is none. */
  #newCluster([, name, role]: RegExpExecArray): string | null {
    const config = this.databases.get(name!)?.config ?? this.config.fallback;
    return role !== undefined && config?.topology_query != null ? name! : null;
  }

  /** Names cost their clients nothing, not even a login. */
  #forgetUnused(): void {
    const unused = [...this.databases.values()].filter(
      ({ auto, isNode, clientCount, pools, paused, disabled }) =>
        auto && !isNode && clientCount === 0 && pools.size === 0 && !paused && !disabled,
    );
    // so that the next look comes after as many names again
    this.#autoMade = Math.min(unused.length, MAX_UNUSED_AUTO / 2);
    const surplus = unused.slice(0, Math.max(0, unused.length - MAX_UNUSED_AUTO / 2));
    for (const { name } of surplus) this.databases.delete(name);
    if (surplus.length > 0)
      this.log.warn({ event: 'autodb' }, `forgot ${surplus.length} auto-databases that nobody uses`);
  }

  /** A client has left; of one who has no entry and no pool nothing is kept. */
  userLeft(name: string): void {
    const user = this.user(name);
    user.clientCount--;
    if (user.clientCount === 0 && user.config === null && !user.hasPool) this.users.delete(name);
  }

  /** A user, who is remembered from now on: until `userLeft`, where a client of that name has come in. */
  user(name: string): UserState {
    const state = this.lookUpUser(name);
    this.users.set(name, state);
    return state;
  }

  /** A user for whoever has not come in yet: names can be made up without end, and those of the refused are forgotten. */
  lookUpUser(name: string): UserState {
    const config = this.config.users.get(name) ?? null;
    return this.users.get(name) ?? { name, config, clientCount: 0, hasPool: false };
  }

  /** The pool that a user's queries in a database go through: that of the database's forced user, if it has one. */
  pool(database: Database, clientUser: string): Pool {
    return this.poolOf(database, database.config.user ?? clientUser);
  }

  /** The pool of exactly this user: auth_query runs as auth_user also where clients' queries run as another. */
  poolOf(database: Database, name: string): Pool {
    let pool = database.pools.get(name);
    if (pool === undefined) {
      pool = new Pool(this, database, this.user(name), {
        user: name,
        secret: this.#secretFor(database, name),
        learned: null,
      });
      pool.userState.hasPool = true;
      database.pools.set(name, pool);
      // it may have been forgotten while its first client logged in
      if (database.auto && !database.removed && !this.databases.has(database.name))
        this.databases.set(database.name, database);
      if (database.config.topology_query !== null && database.pools.size === 1) this.onFirstPool(database);
    }
    return pool;
  }

  *allPools(): Generator<Pool> {
    for (const database of this.databases.values()) yield* database.pools.values();
  }

  *allServers(): Generator<Server> {
    for (const pool of this.allPools()) yield* pool.servers;
  }

  /**
   * Whether one more server may be opened for a pool under the limits of its database and its user. An idle server of
   * another pool is closed to make room, the one that has been idle longest, when `evict` is set.
   */
  mayConnect(pool: Pool, limits: { database: number; user: number; evict: boolean }): boolean {
    const ofDatabase = (): Pool[] => [...pool.database.pools.values()];
    const ofUser = (): Pool[] => [...this.allPools()].filter((each) => each.userState === pool.userState);
    return (
      this.#hasRoom(limits.database, ofDatabase, pool, limits.evict) &&
      this.#hasRoom(limits.user, ofUser, pool, limits.evict)
    );
  }

  #hasRoom(limit: number, candidates: () => Pool[], asking: Pool, evict: boolean): boolean {
    if (limit <= 0) return true;
    for (;;) {
      const pools = candidates();
      if (pools.reduce((count, each) => count + each.size, 0) < limit) return true;
      if (!evict) return false;
      let victim: Server | null = null;
      for (const each of pools) {
        const server = each === asking ? null : each.longestIdle();
        if (server && (!victim || server.releasedAt < victim.releasedAt)) victim = server;
      }
      if (victim === null) return false;
      victim.close('evicted');
    }
  }

  /** The pools of one database, or (null) of all. */
  *poolsOf(database: Database | null): Generator<Pool> {
    if (database === null) yield* this.allPools();
    else yield* database.pools.values();
  }

  /**
   * PAUSE, of one database or (null) of all: free servers and those that are logging in are closed now, the others when
   * they come free.
   */
  pause(database: Database | null): void {
    if (database === null) this.paused = true;
    else database.paused = true;
    for (const pool of this.poolsOf(database)) {
      pool.opener.abort('pause mode');
      for (const server of [...pool.idle]) server.close('pause mode');
    }
  }

  /** Ends what `pause` began; whoever waits for it to come to rest looks again. */
  resume(database: Database | null): void {
    if (database === null) this.paused = false;
    else database.paused = false;
    this.recheck();
    this.activate();
  }

  /** Whether servers of a database, or (null) of any, exist or are being made. */
  hasServers(database: Database | null): boolean {
    for (const pool of this.poolsOf(database)) if (pool.size > 0) return true;
    return false;
  }

  /** Whether servers that are to be closed (RECONNECT, RELOAD) are still there (WAIT_CLOSE). */
  hasRetired(database: Database | null): boolean {
    for (const pool of this.poolsOf(database)) {
      for (const server of pool.servers) if (server.closeReason !== null) return true;
      if (pool.opener.connecting !== null && pool.opener.connecting.closeReason !== null) return true;
    }
    return false;
  }

  /** A name has other addresses than before: servers at those that vanished go. */
  #hostMoved(host: string, addresses: readonly string[]): void {
    for (const server of [...this.allServers()]) {
      if (server.host === host && !addresses.includes(server.remoteAddress))
        server.pool.retireServer(server, 'database configuration changed');
    }
  }

  /** A server is gone: room for those who wait for another, in whichever pool. */
  serverGone(pool: Pool): void {
    if (pool.database.clientCount === 0) pool.database.unusedSince = performance.now();
    this.recheck();
    this.#activateSoon();
  }

  /** A server became free with nobody in its own pool waiting; others may want its place. */
  serverIdle(): void {
    if (this.waitingPools.size > 0) this.#activateSoon();
    if (this.#serverWatchers.size > 0) this.recheck();
  }

  /** Those who wait in untilServers look again. */
  recheck(): void {
    for (const watcher of [...this.#serverWatchers]) watcher();
  }

  /** Calls back whenever a server is gone or free, until the returned function is called (PAUSE, WAIT_CLOSE). */
  watchServers(watcher: () => void): () => void {
    this.#serverWatchers.add(watcher);
    return () => this.#serverWatchers.delete(watcher);
  }

  /** Resolves when `done` holds; looked at whenever a server is gone or free. */
  async untilServers(done: () => boolean): Promise<void> {
    if (done()) return;
    await new Promise<void>((resolve) => {
      const stop = this.watchServers(() => {
        if (!done()) return;
        stop();
        resolve();
      });
    });
  }

  /** Gives every pool with waiters a chance. */
  activate(): void {
    for (const pool of [...this.waitingPools]) pool.activate();
  }

  #activateSoon(): void {
    if (this.waitingPools.size === 0 || this.#activation !== null) return;
    this.#activation = setImmediate(() => {
      this.#activation = null;
      this.activate();
    });
  }

  /**
   * Takes over a new configuration: new databases appear, changed ones have their servers closed as they come free,
   * those that vanished are returned, already out of reach, for their clients to be told.
   */
  reconfigure(config: Config): Database[] {
    const removed: Database[] = [];
    this.config = config;
    for (const [name, database] of this.databases) {
      if (database.isNode) continue;
      const next =
        config.databases.get(name) ??
        (database.auto ? config.fallback && { ...config.fallback, name } : null);
      if (!next) {
        database.removed = true;
        this.forget(database);
        for (const pool of database.pools.values()) pool.retire('database removed');
        removed.push(database);
      } else {
        const isOther = !haveSameServers(next, database.config);
        database.config = next;
        if (isOther)
          for (const pool of database.pools.values()) pool.retire('database configuration changed');
      }
    }
    for (const [name, state] of this.users) state.config = config.users.get(name) ?? null;
    this.#adopt(config);
    for (const pool of this.allPools()) {
      const { user } = pool.credentials;
      pool.credentials.secret = this.#secretFor(pool.database, user) ?? pool.credentials.secret;
    }
    this.activate();
    return removed;
  }

  /** A database is no more. */
  forget(database: Database): void {
    const { name } = database;
    this.databases.delete(name);
    this.onForgotten(database);
    this.log.warn(
      { database: name },
      `dropping database '${name}' as it does not exist anymore or inactive auto-database`,
    );
  }

  #adopt(config: Config): void {
    for (const [name, entry] of config.databases) {
      if (!this.databases.has(name)) this.databases.set(name, new Database(name, entry, false));
    }
    for (const name of config.users.keys()) this.user(name);
    // a forced user with min_pool_size has its pool without any client
    for (const database of this.databases.values()) {
      const minimum = database.config.min_pool_size ?? config.settings.min_pool_size;
      if (database.config.user !== null && minimum > 0) this.pool(database, database.config.user);
    }
  }

  #secretFor(database: Database, user: string): string | null {
    const { user: forced, password } = database.config;
    const own = forced === null || forced === user ? password : null;
    return own ?? this.config.userlist.get(user) ?? null;
  }
}

/** Longest name that PostgreSQL has, in bytes: NAMEDATALEN less the NUL. */
const MAX_NAME_BYTES = 63;

/**
 * A name as PostgreSQL cuts it: to 63 bytes, at the border of a character (truncate_identifier, pg_mbcliplen). Servers cut
 * what they are sent, so a longer name reaches the database or role of the shorter one.
 */
export function cutName(name: string): string {
  // a character has at most three bytes for each of its UTF-16 units
  if (name.length * 3 <= MAX_NAME_BYTES || Buffer.byteLength(name) <= MAX_NAME_BYTES) return name;
  const bytes = Buffer.from(name);
  let end = MAX_NAME_BYTES;
  // a byte 10xxxxxx goes on with the character before it
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

/** Limits, and who may log in, say nothing of the servers that there are. */
function haveSameServers(one: DatabaseConfig, other: DatabaseConfig): boolean {
  const ofServers = (config: DatabaseConfig): string =>
    JSON.stringify(config, (key, value: unknown) => (NOT_OF_SERVERS.has(key) ? undefined : value));
  return ofServers(one) === ofServers(other);
}
