/** Whether the functions, asked again, give the decision that was remembered. */
import type { FailureOutcome, HostAnswer, HostCall, Part } from '../sandbox/call.ts';
import type { Decision } from './policy.ts';

/** Failures that a function brings about by itself, at the same place each time, if it depends on its arguments only. */
const OWN: ReadonlySet<FailureOutcome> = new Set(['threw', 'bad_result', 'too_large']);

/**
 * The answer in words, if it differs from a decision. Neither names any part of the query: it must not be logged.
 * @returns null: it is the same, or the functions could not answer
 */
export function differenceOf(call: HostCall, decision: Decision, answer: HostAnswer): string | null {
  const { rewrite, route } = answer;
  const failed = failureOf(rewrite) ?? failureOf(route);
  if (failed !== null) return OWN.has(failed) ? failed : null;
  const rejection = rejectionOf(rewrite) ?? rejectionOf(route);
  if (rejection !== null) {
    if (decision.kind === 'go') return `rejected with ${rejection.code}`;
    const { code, message, hint, detail } = decision.error;
    const isSame =
      code === rejection.code &&
      message === rejection.message &&
      hint === rejection.hint &&
      detail === rejection.detail;
    return isSame ? null : `rejected with ${rejection.code} and other texts`;
  }
  const text = textOf(rewrite);
  const next: Decision = { kind: 'go', query: text === call.query ? null : text, dbkey: textOf(route) };
  const isSame = decision.kind === 'go' && decision.query === next.query && decision.dbkey === next.dbkey;
  if (isSame) return null;
  const from = decision.kind === 'go' ? firstDifference(decision.query, next.query) : -1;
  return from < 0 ? inWords(next) : `${inWords(next)}, which differs from character ${from + 1} on`;
}

/** A decision in words, without any part of the query. */
export function inWords(decision: Decision): string {
  if (decision.kind !== 'go') return `rejected with ${decision.error.code}`;
  const { query, dbkey } = decision;
  const text = query === null ? 'unchanged' : `rewritten to ${query.length} characters`;
  return dbkey === null ? text : `${text} and routed to ${nameInWords(dbkey)}`;
}

/** A text that should be a name may be the query itself. */
function nameInWords(name: string): string {
  return /^[\w.@:$-]{1,63}$/.test(name) ? `"${name}"` : `a name of ${name.length} characters`;
}

function failureOf(part: Part): FailureOutcome | null {
  return part !== null && 'failure' in part ? part.failure.outcome : null;
}

function rejectionOf(part: Part) {
  return part !== null && 'rejection' in part ? part.rejection : null;
}

function textOf(part: Part): string | null {
  return part !== null && 'text' in part ? part.text : null;
}

/** @returns -1: one of them is missing, or they are the same */
function firstDifference(a: string | null, b: string | null): number {
  if (a === null || b === null || a === b) return -1;
  let at = 0;
  while (a[at] === b[at]) at++;
  return at;
}
