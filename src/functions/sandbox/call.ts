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
  /** whether the answer is still of use; none: it is */
  readonly asker?: Asker;
  /**
   * Bytes of a query over user_function_max_query, which the functions do not see (`query` is empty): the call only waits
   * until it is known what they can do to a query, and then fails as `too_large`. None: they see it.
   */
  readonly tooLong?: number;
  /** how long the call may wait for its answer, in ms; 0: without end. It gets an error then. */
  readonly patienceMs?: number;
}

/** The client that waits for an answer. */
export interface Asker {
  /** false: it has left, or its query has been cancelled */
  readonly isWaiting: boolean;
}

/**
 * The cause of a call without an answer. `rule`: the rule itself failed on the query, and the policy decides about the query.
 * `limit`: it ran into a limit on the query, which a client can bring about by its text; the policy decides too, but does not let
 * the query pass a guard, unless user_function_over_limit does. Otherwise the query could not be judged. `outage`: no client
 * and no tenant can bring that about, and user_function_unavailable decides. `load`: a client or a tenant may have brought
 * it about, so the query gets an error whatever is configured: nobody can have a rule skipped.
 */
type Cause = 'rule' | 'limit' | 'outage' | 'load';

/** The ways in which a call can end without an answer. */
const CAUSES = {
  threw: 'rule',
  bad_result: 'rule',
  unknown_dbkey: 'rule',
  too_large: 'limit',
  deadline: 'limit',
  memory: 'limit',
  /** the call, alone in its process, ended the process or did not return */
  killed: 'limit',
  /** the files can't be loaded, and never could be */
  no_version: 'rule',
  /** an administrator has paused its tenant's functions */
  paused: 'rule',
  /** the tenant has used up its processor time. Where that would let queries pass a guard, calls wait instead (budget-gate.ts) */
  over_budget: 'rule',
  /** no sandbox process can be started, or no version has been loaded in time */
  unavailable: 'outage',
  starved: 'outage',
  /** the call waited too long for other calls or for its tenant's budget, or its isolate could not be built again */
  overloaded: 'load',
  /** its process was repeatedly ended from outside: the kernel does that when memory runs out */
  lost: 'load',
  /** the functions have failed for many clients, and are not asked for a while */
  suspended: 'load',
} as const satisfies Record<string, Cause>;

export type FailureOutcome = keyof typeof CAUSES;

export function isFailureOutcome(text: string): text is FailureOutcome {
  return Object.hasOwn(CAUSES, text);
}

/** Whether the proxy could not ask the rule, as opposed to a failure of the rule on the query. */
export function isPlatformFailure(outcome: FailureOutcome): boolean {
  return CAUSES[outcome] !== 'rule' && CAUSES[outcome] !== 'limit';
}

/**
 * V8's errors for a recursion that is too deep and for texts and lists that are too long, and those of
 * sandbox/prelude/guards.ts.
 */
const EXHAUSTED =
  /RangeError: (?:Maximum call stack size exceeded|Array buffer allocation failed|Invalid (?:string|array|typed array) length|(?:array|string) too long for a user function)/;

/** Whether a client can have brought the failure of a rule about, by the length or the form of its query. */
export function isLimit({ outcome, message }: CallFailure, { isBytes }: Pick<HostCall, 'isBytes'>): boolean {
  if (CAUSES[outcome] === 'limit') return true;
  // the client has chosen the encoding that a rewritten query does not fit into
  if (outcome === 'bad_result') return isBytes === true;
  return outcome === 'threw' && EXHAUSTED.test(message);
}

/** Whether neither a client nor a tenant can have brought the failure about. */
export function isOutage(outcome: FailureOutcome): boolean {
  return CAUSES[outcome] === 'outage';
}

/** Whether the next call may well succeed, without any change of the functions or their settings. */
export function isPassing(outcome: FailureOutcome): boolean {
  return outcome === 'over_budget' || isOutage(outcome);
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
  /** its version was found pure and is not: the reason. None of its decisions may be given again. */
  readonly changed?: string;
}

/** Both functions failed the same way: the call was cut off. */
export function cutOff(outcome: FailureOutcome, message: string): HostAnswer {
  const failure = { failure: { outcome, message, stack: '' } };
  return { rewrite: failure, route: failure };
}
