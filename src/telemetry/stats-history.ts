import { DatabaseStats } from './stats.ts';

/** The counters that SHOW STATS shows. */
export type StatName = keyof {
  [K in keyof DatabaseStats as DatabaseStats[K] extends number ? K : never]: number;
};

export const STAT_NAMES: readonly StatName[] = [
  'serverAssignmentCount',
  'xactCount',
  'queryCount',
  'bytesReceived',
  'bytesSent',
  'xactTime',
  'queryTime',
  'waitTime',
  'clientParseCount',
  'serverParseCount',
  'bindCount',
  'clientLoginCount',
];

/**
 * A value for each counter: totals as integers, averages as events or bytes a second, times as microseconds for each
 * transaction, query and server assignment.
 */
export type StatValues = Readonly<Record<StatName, number>>;

interface Snapshots {
  older: DatabaseStats;
  newer: DatabaseStats;
}

/**
 * The source of the averages in SHOW STATS: a snapshot of every database's counters each stats_period. As in
 * pgbouncer an average reaches from now back to the last snapshot but one, so over one to two periods.
 */
export class StatsHistory {
  readonly #all: () => Iterable<DatabaseStats>;
  #snapshots = new Map<DatabaseStats, Snapshots>();
  #olderAt: number;
  #newerAt: number;

  /** @param all the counters of every database that there is now */
  constructor(all: () => Iterable<DatabaseStats>, now = performance.now()) {
    this.#all = all;
    // a second before the start, so that the first figures are not divided by next to nothing
    this.#olderAt = now - 1000;
    this.#newerAt = now;
  }

  /** Takes a snapshot when the period (ms) is over. True: it did. */
  tick(now: number, period: number): boolean {
    if (now - this.#newerAt < period) return false;
    this.#olderAt = this.#newerAt;
    this.#newerAt = now;
    const snapshots = new Map<DatabaseStats, Snapshots>();
    for (const stats of this.#all()) {
      const older = this.#snapshots.get(stats)?.newer ?? new DatabaseStats();
      snapshots.set(stats, { older, newer: stats.snapshot() });
    }
    this.#snapshots = snapshots;
    return true;
  }

  averages(stats: DatabaseStats, now: number): StatValues {
    return average(stats, this.#older(stats), now - this.#olderAt);
  }

  /** Averages over all databases together. */
  totalAverages(now: number): StatValues {
    const current = new DatabaseStats();
    const older = new DatabaseStats();
    for (const stats of this.#all()) {
      for (const name of STAT_NAMES) {
        current[name] += stats[name];
        older[name] += this.#older(stats)[name];
      }
    }
    return average(current, older, now - this.#olderAt);
  }

  #older(stats: DatabaseStats): DatabaseStats {
    return this.#snapshots.get(stats)?.older ?? NOTHING;
  }
}

const NOTHING = new DatabaseStats();

function average(current: DatabaseStats, older: DatabaseStats, ms: number): StatValues {
  const difference = (name: StatName): number => current[name] - older[name];
  const per = (amount: number, count: number): number => (count > 0 ? Math.floor(amount / count) : 0);
  const entries = STAT_NAMES.map((name): [StatName, number] => {
    if (name === 'xactTime') return [name, per(difference(name), difference('xactCount'))];
    if (name === 'queryTime') return [name, per(difference(name), difference('queryCount'))];
    if (name === 'waitTime') return [name, per(difference(name), difference('serverAssignmentCount'))];
    return [name, per(difference(name) * 1000, ms)];
  });
  return Object.fromEntries(entries) as Record<StatName, number>;
}

/** Sums of the counters, as integers. */
export function totals(all: Iterable<DatabaseStats>): StatValues {
  const sum = new DatabaseStats();
  for (const stats of all) for (const name of STAT_NAMES) sum[name] += stats[name];
  for (const name of STAT_NAMES) sum[name] = Math.round(sum[name]);
  return sum;
}

/** pgbouncer's line in the log, once each stats_period. */
export function statsLine(average: StatValues): string {
  return (
    `stats: ${average.xactCount} xacts/s, ${average.queryCount} queries/s,` +
    ` ${average.clientParseCount} client parses/s, ${average.serverParseCount} server parses/s,` +
    ` ${average.bindCount} binds/s, ${average.clientLoginCount} client logins/s,` +
    ` in ${average.bytesReceived} B/s, out ${average.bytesSent} B/s,` +
    ` xact ${average.xactTime} us, query ${average.queryTime} us, wait ${average.waitTime} us`
  );
}
