import { clientErrors, type ClientError } from '../wire/errors.ts';
import type { PoolMode } from '../config/config.ts';
import type { Settings } from '../config/options.ts';
import type { UserState } from './databases.ts';
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
  if (database.isNode && !database.isPrepared()) return 0;
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
  return database.config.max_db_connections || registry.config.settings.max_db_connections;
}

/** 0: unlimited */
export function maxUserConnections({ userState, registry }: Pool): number {
  return userState.config?.max_user_connections || registry.config.settings.max_user_connections;
}

/** ms; 0: a server is used once */
export function serverLifetime({ database, registry }: Pool): number {
  return database.config.server_lifetime || registry.config.settings.server_lifetime;
}

/** A timeout of a pool's servers that their user's entry may override, in ms; 0: none. */
export function serverTimeout(
  { userState, registry }: Pool,
  name: 'query_timeout' | 'idle_transaction_timeout' | 'transaction_timeout',
): number {
  return userState.config?.[name] || registry.config.settings[name];
}

/**
 * What a client hears that would be one too many; null: there is room. Where both limits are reached the database's is
 * named.
 * @param database how many clients it has, and how many it may have; 0: any number
 */
export function clientLimitReached(
  user: UserState,
  database: { readonly count: number; readonly limit: number },
  settings: Pick<Settings, 'max_user_client_connections'>,
): ClientError | null {
  if (database.limit > 0 && database.count >= database.limit) return clientErrors.tooManyDatabaseClients();
  const limit = user.config?.max_user_client_connections || settings.max_user_client_connections;
  return limit > 0 && user.clientCount >= limit ? clientErrors.tooManyUserClients() : null;
}

/** Of the user who has logged in, whomever the pool's servers belong to; ms, 0: none. */
export function clientIdleTimeout({ config }: UserState, { registry }: Pool): number {
  return config?.client_idle_timeout || registry.config.settings.client_idle_timeout;
}

/** ms; 0: none */
export function queryWaitTimeout({ config }: UserState, { database, registry }: Pool): number {
  return (
    config?.query_wait_timeout ??
    database.config.query_wait_timeout ??
    registry.config.settings.query_wait_timeout
  );
}
