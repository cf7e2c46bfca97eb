/** All databases of the proxy, and with them all pools: finds them by name, makes them, and follows the configuration. */
import type { Config, DatabaseConfig } from '../config/config.ts';
import { Capacity } from './capacity.ts';
import { openServer, type OpenServer } from './connect.ts';
import type { Context } from './context.ts';
import { Credentials } from './credentials.ts';
import { Database } from './database.ts';
import { clusterPart, cutName, NOT_FOR_FALLBACK, type ClusterPart } from './names.ts';
import type { LifecycleView } from '../lifecycle.ts';
import { Pool } from './pool.ts';
import type { Resolver } from './resolver.ts';
import type { Server } from './server.ts';
import type { PoolSurroundings } from './surroundings.ts';
import type { Turnover } from './turnover.ts';
import { Users, type User } from './users.ts';

/** The number of unused auto-databases above which the oldest are forgotten before autodb_idle_timeout. */
const MAX_UNUSED_AUTO = 1000;

/** The part that watches clusters (src/switchover), as the directory needs it. */
export interface Clusters {
  /**
   * Resolves an alias such as dev@readers to its present database; null: not an alias.
   * @param current returned while it is still a valid choice
   */
  resolveAlias(name: string, current: Database | null): Database | null;
  /** The entry that an alias belongs to; unlike `resolveAlias`, this does not choose the next reader. */
  entryOfAlias(name: string): string | null;
  /** The first pool of a database with a topology_query was made. */
  used(database: Database, directory: Directory): void;
  /** A database was dropped. */
  forgotten(database: Database): void;
}

export interface DirectoryOptions {
  readonly context: Context;
  readonly resolver: Resolver;
  readonly lifecycle: LifecycleView;
  readonly turnover: Turnover;
  readonly clusters: Clusters;
  /** Tests put another one in its place. */
  readonly connect?: OpenServer;
}

export class Directory {
  readonly users: Users;
  readonly #context: Context;
  readonly #clusters: Clusters;
  readonly #surroundings: PoolSurroundings;
  readonly #databases = new Map<string, Database>();
  /** auto-databases made since the last search for unused ones */
  #autoMade = 0;

  constructor({ context, resolver, lifecycle, turnover, clusters, connect = openServer }: DirectoryOptions) {
    this.#context = context;
    this.#clusters = clusters;
    this.users = new Users(context);
    const capacity = new Capacity(() => this.allPools());
    this.#surroundings = { context, resolver, lifecycle, turnover, capacity, connect };
    this.#adopt(context.config);
  }

  /** By name. */
  get databases(): ReadonlyMap<string, Database> {
    return this.#databases;
  }

  // databases by name

  /**
   * The name of the entry that a name leads to: itself, that of the cluster that it is a part of, or one that the `*` entry
   * would stand for. Null: no such database.
   */
  entryOf(name: string): string | null {
    const entry = this.#databases.get(name)?.entry ?? this.#clusters.entryOfAlias(name);
    if (entry !== null) return entry;
    if (this.#context.config.fallback === null || NOT_FOR_FALLBACK.has(name) || cutName(name) !== name)
      return null;
    const part = clusterPart(name);
    return part === null ? name : this.#newCluster(part);
  }

  /**
   * Looks up a database by name, alias or the `*` entry (creating it). Null if none matches.
   * @param current for an alias: returned while it is still a valid choice
   */
  find(name: string, current: Database | null = null): Database | null {
    const known = this.#databases.get(name);
    if (known !== undefined && !known.removed) return known;
    const alias = this.#clusters.resolveAlias(name, current);
    if (alias !== null) return alias;
    const { fallback } = this.#context.config;
    if (fallback === null || NOT_FOR_FALLBACK.has(name)) return null;
    if (cutName(name) !== name) return this.find(cutName(name), current);
    const part = clusterPart(name);
    if (part !== null) {
      // the cluster has not been used yet, so its nodes are unknown: the search for them begins at its writer
      const cluster = this.#newCluster(part);
      return cluster === null ? null : this.find(cluster);
    }
    const database = new Database(name, { ...fallback, name }, true);
    this.#databases.set(name, database);
    this.#context.log.info({ database: name, event: 'autodb' }, `registered new auto-database: ${name}`);
    if (++this.#autoMade >= MAX_UNUSED_AUTO) this.#forgetUnused();
    return database;
  }

  /** As `find`, for an alias only: null for other names. */
  resolveAlias(name: string, current: Database | null): Database | null {
    return this.#clusters.resolveAlias(name, current);
  }

  /** Whether a name is a database, or an alias of a part of a cluster. The `*` entry does not count. */
  isKnown(name: string): boolean {
    return this.#databases.has(name) || this.#clusters.entryOfAlias(name) !== null;
  }

  /** The cluster of which an unknown name would be the writer or the readers; null: none. */
  #newCluster({ cluster, role }: ClusterPart): string | null {
    const config = this.#databases.get(cluster)?.config ?? this.#context.config.fallback;
    return role !== null && config?.topology_query != null ? cluster : null;
  }

  /** Clients can make up names at no cost, without even logging in: if there are too many unused ones, some are forgotten. */
  #forgetUnused(): void {
    const unused = [...this.#databases.values()].filter(
      ({ auto, isNode, clientCount, pools, paused, disabled }) =>
        auto && !isNode && clientCount === 0 && pools.size === 0 && !paused && !disabled,
    );
    // so that the next search comes after as many names again
    this.#autoMade = Math.min(unused.length, MAX_UNUSED_AUTO / 2);
    const surplus = unused.slice(0, Math.max(0, unused.length - MAX_UNUSED_AUTO / 2));
    for (const { name } of surplus) this.#databases.delete(name);
    if (surplus.length > 0)
      this.#context.log.warn({ event: 'autodb' }, `forgot ${surplus.length} unused auto-databases`);
  }

