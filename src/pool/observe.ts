/** Snapshots of databases, pools, servers and users. */
import type { Settings } from '../config/options.ts';
import { plainAddress } from '../platform/plain-address.ts';
import { compareNames } from '../telemetry/name-order.ts';
import type {
  DatabaseSnapshot,
  HostSnapshot,
  ObservePools,
  PeerSnapshot,
  PoolSnapshot,
  PoolsSnapshot,
  UserSnapshot,
} from '../telemetry/snapshots/pools.ts';
import type { CancelSnapshot, ServerPhase, ServerSnapshot } from '../telemetry/snapshots/sessions.ts';
import type { CancelDelivery } from './cancels.ts';
import type { Database } from './database.ts';
import type { Context } from './context.ts';
import type { Directory } from './directory.ts';
import type { Peers } from './peers.ts';
import type { Pool } from './pool.ts';
import { serverPhase } from './phase.ts';
import type { Resolver } from './resolver.ts';
import type { Server, ServerUser } from './server.ts';
import { unixPath } from './socket.ts';

/** The console's database and user, which are listed among the users. */
const CONSOLE = 'pgbouncer';

/** The client that a server is linked to. */
export interface LinkedClient {
  readonly id: number;
  readonly replication: 'none' | 'logical' | 'physical';
  /** ms of performance.now() */
  readonly requestedAt: number;
}

/** The observed parts. */
export interface ObservedPools {
  readonly context: Context;
  readonly directory: Directory;
  readonly resolver: Resolver;
  readonly peers: Peers;
}

export class PoolsObserver implements ObservePools {
  readonly #context: Context;
  readonly #directory: Directory;
  readonly #resolver: Resolver;
  readonly #peers: Peers;
  readonly #clientOf: (user: ServerUser | null) => LinkedClient | null;

  /** @param clientOf the client that uses a server; null: no client, or the proxy itself */
  constructor(
    { context, directory, resolver, peers }: ObservedPools,
    clientOf: (user: ServerUser | null) => LinkedClient | null,
  ) {
    this.#context = context;
    this.#directory = directory;
    this.#resolver = resolver;
    this.#peers = peers;
    this.#clientOf = clientOf;
  }

  observe(): PoolsSnapshot {
    const resolver = this.#resolver;
    let pools = 0;
    let servers = 0;
    for (const pool of this.#directory.allPools()) {
      pools++;
      servers += pool.size;
    }
    return {
      databases: this.#directory.databases.size,
      users: this.#userNames().size,
      peers: this.#peers.all().length,
      pools,
      servers,
      hostNames: resolver.hosts(0).length,
      pendingLookups: resolver.pending,
    };
  }

