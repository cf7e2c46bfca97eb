/**
 * The module that authors of rules import: `import { reject, type RoutingRules } from 'pgswitchyard'`. At run time `reject` is
 * a global of the isolate; this file gives it a type and a name.
 */
import type { RoutingContext } from './context.ts';

export type { ClusterNode, RoutingContext } from './context.ts';

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

/** Changes a query on its way. @returns the new text, or null or undefined to leave the query as it is */
export type RewriteQuery = (
  username: string,
  query: string,
  in_transaction: boolean,
  ctx: RewriteContext,
) => string | null | undefined;

/** What a file of rules may say about its functions: `export const options: RuleOptions = { sees: 'shape' }`. */
export interface RuleOptions {
  /**
   * Promises that the answers of this file's functions depend on their arguments alone, and that a call leaves nothing behind
   * that a later one could see: answers may then be remembered, even where the proxy can't show that by itself.
   */
  readonly pure?: boolean;
  /**
   * `shape`: `query` is the query with `$1`, `$2` … in place of its constants, without comments, and with single spaces.
   * `text` (default): `query` is what the client has sent. Both functions of a database must see the same.
   */
  readonly sees?: 'text' | 'shape';
}

/** More for the client's ErrorResponse. */
export interface RejectOptions {
  /** SQLSTATE, five characters; 42501 (insufficient_privilege) unless given */
  readonly code?: string;
  readonly hint?: string;
  readonly detail?: string;
}

type Reject = (message: string, options?: RejectOptions) => never;

/** In the author's own tests, outside of an isolate: throws an error that shows what the client would get. */
const rejectInTests: Reject = (message, options) => {
  throw Object.assign(new Error(message), { name: 'Rejection', code: '42501', ...options });
};

/**
 * Refuses the query: the client gets an ErrorResponse with this message and stays connected; no server sees the query.
 * Does not return.
 */
export const reject: Reject = (globalThis as { reject?: Reject }).reject ?? rejectInTests;
