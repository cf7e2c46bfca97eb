/**
 * Snapshots: what the parts of the proxy show of themselves. The console, metrics and other processes read these and nothing
 * else, so they are plain data: numbers, texts, lists and records, with no reference to anything that lives.
 */

/** What the user functions of one tenant are doing. */
export type TenantState =
  | 'serving'
  | 'serving old version'
  | 'loading'
  | 'no version'
  | 'suspended'
  | 'missing';

/** One tenant: user functions that apply to one or more databases. */
export interface TenantSnapshot {
  /** unique among all tenants of the proxy */
  readonly id: string;
  /** the folder that the functions belong to, absolute */
  readonly name: string;
  /** absolute path of the file that holds the routing function; '': there is none */
  readonly routingFile: string;
  /** absolute path of the file that holds the rewriting function; '': there is none */
  readonly rewriteFile: string;
  /** names of the databases whose clients the functions judge; `*`: all that have none of their own */
  readonly databases: readonly string[];
  readonly state: TenantState;
  /** hash of the code that serves; '': no version serves */
  readonly version: string;
  /** when that version was loaded, in ms since 1970; null: no version serves */
  readonly loadedAtMs: number | null;
  readonly calls: number;
  readonly routed: number;
  readonly rewritten: number;
  readonly rejected: number;
  /** moves to another database that were asked for inside a transaction or pipeline */
  readonly refusedMoves: number;
  /** failed calls, by outcome (FailureOutcome) */
  readonly failures: Readonly<Record<string, number>>;
  /** the last failure of a call, or the last complaint about the files; '': there is none */
  readonly lastError: string;
  /** when that was, in ms since 1970; null: there is none */
  readonly lastErrorAtMs: number | null;
}

export interface FunctionsSnapshot {
  readonly tenants: readonly TenantSnapshot[];
}
