/**
 * Snapshots of databases, users, peers and pools.
 * Plain data, with units in the names (docs/architecture.md).
 */
import type { CancelSnapshot, ServerPhase, ServerSnapshot } from './sessions.ts';

export type PoolModeName = 'session' | 'transaction' | 'statement';

/** The servers of one (database, user) pair. */
export interface PoolSnapshot {
  readonly database: string;
  readonly user: string;
  readonly mode: PoolModeName;
  /** how servers are spread over a list of hosts; null: there is one host */
  readonly balancing: string | null;
  /** servers by phase */
  readonly servers: Readonly<Record<ServerPhase, number>>;
  /** connections that are being made, those without a socket yet included */
  readonly connecting: number;
  /** cancel requests: sent to a server, and not yet sent */
  readonly activeCancels: number;
  readonly waitingCancels: number;
  /** a sentence about the last attempt to connect, if it failed; null: it did not */
  readonly lastFailure: string | null;
}

/** A database with the limits that apply to it, its own or the global ones. 0: no limit. */
export interface DatabaseSnapshot {
  readonly name: string;
  /** null: the local Unix socket */
  readonly hosts: string | null;
  readonly port: number;
  /** its name at the server */
  readonly serverDatabase: string;
  /** null: the client's */
  readonly forcedUser: string | null;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly serverLifetimeMs: number;
  /** null: the global one */
  readonly mode: PoolModeName | null;
  readonly balancing: string | null;
  readonly maxConnections: number;
  readonly connections: number;
  readonly maxClientConnections: number;
  readonly clientConnections: number;
  readonly isPaused: boolean;
  readonly isDisabled: boolean;
}

/** A user of auth_file or [users], or one that has logged in. Options are null if the user's entry does not set them. */
export interface UserSnapshot {
  readonly name: string;
  readonly poolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly mode: PoolModeName | null;
  /** 0: no limit */
  readonly maxConnections: number;
  readonly connections: number;
  readonly maxClientConnections: number;
}

/** Another process of the same service, and the cancel requests on their way to it. */
export interface PeerSnapshot {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly poolSize: number;
  readonly activeCancels: number;
  readonly waitingCancels: number;
  readonly connecting: number;
}

/** A host name that was looked up. */
export interface HostSnapshot {
  readonly name: string;
  readonly ttlSeconds: number;
  readonly addresses: readonly string[];
}

/** The number of databases, pools and servers. */
export interface PoolsSnapshot {
  readonly databases: number;
  readonly users: number;
  readonly peers: number;
  readonly pools: number;
  /** servers that exist or are being made */
  readonly servers: number;
  /** host names that were looked up, and look-ups without an answer yet */
  readonly hostNames: number;
  readonly pendingLookups: number;
}

export interface ObservePools {
  /** The number of databases, pools and servers. */
  observe(): PoolsSnapshot;
  /** Each database, by name, except the console's. */
  databases(): Iterable<DatabaseSnapshot>;
  /** Each pool, by database and user, except the console's. */
  pools(): Iterable<PoolSnapshot>;
  /** Each server and each cancel request on its way to one, by pool. */
  servers(): Iterable<ServerSnapshot | CancelSnapshot>;
  /** Each server with bytes that it has not taken yet. No snapshots are built of the others. */
  busyServers(): Iterable<ServerSnapshot>;
  /** Each user, by name; the console's own, `pgbouncer`, included. */
  users(): Iterable<UserSnapshot>;
  peers(): PeerSnapshot[];
  hosts(): HostSnapshot[];
}
