import type { PoolMode } from '../config/config.ts';
import type { Pool } from './pool.ts';

/**
 * What applies to a pool where an option can stand in several places. pgbouncer's order: the user's entry, then the
 * database's, then the global one (config.md, sections [databases] and [users]).
 */

/** Servers that a pool may have; Infinity when unlimited (default_pool_size = 0). */
export function poolSize({ userState, database, registry }: Pool): number {
  return (
    (userState.config?.pool_size ??
      database.config.pool_size ??
      registry.config.settings.default_pool_size) ||
    Infinity
  );
}

export function minPoolSize({ database, registry }: Pool): number {
  return database.config.min_pool_size ?? registry.config.settings.min_pool_size;
}

export function reservePoolSize({ userState, database, registry }: Pool): number {
  return (
    userState.config?.reserve_pool_size ??
    database.config.reserve_pool_size ??
    registry.config.settings.reserve_pool_size
  );
}

export function poolMode({ userState, database, registry }: Pool): PoolMode {
  return userState.config?.pool_mode ?? database.config.pool_mode ?? registry.config.settings.pool_mode;
}

/** 0: unlimited */
export function maxDatabaseConnections({ database, registry }: Pool): number {
  return database.config.max_db_connections ?? registry.config.settings.max_db_connections;
}

/** 0: unlimited */
export function maxUserConnections({ userState, registry }: Pool): number {
  return userState.config?.max_user_connections ?? registry.config.settings.max_user_connections;
}

/** ms; 0: none */
export function serverLifetime({ database, registry }: Pool): number {
  return database.config.server_lifetime ?? registry.config.settings.server_lifetime;
}

type UserTimeout =
  | 'query_timeout'
  | 'idle_transaction_timeout'
  | 'transaction_timeout'
  | 'client_idle_timeout';

/** A timeout that a user's entry may override, in ms; 0: none. */
export function userTimeout(pool: Pool, name: UserTimeout): number {
  return pool.userState.config?.[name] ?? pool.registry.config.settings[name];
}

/** ms; 0: none */
export function queryWaitTimeout({ userState, database, registry }: Pool): number {
  return (
    userState.config?.query_wait_timeout ??
    database.config.query_wait_timeout ??
    registry.config.settings.query_wait_timeout
  );
}
