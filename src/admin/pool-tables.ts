/** SHOW POOLS, DATABASES, USERS, PEERS and PEER_POOLS: what exists, with sizes and counts. */
import { ADMIN_DATABASE } from '../session/state/names.ts';
import { compareNames } from '../telemetry/name-order.ts';
import type { DatabaseSnapshot, PeerSnapshot, UserSnapshot } from '../telemetry/snapshots/pools.ts';
import type { PoolClientsSnapshot } from '../telemetry/snapshots/sessions.ts';
import { consoleDatabase, consolePool, type PoolRow } from './console-rows.ts';
import type { Observe } from './observe.ts';
import { table } from './table.ts';
import { microsecondsOf, secondsOf } from './units.ts';

export const POOLS = table<PoolRow>(
  [
    { name: 'database', type: 'text', of: ({ pool }) => pool.database },
    { name: 'user', type: 'text', of: ({ pool }) => pool.user },
    { name: 'cl_active', type: 'int4', of: ({ clients }) => clients.active },
    { name: 'cl_waiting', type: 'int4', of: ({ clients }) => clients.waiting },
    { name: 'cl_active_cancel_req', type: 'int4', of: ({ pool }) => pool.activeCancels },
    { name: 'cl_waiting_cancel_req', type: 'int4', of: ({ pool }) => pool.waitingCancels },
    { name: 'sv_active', type: 'int4', of: ({ pool }) => pool.servers.active },
    { name: 'sv_active_cancel', type: 'int4', of: ({ pool }) => pool.activeCancels },
    { name: 'sv_being_canceled', type: 'int4', of: ({ pool }) => pool.servers.being_canceled },
    { name: 'sv_idle', type: 'int4', of: ({ pool }) => pool.servers.idle },
    { name: 'sv_used', type: 'int4', of: ({ pool }) => pool.servers.used },
    { name: 'sv_tested', type: 'int4', of: ({ pool }) => pool.servers.tested },
    { name: 'sv_login', type: 'int4', of: ({ pool }) => pool.connecting },
    { name: 'maxwait', type: 'int4', of: ({ clients }) => secondsOf(clients.longestWaitMs) },
    { name: 'maxwait_us', type: 'int4', of: ({ clients }) => microsecondsOf(clients.longestWaitMs) },
    { name: 'pool_mode', type: 'text', of: ({ pool }) => pool.mode },
    { name: 'load_balance_hosts', type: 'text', of: ({ pool }) => pool.balancing },
  ],
  poolRows,
);

export const DATABASES = table<DatabaseSnapshot>(
  [
    { name: 'name', type: 'text', of: (row) => row.name },
    { name: 'host', type: 'text', of: (row) => row.hosts },
    { name: 'port', type: 'int4', of: (row) => row.port },
    { name: 'database', type: 'text', of: (row) => row.serverDatabase },
    { name: 'force_user', type: 'text', of: (row) => row.forcedUser },
    { name: 'pool_size', type: 'int4', of: (row) => row.poolSize },
    { name: 'min_pool_size', type: 'int4', of: (row) => row.minPoolSize },
    { name: 'reserve_pool_size', type: 'int4', of: (row) => row.reservePoolSize },
    { name: 'server_lifetime', type: 'int4', of: (row) => secondsOf(row.serverLifetimeMs) },
    { name: 'pool_mode', type: 'text', of: (row) => row.mode },
    { name: 'load_balance_hosts', type: 'text', of: (row) => row.balancing },
    { name: 'max_connections', type: 'int4', of: (row) => row.maxConnections },
    { name: 'current_connections', type: 'int4', of: (row) => row.connections },
    { name: 'max_client_connections', type: 'int4', of: (row) => row.maxClientConnections },
    { name: 'current_client_connections', type: 'int4', of: (row) => row.clientConnections },
    { name: 'paused', type: 'int4', of: (row) => row.isPaused },
    { name: 'disabled', type: 'int4', of: (row) => row.isDisabled },
  ],
  databaseRows,
);

