/** The last hour of the whole proxy, in memory: a point every few seconds. */
import type { Observe } from '../../admin/observe.ts';
import { addHistograms, BOUNDS_US, type HistogramSnapshot } from '../../telemetry/histogram.ts';
import { errorCounts } from '../../wire/error-counts.ts';
import type { Point } from './point.ts';

export const EVERY_MS = 5_000;
/** Points of one hour. */
const POINTS = (60 * 60_000) / EVERY_MS;

interface Totals {
  readonly atMs: number;
  readonly queries: number;
  readonly transactions: number;
  readonly errors: number;
  readonly times: HistogramSnapshot;
}

export class History {
  readonly #observe: Observe;
  readonly #points: Point[] = [];
  readonly #timer: NodeJS.Timeout;
  #last: Totals;
  readonly #onPoint: (() => void)[] = [];

  constructor(observe: Observe) {
    this.#observe = observe;
    this.#last = totalsOf(observe);
    this.#timer = setInterval(() => this.note(), EVERY_MS).unref();
  }

  /** The oldest first. */
  get points(): readonly Point[] {
    return this.#points;
  }

  /** Adds a point. */
  note(): void {
    const totals = totalsOf(this.#observe);
    this.#points.push(pointOf(this.#last, totals, this.#observe));
    this.#last = totals;
    if (this.#points.length > POINTS) this.#points.shift();
    for (const callback of this.#onPoint) callback();
  }

  /** Calls back after each new point. */
  onPoint(callback: () => void): void {
    this.#onPoint.push(callback);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function totalsOf({ statistics }: Observe): Totals {
  const all = [...statistics.databases()];
  return {
    atMs: Date.now(),
    queries: all.reduce((sum, { totals }) => sum + totals.queryCount, 0),
    transactions: all.reduce((sum, { totals }) => sum + totals.xactCount, 0),
    errors: [...errorCounts().values()].reduce((sum, count) => sum + count, 0),
    times: addHistograms(all.map(({ times }) => times.query)),
  };
}

function pointOf(last: Totals, totals: Totals, { sessions, pools }: Observe): Point {
  const seconds = Math.max(0.001, (totals.atMs - last.atMs) / 1000);
  const perSecond = (of: (each: Totals) => number): number => Math.max(0, (of(totals) - of(last)) / seconds);
  const counts = totals.times.counts.map((count, at) => count - last.times.counts[at]!);
  const now = sessions.observe();
  return {
    atMs: totals.atMs,
    queriesPerSecond: perSecond(({ queries }) => queries),
    transactionsPerSecond: perSecond(({ transactions }) => transactions),
    errorsPerSecond: perSecond(({ errors }) => errors),
    p50Ms: percentile(counts, 0.5),
    p99Ms: percentile(counts, 0.99),
    clients: now.clients,
    waiting: now.pools.reduce((sum, { waiting }) => sum + waiting, 0),
    servers: pools.observe().servers,
    longestWaitMs: now.pools.reduce((most, { longestWaitMs }) => Math.max(most, longestWaitMs), 0),
  };
}

/** @returns ms; null: there were no times */
export function percentile(counts: readonly number[], share: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return null;
  let left = Math.ceil(total * share);
  const at = counts.findIndex((count) => (left -= count) <= 0);
  return (BOUNDS_US[Math.min(at, BOUNDS_US.length - 1)] ?? 0) / 1000;
}
