/** Averages of the counters, from a copy of each taken every stats_period, and the line about them in the log. */
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

interface Copies {
  older: DatabaseStats;
  newer: DatabaseStats;
}

/**
 * Copies of every database's counters, taken each stats_period, for the averages of SHOW STATS. As in pgbouncer an average
 * covers the time since the second-last copy: one to two periods.
 */
export class StatsHistory {
  readonly #all: () => Iterable<DatabaseStats>;
  #copies = new Map<DatabaseStats, Copies>();
  #olderAt: number;
  #newerAt: number;

  /** @param all the present counters of every database */
  constructor(all: () => Iterable<DatabaseStats>, now = performance.now()) {
    this.#all = all;
    // a second before the start, so that the first figures are not divided by almost nothing
    this.#olderAt = now - 1000;
    this.#newerAt = now;
  }

  /** Copies the counters if the period (ms) is over. @returns whether it did */
  tick(now: number, period: number): boolean {
    if (now - this.#newerAt < period) return false;
    this.#olderAt = this.#newerAt;
    this.#newerAt = now;
    const copies = new Map<DatabaseStats, Copies>();
    for (const stats of this.#all()) {
      const older = this.#copies.get(stats)?.newer ?? new DatabaseStats();
      copies.set(stats, { older, newer: stats.copy() });
    }
    this.#copies = copies;
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
    return this.#copies.get(stats)?.older ?? NOTHING;
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

/** pgbouncer's line in the log, once in each stats_period. */
export function statsLine(average: StatValues): string {
  return (
    `stats: ${average.xactCount} xacts/s, ${average.queryCount} queries/s,` +
    ` ${average.clientParseCount} client parses/s, ${average.serverParseCount} server parses/s,` +
    ` ${average.bindCount} binds/s, ${average.clientLoginCount} client logins/s,` +
    ` in ${average.bytesReceived} B/s, out ${average.bytesSent} B/s,` +
    ` xact ${average.xactTime} us, query ${average.queryTime} us, wait ${average.waitTime} us`
  );
}
