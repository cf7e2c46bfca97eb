/** A sample of the live tail of decisions: plain data, which the web console's page reads as it is. */

/** A decision as it is shown. */
export interface DecisionSample {
  /** ms since 1970 */
  readonly atMs: number;
  readonly tenant: string;
  /** the entry of [databases] whose functions were asked */
  readonly database: string;
  readonly user: string;
  /** with `?` for each constant */
  readonly query: string;
  /** in words, without any part of the query */
  readonly decision: string;
  /** the functions were asked, or had decided the same before */
  readonly from: 'call' | 'memory';
  /** from the question to the answer, waiting included; 0: it was remembered */
  readonly tookMs: number;
  /** decisions since the last sample that are not shown */
  readonly leftOut: number;
}
