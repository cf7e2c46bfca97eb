/** The console's own pool and database, which pgbouncer lists among the others. */
import type { Settings } from '../config/options.ts';
import { ADMIN_DATABASE } from '../session/state/names.ts';
import type { DatabaseSnapshot, PoolSnapshot } from '../telemetry/snapshots/pools.ts';
import type { PoolClientsSnapshot, SessionsSnapshot } from '../telemetry/snapshots/sessions.ts';

/** The console has no servers, but pgbouncer shows this pool size. */
const POOL_SIZE = 2;

/** A pool with its clients. */
export interface PoolRow {
  readonly pool: PoolSnapshot;
  readonly clients: PoolClientsSnapshot;
}

export function consolePool({ onConsole }: SessionsSnapshot): PoolRow {
  const name = { database: ADMIN_DATABASE, user: ADMIN_DATABASE };
  return {
    pool: {
      ...name,
      mode: 'statement',
      balancing: null,
      servers: { active: 0, idle: 0, used: 0, tested: 0, new: 0, being_canceled: 0 },
      connecting: 0,
      activeCancels: 0,
      waitingCancels: 0,
      lastFailure: null,
    },
    clients: { ...name, active: onConsole, waiting: 0, longestWaitMs: 0 },
  };
}

export function consoleDatabase(settings: Settings, { onConsole }: SessionsSnapshot): DatabaseSnapshot {
  return {
    name: ADMIN_DATABASE,
    hosts: null,
    port: settings.listen_port,
    serverDatabase: ADMIN_DATABASE,
    forcedUser: ADMIN_DATABASE,
    poolSize: POOL_SIZE,
    minPoolSize: settings.min_pool_size,
    reservePoolSize: settings.reserve_pool_size,
    serverLifetimeMs: settings.server_lifetime,
    mode: 'statement',
    balancing: null,
    maxConnections: settings.max_db_connections,
    connections: 0,
    maxClientConnections: settings.max_db_client_connections,
    clientConnections: onConsole,
    isPaused: false,
    isDisabled: false,
  };
}
