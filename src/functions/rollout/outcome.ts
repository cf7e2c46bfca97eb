/** What came of one call of a version, in a form that can be compared with another version's. */
import { masked as withoutConstants } from '../../sql/fingerprint.ts';
import { printable } from '../../telemetry/printable.ts';
import type { Decision } from '../decide/policy.ts';
import type { FailureOutcome } from '../sandbox/call.ts';

export interface Outcome {
  readonly decision: Decision;
  /** null: the functions answered */
  readonly failure: FailureOutcome | null;
  /** processor time of the call, in µs; null: unknown, or the decision was remembered */
  readonly costUs: number | null;
}

/** The ways in which two versions may disagree about a query. */
export const DIFFERENCES = [
  'route differs',
  'rewrite differs',
  'rejection differs',
  'candidate failed',
  'serving failed',
  'failure differs',
] as const;
export type Difference = (typeof DIFFERENCES)[number];

/** @returns []: both versions treat the query alike. A rewrite and a route may differ at once; the others stand alone. */
export function differencesOf(serving: Outcome, candidate: Outcome): Difference[] {
  if (serving.failure !== null && candidate.failure !== null)
    return serving.failure === candidate.failure ? [] : ['failure differs'];
  if (candidate.failure !== null) return ['candidate failed'];
  if (serving.failure !== null) return ['serving failed'];
  const [ours, theirs] = [serving.decision, candidate.decision];
  if (ours.kind !== 'go' || theirs.kind !== 'go')
    return isSameRefusal(ours, theirs) ? [] : ['rejection differs'];
  const differences: Difference[] = [];
  if (ours.dbkey !== theirs.dbkey) differences.push('route differs');
  if (ours.query !== theirs.query) differences.push('rewrite differs');
  return differences;
}

function isSameRefusal(ours: Decision, theirs: Decision): boolean {
  if (ours.kind === 'go' || theirs.kind === 'go' || ours.kind !== theirs.kind) return false;
  return ours.error.encode().equals(theirs.error.encode());
}

/** A decision in words. Constants of a rewritten query, or in the message of a rejection, are masked. */
export function described({ decision, failure }: Outcome): string {
  if (failure !== null) return `failed: ${failure}`;
  if (decision.kind !== 'go') {
    const { code, message } = decision.error;
    return `${decision.kind === 'reject' ? 'rejects' : 'disconnects'}: ${code} ${masked(message)}`;
  }
  const { query, dbkey } = decision;
  const parts = [
    dbkey === null ? '' : `routes to ${printable(dbkey)}`,
    query === null ? '' : `rewrites to ${masked(query)}`,
  ].filter((part) => part !== '');
  return parts.length === 0 ? 'passes' : parts.join(', ');
}

/** A text on one line, with `?` for each constant in it. */
export function masked(text: string): string {
  return printable(withoutConstants(text));
}
