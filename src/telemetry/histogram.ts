/** Counts of times in fixed classes, for metrics. Noting a time allocates nothing. */

/** Upper bounds of the classes in µs, each included. The last class has none. */
export const BOUNDS_US: readonly number[] = [
  100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
  5_000_000, 10_000_000,
];

export class Histogram {
  /** by class; one more than there are bounds */
  readonly #counts: number[] = new Array<number>(BOUNDS_US.length + 1).fill(0);
  #sumUs = 0;

  note(us: number): void {
    let low = 0;
    let high = BOUNDS_US.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (us <= BOUNDS_US[middle]!) high = middle;
      else low = middle + 1;
    }
    this.#counts[low]!++;
    this.#sumUs += us;
  }

  observe(): HistogramSnapshot {
    return { counts: [...this.#counts], sumUs: this.#sumUs };
  }
}

export interface HistogramSnapshot {
  /** by class of BOUNDS_US, and those above the last bound */
  readonly counts: readonly number[];
  readonly sumUs: number;
}

/** The sum of several, all with the same classes. */
export function addHistograms(all: Iterable<HistogramSnapshot>): HistogramSnapshot {
  const counts = new Array<number>(BOUNDS_US.length + 1).fill(0);
  let sumUs = 0;
  for (const one of all) {
    for (let i = 0; i < counts.length; i++) counts[i]! += one.counts[i]!;
    sumUs += one.sumUs;
  }
  return { counts, sumUs };
}

/** The times of one database's clients. */
export class DatabaseTimes {
  readonly query = new Histogram();
  readonly transaction = new Histogram();
  readonly wait = new Histogram();
  readonly login = new Histogram();

  observe(): DatabaseTimesSnapshot {
    return {
      query: this.query.observe(),
      transaction: this.transaction.observe(),
      wait: this.wait.observe(),
      login: this.login.observe(),
    };
  }
}

/**
 * How long queries, transactions, waits for a server, and logins took. Queries and transactions include the wait; a login is
 * counted from the connection on.
 */
export interface DatabaseTimesSnapshot {
  readonly query: HistogramSnapshot;
  readonly transaction: HistogramSnapshot;
  readonly wait: HistogramSnapshot;
  readonly login: HistogramSnapshot;
}
