/**
 * What the author of a rule imports: `import { reject, type RoutingRules } from 'pgswitchyard'`. At run time `reject` is
 * a global of the isolate; this file gives it a type and a name.
 */

/** What a user function is told beside the query. Frozen. */
export interface RoutingContext {
  /** the database whose pool the client is in now */
  readonly database: string;
  /**
   * the database that the client logged in to: the entry of [databases], also where the client said `dev@readers`.
   * Returned by a routing function, it takes the client back there
   */
  readonly login_database: string;
  /** the databases that a routing function may name */
  readonly databases: readonly string[];
  /** the nodes of the cluster that the client is in (topology_query); empty where none is watched */
  readonly nodes: readonly ClusterNode[];
}

/** A server of a cluster, as its last probe saw it. */
export interface ClusterNode {
  /** what a routing function returns to go to just this one: `dev@10.0.0.7:5432` */
  readonly name: string;
  /** `unknown`: it does not answer, or is fenced off */
  readonly role: 'writer' | 'reader' | 'unknown';
  /**
   * `serving`: the writer. `ready`: a reader. `paused`: a reader whose replay somebody has paused. `recovering`: not read
   * from yet, after a failure or before it has followed the writer. `orphaned`: it does not follow the writer and never
   * will by itself; its data are of the past. `fenced`: a writer of the past. `alias`: another address of the writer.
   * `asked`: it has not answered yet. `failed`: it does not answer.
   */
  readonly state:
    | 'serving'
    | 'ready'
    | 'paused'
    | 'recovering'
    | 'orphaned'
    | 'fenced'
    | 'alias'
    | 'asked'
    | 'failed';
  /** bytes of WAL that the writer has written and a reader has not replayed; null: not known, or no reader */
  readonly lag_bytes: number | null;
  /** seconds since the writer wrote the oldest byte that a reader has not replayed, 0: none; null: not known, or no reader */
  readonly lag_seconds: number | null;
}

export type RewriteContext = RoutingContext;

/**
 * Picks the database server for a query.
 * @param username the name that the client logged in with
 * @param query the text of a Query or Parse message, after rewriting
 * @param in_transaction whether a transaction or pipeline is open, in which case a move would be refused
 * @returns the name of an entry of [databases], or null or undefined to stay
 */
export type RoutingRules = (
  username: string,
  query: string,
  in_transaction: boolean,
  ctx: RoutingContext,
) => string | null | undefined;

/** Changes a query on its way. @returns the new text, or null or undefined to leave it as it is */
export type RewriteQuery = (
  username: string,
  query: string,
  in_transaction: boolean,
  ctx: RewriteContext,
) => string | null | undefined;

/** More for the client's ErrorResponse. */
export interface RejectOptions {
  /** SQLSTATE, five characters; 42501 (insufficient_privilege) unless given */
  readonly code?: string;
  readonly hint?: string;
  readonly detail?: string;
}

type Reject = (message: string, options?: RejectOptions) => never;

/** Outside of an isolate, that is in the author's own tests: an error that shows what the client would get. */
const rejectInTests: Reject = (message, options) => {
  throw Object.assign(new Error(message), { name: 'Rejection', code: '42501', ...options });
};

/**
 * Refuses the query: the client gets an ErrorResponse with this message and stays connected; no server sees the query.
 * Does not return.
 */
export const reject: Reject = (globalThis as { reject?: Reject }).reject ?? rejectInTests;
