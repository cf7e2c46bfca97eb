/** Connection limits across pools: max_db_connections and max_user_connections. */
import { maxDatabaseConnections, maxUserConnections, type LimitScope } from './limits.ts';

/** An idle server that can be closed to make room. */
export interface Evictable {
  /** ms of performance.now() */
  readonly releasedAt: number;
  close(reason: string): void;
}

/** A pool as limits count it. */
export interface CountedPool extends LimitScope {
  readonly database: LimitScope['database'] & { readonly pools: ReadonlyMap<string, CountedPool> };
  /** Servers that exist or are being opened. */
  readonly size: number;
  /** The server that has been idle longest; null: none. */
  longestIdle(): Evictable | null;
}

/** A pool's request: room for one more server. */
export interface Request {
  /** An idle server of another pool may be closed for it. */
  readonly evict: boolean;
  /** The server exists already and stays with its user: only the database's limit counts. */
  readonly isMove?: boolean;
}

/**
 * `granted`: there is room now. `no`: there is none, and nothing can be evicted. A server: there will be room once this one is
 * closed, so close it and ask again, since limits may have been lowered by more than one.
 */
export type Answer = 'granted' | 'no' | Evictable;

/**
 * Answers every pool that wants one more server. Pools ask and never count the servers of others, so that several processes
 * can share the limits: then this class is the only one that must ask elsewhere.
 */
export class Capacity {
  readonly #allPools: () => Iterable<CountedPool>;

  /** @param allPools of all databases */
  constructor(allPools: () => Iterable<CountedPool>) {
    this.#allPools = allPools;
  }

  ask(asking: CountedPool, { evict, isMove = false }: Request): Answer {
    const ofDatabase = (): CountedPool[] => [...asking.database.pools.values()];
    const answer = within(maxDatabaseConnections(asking), ofDatabase, asking, evict);
    if (answer !== 'granted' || isMove) return answer;
    const ofUser = (): CountedPool[] =>
      [...this.#allPools()].filter((each) => each.userState === asking.userState);
    return within(maxUserConnections(asking), ofUser, asking, evict);
  }
}

/** @param limit of servers in `pools` together; 0: unlimited */
function within(limit: number, pools: () => CountedPool[], asking: CountedPool, evict: boolean): Answer {
  if (limit <= 0) return 'granted';
  const counted = pools();
  if (counted.reduce((count, each) => count + each.size, 0) < limit) return 'granted';
  if (!evict) return 'no';
  let victim: Evictable | null = null;
  for (const pool of counted) {
    const idle = pool === asking ? null : pool.longestIdle();
    if (idle !== null && (victim === null || idle.releasedAt < victim.releasedAt)) victim = idle;
  }
  return victim ?? 'no';
}
