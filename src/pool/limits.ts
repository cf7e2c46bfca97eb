/**
 * The value that applies to a pool if an option can be set in several places. The order is pgbouncer's: the user's entry, then
 * the database's, then the global one (config.md, sections [databases] and [users]).
 */
import type { DatabaseConfig, PoolMode } from '../config/config.ts';
import type { Settings } from '../config/options.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import type { Context } from './context.ts';
import type { User } from './users.ts';

/** A (database, user) pair, as limits see it: a pool. */
export interface LimitScope {
  readonly context: Context;
  readonly userState: User;
  readonly database: {
    readonly config: DatabaseConfig;
    /** min_pool_size counts: not for a node that needs no connections in advance */
    readonly isPrepared: boolean;
  };
}

/** The number of servers that a pool may have; Infinity: unlimited (default_pool_size = 0). */
export function poolSize({ userState, database, context }: LimitScope): number {
  return (
    (userState.config?.pool_size ?? database.config.pool_size ?? context.settings.default_pool_size) ||
    Infinity
  );
}

/** The number of servers that a pool opens in advance. */
export function minPoolSize({ database, context }: LimitScope): number {
  if (!database.isPrepared) return 0;
  return database.config.min_pool_size ?? context.settings.min_pool_size;
}

/** The number of servers that a pool may have beyond `poolSize`, for clients that have waited long. */
export function reservePoolSize({ userState, database, context }: LimitScope): number {
  return (
    userState.config?.reserve_pool_size ??
    database.config.reserve_pool_size ??
    context.settings.reserve_pool_size
  );
}

export function poolMode({ userState, database, context }: LimitScope): PoolMode {
  return userState.config?.pool_mode ?? database.config.pool_mode ?? context.settings.pool_mode;
}

/** 0: unlimited */
export function maxDatabaseConnections({ database, context }: LimitScope): number {
  return database.config.max_db_connections || context.settings.max_db_connections;
}

/** 0: unlimited */
export function maxUserConnections({ userState, context }: LimitScope): number {
  return userState.config?.max_user_connections || context.settings.max_user_connections;
}

/** In ms; 0: a server is used once. */
export function serverLifetime({ database, context }: LimitScope): number {
  return database.config.server_lifetime || context.settings.server_lifetime;
}

/** A timeout of a pool's servers that the entry of their user may override, in ms; 0: none. */
export function serverTimeout(
  { userState, context }: LimitScope,
  name: 'query_timeout' | 'idle_transaction_timeout' | 'transaction_timeout',
): number {
  return userState.config?.[name] || context.settings[name];
}

/**
 * The error for a client that would be one too many; null: there is room. If both limits are reached, the database's is named.
 * @param database its number of clients, and the limit; 0: no limit
 */
export function clientLimitReached(
  user: User,
  database: { readonly count: number; readonly limit: number },
  settings: Pick<Settings, 'max_user_client_connections'>,
): ClientError | null {
  if (database.limit > 0 && database.count >= database.limit) return clientErrors.tooManyDatabaseClients();
  const limit = user.config?.max_user_client_connections || settings.max_user_client_connections;
  return limit > 0 && user.clientCount >= limit ? clientErrors.tooManyUserClients() : null;
}

/** In ms; 0: none. The user that has logged in decides, whichever user the pool's servers have. */
export function clientIdleTimeout({ config }: User, { context }: LimitScope): number {
  return config?.client_idle_timeout || context.settings.client_idle_timeout;
}

/** In ms; 0: none. The user that has logged in decides, as for `clientIdleTimeout`. */
export function queryWaitTimeout({ config }: User, { database, context }: LimitScope): number {
  return (
    config?.query_wait_timeout ?? database.config.query_wait_timeout ?? context.settings.query_wait_timeout
  );
}
