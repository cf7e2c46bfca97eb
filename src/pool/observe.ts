/** Snapshots of databases, pools, servers and users. */
import { plainAddress } from '../platform/plain-address.ts';
import { compareNames } from '../telemetry/name-order.ts';
import type {
  CancelSnapshot,
  DatabaseSnapshot,
  HostSnapshot,
  ObservePools,
  PeerSnapshot,
  PoolSnapshot,
  PoolsSnapshot,
  ServerPhase,
  ServerSnapshot,
  UserSnapshot,
} from '../telemetry/snapshot.ts';
import type { CancelDelivery } from './cancels.ts';
import type { Database } from './database.ts';
import type { Registry } from './databases.ts';
import type { Pool } from './pool.ts';
import { serverPhase } from './phase.ts';
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

export class PoolsObserver implements ObservePools {
  readonly #registry: Registry;
  readonly #clientOf: (user: ServerUser | null) => LinkedClient | null;

  /** @param clientOf the client that uses a server; null: nobody does, or the proxy itself */
  constructor(registry: Registry, clientOf: (user: ServerUser | null) => LinkedClient | null) {
    this.#registry = registry;
    this.#clientOf = clientOf;
  }

  observe(): PoolsSnapshot {
    const { config, databases, resolver } = this.#registry;
    let pools = 0;
    let servers = 0;
    for (const pool of this.#registry.allPools()) {
      pools++;
      servers += pool.size;
    }
    return {
      databases: databases.size,
      users: this.#userNames().size,
      peers: config.peers.size,
      pools,
      servers,
      hostNames: resolver.hosts(0).length,
      pendingLookups: resolver.pending,
    };
  }

  *databases(): Generator<DatabaseSnapshot> {
    const { databases } = this.#registry;
    for (const name of [...databases.keys()].sort(compareNames)) {
      const database = databases.get(name);
      if (database !== undefined) yield databaseSnapshot(this.#registry, database);
    }
  }

  *pools(): Generator<PoolSnapshot> {
    for (const pool of poolsInOrder(this.#registry)) yield poolSnapshot(pool, performance.now());
  }

  *servers(): Generator<ServerSnapshot | CancelSnapshot> {
    for (const pool of poolsInOrder(this.#registry)) {
      for (const server of liveServersOf(pool))
        yield serverSnapshot(server, this.#clientOf(server.user), performance.now());
      for (const delivery of [...pool.cancels.deliveries.values()]) yield cancelSnapshot(pool, delivery);
    }
  }

  *users(): Generator<UserSnapshot> {
    const { config } = this.#registry;
    const connections = new Map<string, number>();
    for (const pool of this.#registry.allPools())
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
    const { config, peers } = this.#registry;
    return [...config.peers.values()].map(({ id, host, port, pool_size: poolSize }) => {
      const { active, waiting, connecting } = peers.cancelsTo(id);
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
    return this.#registry.resolver
      .hosts(performance.now())
      .map(({ host, ttlSeconds, addresses }) => ({ name: host, ttlSeconds, addresses: [...addresses] }));
  }

  /** Users of auth_file, of [users], forced ones, and those that have been here. */
  #userNames(): Set<string> {
    const { config, directory } = this.#registry;
    const names = new Set([CONSOLE, ...config.userlist.keys(), ...config.users.keys()]);
    for (const { name } of directory.users) names.add(name);
    for (const { user } of config.databases.values()) if (user !== null) names.add(user);
    return names;
  }
}

/** All pools, in the order of their databases' and users' names. */
export function poolsInOrder(registry: Registry): Pool[] {
  return [...registry.allPools()].sort(
    (a, b) => compareNames(a.database.name, b.database.name) || compareNames(a.user, b.user),
  );
}

/** The servers that a pool has now, the one that is logging in included. Servers that close meanwhile are left out. */
export function* liveServersOf(pool: Pool): Generator<Server> {
  for (const server of serversOf(pool)) if (server.state !== 'closed') yield server;
}

function serversOf({ opener: { connecting }, servers }: Pool): Server[] {
  return connecting === null || servers.has(connecting) ? [...servers] : [...servers, connecting];
}

/** pgbouncer shows it only where there is a list of hosts to balance over. */
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
  };
}

function databaseSnapshot({ config: { settings } }: Registry, database: Database): DatabaseSnapshot {
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
    applicationName: server.parameters[context.tracked.indexOf('application_name')] ?? '',
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
