/** One call of a tenant's functions, and its answer. */
import type { CallContext, Rejection } from '../../../sandbox/crossing.ts';
import type { Lexing } from '../../sql/lexing.ts';

/** A query that a tenant's functions are asked about. */
export interface HostCall {
  readonly username: string;
  readonly query: string;
  /** a transaction or pipeline is open */
  readonly inTransaction: boolean;
  readonly context: CallContext;
  /** the settings by which the query's constants are found; none: not known. It does not cross into an isolate */
  readonly lexing?: Lexing;
  /** the query is not in UTF-8: each of its characters is a byte, and each of a rewritten query must be one */
  readonly isBytes?: boolean;
  /** only the routing function is asked */
  readonly routeOnly?: boolean;
  /** the entry whose functions are asked, which decides the names that a routing function may return; none: the login's */
  readonly entry?: string;
  /** state of the memory when the call was asked: an answer that comes in another one is not kept; it does not cross either */
  readonly epoch?: number;
  /** number of the client's connection, by which costly calls are counted; it does not cross into an isolate */
  readonly clientId?: number;
  /** the client's address, by which clients that reconnect are recognized; it does not cross into an isolate either */
  readonly address?: string;
}

/**
 * The ways in which a call can end without an answer, and whether each is the rule's own failure on that query. If it is, the
 * policy decides about the query. If not, the query could not be judged: it gets an error, whatever the policy.
 */
const IS_OWN = {
  threw: true,
  bad_result: true,
  unknown_dbkey: true,
  too_large: true,
  deadline: true,
  memory: true,
  /** the call, alone in its process, ended the process or did not return */
  killed: true,
  /** the files can't be loaded, and never could be */
  no_version: true,
  /** an administrator has paused its tenant's functions */
  paused: true,
  /** the call waited too long, or no sandbox process can be started */
  overloaded: false,
  starved: false,
  /** its process was repeatedly ended from outside */
  lost: false,
  /** the functions have failed for many clients, and are not asked for a while */
  suspended: false,
} as const;

export type FailureOutcome = keyof typeof IS_OWN;

export function isFailureOutcome(text: string): text is FailureOutcome {
  return Object.hasOwn(IS_OWN, text);
}

/** Whether the proxy could not ask the rule, as opposed to a failure of the rule on the query. */
export function isPlatformFailure(outcome: FailureOutcome): boolean {
  return !IS_OWN[outcome];
}

export interface CallFailure {
  readonly outcome: FailureOutcome;
  readonly message: string;
  /** stack inside the bundle, for mapping to the source; '': none */
  readonly stack: string;
}

/** One function's part of an answer; null: it returned null, or does not exist. */
export type Part =
  | null
  | { readonly text: string }
  | { readonly rejection: Rejection }
  | { readonly failure: CallFailure };

export interface HostAnswer {
  readonly rewrite: Part;
  readonly route: Part;
  /**
   * The parts of ctx that the call has read, as the bits of a number in the order of CONTEXT_FIELDS (context-fields.ts). None:
   * the answer depends on something else than the call, and must not be given again.
   */
  readonly basis?: number;
  /** The functions have seen this shape of the query, and rewritten it to this (null: they have not); none: they saw the text. */
  readonly asShape?: { readonly query: string; readonly rewrite: string | null };
}

/** Both functions failed the same way: the call was cut off. */
export function cutOff(outcome: FailureOutcome, message: string): HostAnswer {
  const failure = { failure: { outcome, message, stack: '' } };
  return { rewrite: failure, route: failure };
}
