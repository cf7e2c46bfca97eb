import type { Registry } from './databases.ts';
import { minPoolSize, poolSize } from './limits.ts';

/** pgbouncer's janitor runs three times a second; timeouts are as exact as that. */
export const MAINTENANCE_MS = 333;

/** One round over all pools: what is too old or idle for too long goes, what is missing comes. */
export function maintainPools(registry: Registry, now: number): void {
  const { settings } = registry.config;
  for (const database of [...registry.databases.values()]) {
    for (const [user, pool] of database.pools) {
      pool.upkeep.expireIdle(now);
      const wanted = Math.min(minPoolSize(pool), poolSize(pool));
      const used = pool.clientCount > 0 || (database.isNode ? database.isUp : database.config.user !== null);
      if (wanted > pool.size && used && !pool.paused && !database.disabled) pool.open({ evict: false });
      const empty = pool.size === 0 && pool.clientCount === 0 && pool.waiters.size === 0;
      if (!empty || (database.isNode && database.isUp)) pool.emptySince = now;
      else if (settings.pool_idle_timeout > 0 && now - pool.emptySince > settings.pool_idle_timeout) {
        registry.log.info(
          { database: database.name, user },
          `${database.name}/${user}: cleaning up idle pool`,
        );
        database.pools.delete(user);
      }
    }
    if (database.clientCount > 0 || database.connectionCount > 0) database.unusedSince = now;
    else if (
      database.auto &&
      !database.isNode &&
      // forgotten, it would come back without its PAUSE
      !database.paused &&
      settings.autodb_idle_timeout > 0 &&
      now - database.unusedSince > settings.autodb_idle_timeout
    ) {
      registry.forget(database);
    }
  }
  const names = new Set<string>();
  for (const server of registry.allServers()) names.add(server.host);
  registry.resolver.maintain(names, now);
  registry.activate();
}