  /** A node has joined a cluster: its database can be found by name. */
  addNode(database: Database): void {
    this.#databases.set(database.name, database);
  }

  /** The node has left its cluster. */
  removeNode(database: Database): void {
    database.remove();
    this.#databases.delete(database.name);
  }

  /** Forgets a database whose entry is gone, or that came from `*` and is no longer used. */
  forget(database: Database): void {
    const { name } = database;
    this.#databases.delete(name);
    this.#clusters.forgotten(database);
    this.#context.log.warn(
      { database: name },
      `dropping database '${name}' as it does not exist anymore or inactive auto-database`,
    );
  }

  // pools and servers

  /** The pool that a user's queries in a database go through: that of the database's forced user, if it has one. */
  pool(database: Database, clientUser: string): Pool {
    return this.poolOf(database, database.config.user ?? clientUser);
  }

  /** The pool of exactly this user: auth_query runs as auth_user even where clients' queries run as another. */
  poolOf(database: Database, name: string): Pool {
    return database.pools.get(name) ?? this.#makePool(database, this.users.get(name));
  }

  #makePool(database: Database, user: User): Pool {
    const credentials = new Credentials(user.name, this.#secretFor(database, user.name));
    const pool = new Pool(this.#surroundings, database, user, credentials);
    user.notePool();
    database.addPool(user.name, pool);
    // the database may have been forgotten while its first client logged in
    if (database.auto && !database.removed && !this.#databases.has(database.name))
      this.#databases.set(database.name, database);
    if (database.config.topology_query !== null && database.pools.size === 1)
      this.#clusters.used(database, this);
    return pool;
  }

  #secretFor({ config }: Pick<Database, 'config'>, user: string): string | null {
    const own = config.user === null || config.user === user ? config.password : null;
    return own ?? this.#context.config.userlist.get(user) ?? null;
  }

  *allPools(): Generator<Pool> {
    for (const database of this.#databases.values()) yield* database.pools.values();
  }

  *allServers(): Generator<Server> {
    for (const pool of this.allPools()) yield* pool.servers;
  }

  /** The pools of one database, or (null) of all. */
  *poolsOf(database: Database | null): Generator<Pool> {
    if (database === null) yield* this.allPools();
    else yield* database.pools.values();
  }

  /** Whether servers of a database, or (null) of any, exist or are being opened. */
  hasServers(database: Database | null): boolean {
    for (const pool of this.poolsOf(database)) if (pool.size > 0) return true;
    return false;
  }

  /** Whether servers that must be closed (RECONNECT, RELOAD) still exist (WAIT_CLOSE). */
  hasRetired(database: Database | null): boolean {
    for (const pool of this.poolsOf(database)) {
      for (const server of pool.servers) if (server.closeReason !== null) return true;
      if (pool.opener.connecting !== null && pool.opener.connecting.closeReason !== null) return true;
    }
    return false;
  }

  /** A host name has other addresses than before: retires servers at the vanished ones. */
  hostMoved(host: string, addresses: readonly string[]): void {
    for (const server of [...this.allServers()]) {
      if (server.host === host && !addresses.includes(server.remoteAddress))
        server.pool.retireServer(server, 'database configuration changed');
    }
  }

  // configuration

  /**
   * Follows a new configuration (RELOAD, SET), which the context already has: new databases appear, and changed ones have
   * their servers closed as they come free.
   * @returns the vanished databases: they can no longer be found, but their clients are still connected
   */
  reconfigure(): Database[] {
    const { config } = this.#context;
    const removed: Database[] = [];
    for (const database of [...this.#databases.values()]) {
      if (database.isNode) continue;
      const next = this.#nextConfig(config, database);
      if (next === null) {
        database.remove();
        this.forget(database);
        for (const pool of database.pools.values()) pool.retire('database removed');
        removed.push(database);
      } else if (database.configure(next)) {
        for (const pool of database.pools.values()) pool.retire('database configuration changed');
      }
    }
    this.#adopt(config);
    for (const pool of this.allPools()) {
      const secret = this.#secretFor(pool.database, pool.credentials.user);
      pool.credentials.renew(secret);
    }
    this.#surroundings.turnover.activate();
    return removed;
  }

  #nextConfig(config: Config, { name, auto }: Database): DatabaseConfig | null {
    return (
      config.databases.get(name) ?? (auto && config.fallback !== null ? { ...config.fallback, name } : null)
    );
  }

  #adopt(config: Config): void {
    for (const [name, entry] of config.databases) {
      if (!this.#databases.has(name)) this.#databases.set(name, new Database(name, entry, false));
    }
    this.users.reconfigure();
    // a forced user with min_pool_size has its pool without any client
    for (const database of this.#databases.values()) {
      const minimum = database.config.min_pool_size ?? config.settings.min_pool_size;
      if (database.config.user !== null && minimum > 0) this.pool(database, database.config.user);
    }
  }
}
