/** Snapshots of the counters: totals since the start, and averages over the last one or two stats_periods. */
import type { CountersSnapshot, ObserveStatistics, StatisticsSnapshot } from './snapshots/statistics.ts';
import { totals, type StatsHistory } from './stats-history.ts';
import type { DatabaseStats } from './stats.ts';
import { compareNames } from './name-order.ts';

/** Counters, and the database that they belong to. */
export interface NamedStats {
  readonly name: string;
  readonly stats: DatabaseStats;
}

export class StatisticsObserver implements ObserveStatistics {
  readonly #used: () => Iterable<NamedStats>;
  readonly #history: StatsHistory;

  /** @param used the databases that have been used, and the console */
  constructor(used: () => Iterable<NamedStats>, history: StatsHistory) {
    this.#used = used;
    this.#history = history;
  }

  *databases(): Generator<StatisticsSnapshot> {
    for (const named of this.#inOrder())
      yield { ...countersOf(named), averages: this.#history.averages(named.stats, performance.now()) };
  }

  *counters(): Generator<CountersSnapshot> {
    for (const named of this.#inOrder()) yield countersOf(named);
  }

  total(): Omit<StatisticsSnapshot, 'database' | 'times'> {
    return {
      totals: totals([...this.#used()].map(({ stats }) => stats)),
      averages: this.#history.totalAverages(performance.now()),
    };
  }

  #inOrder(): NamedStats[] {
    return [...this.#used()].sort((a, b) => compareNames(a.name, b.name));
  }
}

function countersOf({ name, stats }: NamedStats): CountersSnapshot {
  return { database: name, totals: totals([stats]), times: stats.times.observe() };
}
