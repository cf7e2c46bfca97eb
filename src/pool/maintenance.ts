/** Periodic work on all pools, several times a second: closes old servers, and opens missing ones. */
import type { Context } from './context.ts';
import type { Database } from './database.ts';
import type { Directory } from './directory.ts';
import { minPoolSize, poolSize } from './limits.ts';
import type { Pool } from './pool.ts';
import type { Resolver } from './resolver.ts';
import type { Turnover } from './turnover.ts';

/** pgbouncer's janitor runs three times a second; timeouts are as exact as that. */
export const MAINTENANCE_MS = 333;

export interface Maintained {
  readonly context: Context;
  readonly directory: Directory;
  readonly resolver: Resolver;
  readonly turnover: Turnover;
}

/** One round over all pools. @param now ms of performance.now() */
export function maintainPools({ context, directory, resolver, turnover }: Maintained, now: number): void {
  for (const database of [...directory.databases.values()]) {
    for (const pool of database.pools.values()) maintainPool(context, database, pool, now);
    if (database.clientCount > 0 || database.connectionCount > 0) database.noteUse(now);
    else if (isForgotten(context, database, now)) directory.forget(database);
  }
  const names = new Set<string>();
  for (const server of directory.allServers()) names.add(server.host);
  resolver.maintain(names, now);
  turnover.activate();
}

function maintainPool({ settings, log }: Context, database: Database, pool: Pool, now: number): void {
  pool.upkeep.expireIdle(now);
  const wanted = Math.min(minPoolSize(pool), poolSize(pool));
  const isUsed = pool.clientCount > 0 || (database.isNode ? database.isUp : database.config.user !== null);
  if (wanted > pool.size && isUsed && !pool.paused && !database.disabled) pool.open({ evict: false });
  const isEmpty = pool.size === 0 && pool.clientCount === 0 && pool.waiters.size === 0;
  if (!isEmpty || (database.isNode && database.isUp)) return pool.noteUse(now);
  if (settings.pool_idle_timeout <= 0 || now - pool.emptySince <= settings.pool_idle_timeout) return;
  const { user } = pool;
  log.info({ database: database.name, user }, `${database.name}/${user}: cleaning up idle pool`);
  database.removePool(user);
}

/** Whether an auto-database has been unused for autodb_idle_timeout. */
function isForgotten({ settings }: Context, database: Database, now: number): boolean {
  const { autodb_idle_timeout: timeout } = settings;
  return (
    database.auto &&
    !database.isNode &&
    // if it were forgotten, it would come back without its PAUSE
    !database.paused &&
    timeout > 0 &&
    now - database.unusedSince > timeout
  );
}