  *databases(): Generator<DatabaseSnapshot> {
    const { databases } = this.#directory;
    for (const name of [...databases.keys()].sort(compareNames)) {
      const database = databases.get(name);
      if (database !== undefined) yield databaseSnapshot(this.#context.settings, database);
    }
  }

  *pools(): Generator<PoolSnapshot> {
    for (const pool of poolsInOrder(this.#directory)) yield poolSnapshot(pool, performance.now());
  }

  *servers(): Generator<ServerSnapshot | CancelSnapshot> {
    for (const pool of poolsInOrder(this.#directory)) {
      for (const server of liveServersOf(pool))
        yield serverSnapshot(server, this.#clientOf(server.user), performance.now());
      for (const delivery of [...pool.cancels.deliveries.values()]) yield cancelSnapshot(pool, delivery);
    }
  }

  *busyServers(): Generator<ServerSnapshot> {
    for (const pool of poolsInOrder(this.#directory))
      for (const server of liveServersOf(pool))
        if (server.socket.writableLength > 0)
          yield serverSnapshot(server, this.#clientOf(server.user), performance.now());
  }

  *users(): Generator<UserSnapshot> {
    const { config } = this.#context;
    const connections = new Map<string, number>();
    for (const pool of this.#directory.allPools())
      connections.set(pool.user, (connections.get(pool.user) ?? 0) + pool.size);
    for (const name of [...this.#userNames()].sort(compareNames)) {
      const entry = config.users.get(name);
      yield {
        name,
        poolSize: entry?.pool_size ?? null,
        reservePoolSize: entry?.reserve_pool_size ?? null,
        mode: entry?.pool_mode ?? null,
        maxConnections: entry?.max_user_connections || config.settings.max_user_connections,
        connections: connections.get(name) ?? 0,
        maxClientConnections:
          entry?.max_user_client_connections || config.settings.max_user_client_connections,
      };
    }
  }

  peers(): PeerSnapshot[] {
    const { config } = this.#context;
    return this.#peers.all().map(({ id, host, port, pool_size: poolSize }) => {
      const { active, waiting, connecting } = this.#peers.cancelsTo(id);
      return {
        id,
        host,
        port,
        poolSize: poolSize ?? config.settings.default_pool_size,
        activeCancels: active,
        waitingCancels: waiting,
        connecting,
      };
    });
  }

  hosts(): HostSnapshot[] {
    return this.#resolver
      .hosts(performance.now())
      .map(({ host, ttlSeconds, addresses }) => ({ name: host, ttlSeconds, addresses: [...addresses] }));
  }

  /** Users of auth_file, of [users], forced users, and users that have logged in. */
  #userNames(): Set<string> {
    const { config } = this.#context;
    const names = new Set([CONSOLE, ...config.userlist.keys(), ...config.users.keys()]);
    for (const { name } of this.#directory.users) names.add(name);
    for (const { user } of config.databases.values()) if (user !== null) names.add(user);
    return names;
  }
}

/** All pools, in the order of their databases' and users' names. */
export function poolsInOrder(directory: Pick<Directory, 'allPools'>): Pool[] {
  return [...directory.allPools()].sort(
    (a, b) => compareNames(a.database.name, b.database.name) || compareNames(a.user, b.user),
  );
}

/** The present servers of a pool, including the one that is logging in. Servers that close in the meantime are left out. */
export function* liveServersOf(pool: Pool): Generator<Server> {
  for (const server of serversOf(pool)) if (server.state !== 'closed') yield server;
}

function serversOf({ opener: { connecting }, servers }: Pool): Server[] {
  return connecting === null || servers.has(connecting) ? [...servers] : [...servers, connecting];
}

/** pgbouncer shows this only for a list of hosts to balance over. */
function balancingOf({ config }: Pick<Database, 'config'>): string | null {
  return config.hosts.length > 1 ? config.load_balance_hosts : null;
}

function poolSnapshot(pool: Pool, now: number): PoolSnapshot {
  const { cancels, database, opener } = pool;
  const servers: Record<ServerPhase, number> = {
    active: 0,
    idle: 0,
    used: 0,
    tested: 0,
    new: 0,
    being_canceled: 0,
  };
  for (const server of serversOf(pool)) servers[serverPhase(server, now)]++;
  const withoutSocket = opener.isOpening && opener.connecting === null ? 1 : 0;
  return {
    database: database.name,
    user: pool.user,
    mode: pool.mode,
    balancing: balancingOf(database),
    servers,
    connecting: servers.new + withoutSocket + cancels.connecting,
    activeCancels: cancels.active,
    waitingCancels: cancels.waiting,
    lastFailure: pool.opener.lastFailure,
  };
}

function databaseSnapshot(settings: Settings, database: Database): DatabaseSnapshot {
  const { config } = database;
  return {
    name: database.name,
    hosts: config.hosts.length > 0 ? config.hosts.join(',') : null,
    port: config.port,
    serverDatabase: config.dbname ?? database.name,
    forcedUser: config.user,
    poolSize: config.pool_size ?? settings.default_pool_size,
    minPoolSize: config.min_pool_size ?? settings.min_pool_size,
    reservePoolSize: config.reserve_pool_size ?? settings.reserve_pool_size,
    serverLifetimeMs: config.server_lifetime || settings.server_lifetime,
    mode: config.pool_mode,
    balancing: balancingOf(database),
    maxConnections: config.max_db_connections || settings.max_db_connections,
    connections: database.connectionCount,
    maxClientConnections: config.max_db_client_connections || settings.max_db_client_connections,
    clientConnections: database.clientCount,
    isPaused: database.paused,
    isDisabled: database.disabled,
  };
}

function serverSnapshot(server: Server, client: LinkedClient | null, now: number): ServerSnapshot {
  const { context, database, user } = server.pool;
  const isUnix = unixPath(server) !== null;
  return {
    kind: 'server',
    id: server.id,
    user,
    database: database.name,
    replication: client?.replication ?? 'none',
    phase: serverPhase(server, now),
    address: isUnix ? 'unix' : plainAddress(server.remoteAddress || server.host),
    port: server.port,
    localAddress: isUnix ? 'unix' : plainAddress(server.localAddress),
    localPort: isUnix ? context.settings.listen_port : server.localPort,
    connectedAtMs: performance.timeOrigin + server.connectedAt,
    requestedAtMs:
      performance.timeOrigin + Math.max(server.requestedAt, server.releasedAt, client?.requestedAt ?? 0),
    waitedMs: 0,
    isClosing: server.closeReason !== null,
    linkedId: client?.id ?? null,
    processId: server.pid,
    tls: server.tls,
    applicationName: server.settings.value('application_name') ?? '',
    preparedStatements: server.prepared.size,
    bodyLeftBytes: 0,
    receivedBytes: 0,
    unsentBytes: server.socket.writableLength,
  };
}

function cancelSnapshot({ user, database }: Pool, delivery: CancelDelivery): CancelSnapshot {
  const [host = 'unix'] = database.config.hosts;
  const isUnix = unixPath({ host, port: 0 }) !== null;
  const startedAtMs = performance.timeOrigin + delivery.startedAt;
  return {
    kind: 'cancel',
    id: delivery.id,
    user,
    database: database.name,
    replication: 'none',
    phase: delivery.isSent ? 'active_cancel' : 'new',
    address: isUnix ? 'unix' : host,
    port: database.config.port,
    localAddress: isUnix ? 'unix' : '',
    localPort: 0,
    connectedAtMs: startedAtMs,
    requestedAtMs: startedAtMs,
    waitedMs: 0,
    isClosing: false,
    linkedId: delivery.requesterId,
    processId: 0,
    tls: '',
    applicationName: '',
    preparedStatements: 0,
    bodyLeftBytes: 0,
    receivedBytes: 0,
    unsentBytes: 0,
  };
}
