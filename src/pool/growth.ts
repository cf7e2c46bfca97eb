/** Whether a pool may open one more server: its sizes, its reserve, and the limits that it shares with other pools. */
import type { Capacity, CountedPool, Evictable, Request } from './capacity.ts';
import { poolSize, reservePoolSize } from './limits.ts';
import type { Welcome } from './login.ts';
import type { Waiter } from './waiter.ts';

/** A pool that may grow. */
export interface GrowingPool extends CountedPool {
  readonly database: CountedPool['database'] & { readonly name: string };
  readonly user: string;
  /** Servers that have logged in. */
  readonly serverCount: number;
  /** The settings that clients are welcomed with; null: no server has reported them yet. */
  readonly welcome: Welcome | null;
  readonly waiters: { readonly size: number; readonly first: Waiter | undefined };
  readonly dedicated: { readonly size: number };
}

/** `shared`: one for the pool. `dedicated`: one for the first replication connection that waits. */
export type Growth = 'none' | 'shared' | 'dedicated';

/** Closes idle servers, of this pool or of others, if that makes room. */
export function growthOf(pool: GrowingPool, capacity: Capacity, request: Request): Growth {
  const isFull = pool.serverCount >= poolSize(pool);
  // One more server is needed to know the settings that clients are welcomed with. A replication connection reports them to
  // its own client only.
  const needsWelcome = isFull && pool.welcome === null && pool.waiters.size > 0;
  if (isFull && !needsWelcome && !mayUseReserve(pool) && !makeRoom(pool)) return 'none';
  if (!isGranted(pool, capacity, request) && !(makeRoom(pool) && isGranted(pool, capacity, request)))
    return 'none';
  return needsWelcome || pool.dedicated.size === 0 ? 'shared' : 'dedicated';
}

/** Asks for room for one more server, and closes servers of other pools if that makes room. */
export function isGranted(pool: CountedPool, capacity: Capacity, request: Request): boolean {
  for (;;) {
    const answer = capacity.ask(pool, request);
    if (answer === 'granted') return true;
    if (answer === 'no') return false;
    answer.close('evicted');
  }
}

/** A dedicated waiter needs a new connection. It can't use an idle one, but can take its place. */
function makeRoom(pool: GrowingPool): boolean {
  if (pool.dedicated.size === 0 || pool.serverCount > poolSize(pool)) return false;
  const idle: Evictable | null = pool.longestIdle();
  idle?.close('evicted');
  return idle !== null;
}

function mayUseReserve(pool: GrowingPool): boolean {
  const reserve = reservePoolSize(pool);
  const { settings, log } = pool.context;
  const { reserve_pool_timeout: timeout } = settings;
  if (reserve <= 0 || timeout <= 0 || pool.serverCount >= poolSize(pool) + reserve) return false;
  const { first } = pool.waiters;
  if (first === undefined || performance.now() - first.waitingSince < timeout) return false;
  const database = pool.database.name;
  log.warn(
    { database, user: pool.user },
    `${first.label ?? `${database}/${pool.user}:`} taking connection from reserve_pool`,
  );
  return true;
}
