/** An entry of [databases], a database made from the `*` entry, or a node of a cluster: its settings, pools and counters. */
import type { DatabaseConfig } from '../config/config.ts';
import { DatabaseStats } from '../telemetry/stats.ts';
import type { Pool } from './pool.ts';
import type { ClusterView, SessionWatch } from './watch.ts';

/** Options that may change while a database keeps its servers. */
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

/** The additional traits of a database for a node of a cluster. */
export interface NodeTraits {
  /** Name of the entry with the topology_query. */
  readonly entry: string;
  /** Whether connections are made in advance (min_pool_size). */
  readonly isPrepared: () => boolean;
}

export class Database {
  readonly name: string;
  /**
   * Name of the entry that it belongs to, by which user functions are looked up: its own name, or for a node of a cluster,
   * that of the database with the topology_query.
   */
  readonly entry: string;
  /** Made from `*` on a client's first use, or for a node. */
  readonly auto: boolean;
  /** It stands for one node of another database's cluster and exists as long as the node does. */
  readonly isNode: boolean;
  readonly stats = new DatabaseStats();
  readonly #pools = new Map<string, Pool>();
  readonly #isPrepared: () => boolean;
  #config: DatabaseConfig;
  #watch: SessionWatch | null = null;
  #cluster: ClusterView | null = null;
  #clientCount = 0;
  #isPaused = false;
  #isDisabled = false;
  #isUp: boolean;
  #isRemoved = false;
  #unusedSince = performance.now();

  /**
   * @param isAuto made from `*`
   * @param node null: an entry of its own
   */
  constructor(name: string, config: DatabaseConfig, isAuto: boolean, node: NodeTraits | null = null) {
    this.name = name;
    this.entry = node?.entry ?? name;
    this.#config = config;
    this.auto = isAuto;
    this.isNode = node !== null;
    this.#isPrepared = node?.isPrepared ?? (() => true);
    this.#isUp = node === null;
  }

  get config(): DatabaseConfig {
    return this.#config;
  }

  /** By user name. */
  get pools(): ReadonlyMap<string, Pool> {
    return this.#pools;
  }

  /** Watches the servers of its pools: its cluster's controller, or its node's watch; null: no topology_query. */
  get watch(): SessionWatch | null {
    return this.#watch;
  }

  /** The cluster that it stands for, or whose node it is; null: no topology_query. */
  get cluster(): ClusterView | null {
    return this.#cluster;
  }

  get clientCount(): number {
    return this.#clientCount;
  }

  /** PAUSE of this database is in force. */
  get paused(): boolean {
    return this.#isPaused;
  }

  /** DISABLE is in force: no client may log in. */
  get disabled(): boolean {
    return this.#isDisabled;
  }

  /** False: a node that does not answer, so that no connections are made in advance. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Connections are made in advance (min_pool_size). */
  get isPrepared(): boolean {
    return this.#isPrepared();
  }

  /** The entry is gone from the configuration, or the node from its cluster. */
  get removed(): boolean {
    return this.#isRemoved;
  }

  /** The time since which it has been unused (autodb_idle_timeout), in ms of performance.now(). */
  get unusedSince(): number {
    return this.#unusedSince;
  }

  /** Servers that exist or are being opened, in all pools. */
  get connectionCount(): number {
    let count = 0;
    for (const pool of this.#pools.values()) count += pool.size;
    return count;
  }

  /**
   * Takes over the settings of a changed entry.
   * @returns true if servers made for the old settings must not be used any more
   */
  configure(config: DatabaseConfig): boolean {
    const isOther = !haveSameServers(config, this.#config);
    this.#config = config;
    return isOther;
  }

  addPool(user: string, pool: Pool): void {
    this.#pools.set(user, pool);
  }

  removePool(user: string): void {
    this.#pools.delete(user);
  }

  /** Its servers are watched from now on. @param cluster the one that it stands for, or whose node it is */
  watchBy(watch: SessionWatch, cluster: ClusterView): void {
    this.#watch = watch;
    this.#cluster = cluster;
  }

  /** Its cluster is no longer watched. */
  unwatch(): void {
    this.#watch = null;
    this.#cluster = null;
  }

  /** A client uses it from now on. */
  enter(): void {
    this.#clientCount++;
  }

  /** A client that had entered is gone, or uses another database. */
  leave(): void {
    this.#clientCount--;
  }

  /** Used by Pause. */
  setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
  }

  setDisabled(isDisabled: boolean): void {
    this.#isDisabled = isDisabled;
  }

  /** Its node answers, or does not. */
  setUp(isUp: boolean): void {
    this.#isUp = isUp;
  }

  remove(): void {
    this.#isRemoved = true;
  }

  noteUse(now: number): void {
    this.#unusedSince = now;
  }
}

/** Limits, and the rules of logins, do not affect existing servers. */
function haveSameServers(one: DatabaseConfig, other: DatabaseConfig): boolean {
  const ofServers = (config: DatabaseConfig): string =>
    JSON.stringify(config, (key, value: unknown) => (NOT_OF_SERVERS.has(key) ? undefined : value));
  return ofServers(one) === ofServers(other);
}
