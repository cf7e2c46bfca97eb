/**
 * Snapshots of user functions and their tenants.
 * Plain data, with units in the names (docs/architecture.md).
 */
import type { HistogramSnapshot } from '../histogram.ts';
import type { RolloutSnapshot } from './rollout.ts';

/** The state of one tenant's user functions. */
export type TenantState =
  | 'serving'
  | 'serving old version'
  | "fleet's version"
  /** an administrator has gone back to this version */
  | 'pinned'
  | 'loading'
  | 'not loaded'
  | 'no version'
  | 'suspended'
  | 'missing'
  | 'paused';

/** One tenant: user functions that apply to one or more databases. */
export interface TenantSnapshot {
  /** unique among all tenants of the proxy */
  readonly id: string;
  /** the tenant's name; files that a database's options name are counted apart, under the same name */
  readonly owner: string;
  /** the folder that the functions belong to, absolute */
  readonly name: string;
  /** absolute path of the file with the routing function; '': none */
  readonly routingFile: string;
  /** absolute path of the file with the rewriting function; '': none */
  readonly rewriteFile: string;
  /** names of the databases whose clients the functions judge; `*`: all that have no functions of their own */
  readonly databases: readonly string[];
  readonly state: TenantState;
  /** hash of the code that serves; '': no version serves */
  readonly version: string;
  /** when that version was loaded, in ms since 1970; null: no version serves */
  readonly loadedAtMs: number | null;
  readonly isolation: 'inline' | 'process';
  /** of the process that its calls run in; null: there is none just now */
  readonly pid: number | null;
  /** its breaker is open: it has failed for many clients, and is not asked for a while */
  readonly isSuspended: boolean;
  /** of the last one to two minutes: how long a call takes, waiting included; null: there was none */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  /** memory that the isolate of its version held after the last batch; 0: unknown */
  readonly heapBytes: number;
  /** of all functions of the tenant of that name: processor time, in ms */
  readonly cpu: CpuSnapshot;
  readonly recall: RecallSnapshot;
  readonly calls: number;
  readonly routed: number;
  readonly rewritten: number;
  readonly rejected: number;
  /** queries that passed although a function failed on them, as the policies have it */
  readonly unjudged: number;
  /** requests to move to another database inside a transaction or pipeline */
  readonly refusedMoves: number;
  /** failed calls, by outcome (FailureOutcome) */
  readonly failures: Readonly<Record<string, number>>;
  /** how long calls took, waiting included: one entry for each outcome that has occurred */
  readonly callTimes: readonly CallTimesSnapshot[];
  /** the last failure of a call, or the last complaint about the files; '': none */
  readonly lastError: string;
  /** when that was, in ms since 1970; null: never */
  readonly lastErrorAtMs: number | null;
}

/** How long the calls took that ended in one way. */
export interface CallTimesSnapshot {
  /** a FailureOutcome, or `unchanged`, `changed` (routed, rewritten or both) or `rejected` */
  readonly outcome: string;
  readonly histogram: HistogramSnapshot;
}

/** The remembered decisions of a tenant. */
export interface RecallSnapshot {
  /** whether decisions of its version are remembered, as `yes` or `no: why`; '': no version serves */
  readonly remembered: string;
  /** queries that were answered from memory, and those that could have been */
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  readonly bytes: number;
}

/** The processor time of a tenant, and its budget. Times are in ms. */
export interface CpuSnapshot {
  readonly totalMs: number;
  readonly lastMinuteMs: number;
  /** in a second; 0: none */
  readonly limitMs: number;
  /** its bucket has been empty, and has not been refilled */
  readonly isOver: boolean;
  /** calls of this set of functions that wait for the bucket */
  readonly waiting: number;
  /** calls that have failed, and that have waited, because its bucket was empty */
  readonly refused: number;
  readonly waited: number;
}

export interface FunctionsSnapshot {
  readonly tenants: readonly TenantSnapshot[];
}

export interface ObserveFunctions {
  observe(): FunctionsSnapshot;
  /** Of all sets of functions of a tenant, by its name. */
  observeRollouts(owner: string): RolloutSnapshot[];
}
