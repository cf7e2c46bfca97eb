/**
 * Snapshots of statistics: counts and times, traces, memory.
 * Plain data, with units in the names (docs/architecture.md).
 */
import type { DatabaseTimesSnapshot } from '../histogram.ts';
import type { StatValues } from '../stats-history.ts';

/** The counters of one database. */
export interface StatisticsSnapshot {
  readonly database: string;
  readonly totals: StatValues;
  readonly averages: StatValues;
  readonly times: DatabaseTimesSnapshot;
}

/** The same without averages, which cost more than all of it. */
export type CountersSnapshot = Omit<StatisticsSnapshot, 'averages'>;

export interface ObserveStatistics {
  /** Each database that has been used, and the console, by name. */
  databases(): Iterable<StatisticsSnapshot>;
  /** The same, without averages. */
  counters(): Iterable<CountersSnapshot>;
  /** All counters added up. */
  total(): Omit<StatisticsSnapshot, 'database' | 'times'>;
}

/** What became of the queries that were chosen for a trace. */
export interface TracesSnapshot {
  readonly chosen: number;
  /** queries that would have been chosen, were it not for otlp_traces_per_second */
  readonly overLimit: number;
  /** traces that the collector has taken, and those that were lost */
  readonly exported: number;
  readonly dropped: number;
}

/** The memory of the process. */
export interface MemorySnapshot {
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  /** memory of buffers, outside of the heap */
  readonly externalBytes: number;
  readonly residentBytes: number;
}
