/** A point of the web console's charts, of which the last hour is kept: the figures of the time since the point before. */
export interface Point {
  readonly atMs: number;
  readonly queriesPerSecond: number;
  readonly transactionsPerSecond: number;
  /** errors that the proxy itself has sent */
  readonly errorsPerSecond: number;
  /** of queries, to the upper bound of their class; null: there were none */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** now */
  readonly clients: number;
  readonly waiting: number;
  readonly servers: number;
  readonly longestWaitMs: number;
}