/** A user, and its number of clients. */
interface UserRow {
  readonly user: UserSnapshot;
  readonly clients: number;
}

export const USERS = table<UserRow>(
  [
    { name: 'name', type: 'text', of: ({ user }) => user.name },
    { name: 'pool_size', type: 'text', of: ({ user }) => padded(user.poolSize) },
    { name: 'reserve_pool_size', type: 'text', of: ({ user }) => padded(user.reservePoolSize) },
    { name: 'pool_mode', type: 'text', of: ({ user }) => user.mode },
    { name: 'max_user_connections', type: 'int4', of: ({ user }) => user.maxConnections },
    { name: 'current_connections', type: 'int4', of: ({ user }) => user.connections },
    { name: 'max_user_client_connections', type: 'int4', of: ({ user }) => user.maxClientConnections },
    { name: 'current_client_connections', type: 'int4', of: ({ clients }) => clients },
  ],
  userRows,
);

export const PEERS = table<PeerSnapshot>(
  [
    { name: 'peer_id', type: 'int4', of: (row) => row.id },
    { name: 'host', type: 'text', of: (row) => row.host },
    { name: 'port', type: 'int4', of: (row) => row.port },
    { name: 'pool_size', type: 'int4', of: (row) => row.poolSize },
  ],
  ({ pools }) => pools.peers(),
);

export const PEER_POOLS = table<PeerSnapshot>(
  [
    { name: 'peer_id', type: 'int4', of: (row) => row.id },
    { name: 'cl_active_cancel_req', type: 'int4', of: (row) => row.activeCancels },
    { name: 'cl_waiting_cancel_req', type: 'int4', of: (row) => row.waitingCancels },
    { name: 'sv_active_cancel', type: 'int4', of: (row) => row.activeCancels },
    { name: 'sv_login', type: 'int4', of: (row) => row.connecting },
  ],
  ({ pools }) => pools.peers(),
);

/** pgbouncer pads a size to nine characters; '': not set. */
function padded(size: number | null): string {
  return size === null ? '' : String(size).padStart(9);
}

function* poolRows({ sessions, pools }: Observe): Generator<PoolRow> {
  const counts = sessions.observe();
  const clientsOf = new Map(counts.pools.map((clients) => [keyOf(clients), clients]));
  let consoleRow: PoolRow | null = consolePool(counts);
  for (const pool of pools.pools()) {
    const { database, user } = pool;
    const order = compareNames(database, ADMIN_DATABASE) || compareNames(user, ADMIN_DATABASE);
    if (consoleRow !== null && order > 0) {
      yield consoleRow;
      consoleRow = null;
    }
    const clients = clientsOf.get(keyOf(pool)) ?? { database, user, active: 0, waiting: 0, longestWaitMs: 0 };
    yield { pool, clients };
  }
  if (consoleRow !== null) yield consoleRow;
}

/** Names have no NUL: PostgreSQL's protocol ends them with it. */
function keyOf({ database, user }: Pick<PoolClientsSnapshot, 'database' | 'user'>): string {
  return `${database}\0${user}`;
}

function* databaseRows({ sessions, pools, config: { settings } }: Observe): Generator<DatabaseSnapshot> {
  let consoleRow: DatabaseSnapshot | null = consoleDatabase(settings, sessions.observe());
  for (const database of pools.databases()) {
    if (consoleRow !== null && compareNames(database.name, ADMIN_DATABASE) > 0) {
      yield consoleRow;
      consoleRow = null;
    }
    yield database;
  }
  if (consoleRow !== null) yield consoleRow;
}

function* userRows({ sessions, pools }: Observe): Generator<UserRow> {
  const clients = new Map(sessions.observe().users.map((user) => [user.name, user.clients]));
  for (const user of pools.users()) yield { user, clients: clients.get(user.name) ?? 0 };
}
