import type { CallFailure, FailureOutcome, HostAnswer, HostCall, Part } from './host.ts';

/** What becomes of a query whose function fails. */
export type FailurePolicy = 'pass' | 'error' | 'disconnect';

/** What becomes of a query. */
export type Decision =
  | {
      readonly kind: 'go';
      /** null: unchanged */
      readonly query: string | null;
      /** null: stay */
      readonly dbkey: string | null;
    }
  | Refusal;

export type Refusal =
  | {
      readonly kind: 'reject';
      readonly message: string;
      readonly code: string;
      readonly hint: string | null;
      readonly detail: string | null;
    }
  | { readonly kind: 'disconnect'; readonly message: string; readonly code: string };

export const GO: Decision = { kind: 'go', query: null, dbkey: null };
/** external_routine_exception: what a failed function is to the client under the policy `error` */
const FAILURE_SQLSTATE = '38000';

/** Whether the functions that were asked may name this database. A name that they may not is to them one that there is not. */
export type MayName = (name: string, call: HostCall) => boolean;

/** An answer in which what the proxy can't do is a failure. */
export function checked(call: HostCall, answer: HostAnswer, isDbkey: MayName): HostAnswer {
  const { rewrite, route } = answer;
  // oxlint-disable-next-line no-control-regex
  if (call.isBytes && rewrite !== null && 'text' in rewrite && /[^\0-\xff]/.test(rewrite.text)) {
    const message = 'returned characters over U+00FF for a query that is not in UTF-8';
    return checked(call, { rewrite: badResult('bad_result', message), route }, isDbkey);
  }
  if (route !== null && 'text' in route && !isDbkey(route.text, call))
    return { rewrite, route: badResult('unknown_dbkey', `${shown(route.text)} is no database`) };
  return answer;
}

/** A text that should be a name. It may just as well be the query, and that must not be logged. */
function shown(name: string): string {
  return /^[\w.@:$-]{1,63}$/.test(name) ? `"${name}"` : `a text of ${name.length} characters`;
}

function badResult(outcome: FailureOutcome, message: string): Part {
  return { failure: { outcome, message, stack: '' } };
}

export function failureOf(part: Part): CallFailure | null {
  return part !== null && 'failure' in part ? part.failure : null;
}

/** The end of a transaction that takes nothing from it. Refused because of a failure, its client would be stuck in the transaction. */
const ROLLBACK = /^\s*(?:rollback|abort)(?:\s+(?:work|transaction))?\s*;?\s*$/i;

export function isRollback(query: string): boolean {
  return ROLLBACK.test(query);
}

/** A rejection, or a failure whose policy is not to let the query pass; null: it goes on. */
export function refusalOf(query: string, part: Part, policy: FailurePolicy): Refusal | null {
  if (part === null || 'text' in part) return null;
  if ('rejection' in part) return { kind: 'reject', ...part.rejection };
  const message = `user function failed: ${part.failure.outcome}`;
  if (policy === 'pass') return null;
  if (policy === 'disconnect') return { kind: 'disconnect', message, code: FAILURE_SQLSTATE };
  if (isRollback(query)) return null;
  return {
    kind: 'reject',
    message,
    code: FAILURE_SQLSTATE,
    hint: 'The log of the proxy says more.',
    detail: null,
  };
}
