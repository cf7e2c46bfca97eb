/** The outcome for a query: the functions' answer is checked, and the policies for failures are applied. */
import { isRollback } from '../../sql/rollback.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import {
  isOutage,
  isPlatformFailure,
  type CallFailure,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
  type Part,
} from '../sandbox/call.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import { TEXT } from '../limits.ts';

/** The outcome for a query whose function fails: it passes, gets an error, or its client is disconnected. */
export type FailurePolicy = 'pass' | 'error' | 'disconnect';

/** The outcome for a query: it continues, possibly changed or in another database, or it is refused. */
export type Decision =
  | {
      readonly kind: 'go';
      /** null: unchanged */
      readonly query: string | null;
      /** null: stay */
      readonly dbkey: string | null;
      /** the functions could not be asked just now: a statement is judged again when it is used again */
      readonly isProvisional?: true;
    }
  | Refusal;

/** The query goes nowhere: its client gets the reason, and stays or is disconnected. */
export interface Refusal {
  readonly kind: 'reject' | 'disconnect';
  readonly error: ClientError;
}

/** What becomes of a query that could not be judged because the platform failed (user_function_unavailable). */
export type OutagePolicy = 'error' | 'pass';

/** What becomes of a query on which a guard has run into a limit, under the policy `pass` (user_function_over_limit). */
export type LimitPolicy = 'error' | 'pass';

export const GO: Decision = { kind: 'go', query: null, dbkey: null };

/** Whether the asked functions may name this database. A database that they may not name does not exist for them. */
export type MayName = (name: string, call: HostCall) => boolean;

/** Turns the parts of an answer that the proxy can't follow into failures. */
export function checked(
  call: HostCall,
  answer: HostAnswer,
  isDbkey: MayName,
  nameable: (call: HostCall) => Nameable,
): HostAnswer {
  const { rewrite, route } = answer;
  // oxlint-disable-next-line no-control-regex
  if (call.isBytes && rewrite !== null && 'text' in rewrite && /[^\0-\xff]/.test(rewrite.text)) {
    const message = 'returned characters over U+00FF for a query that is not in UTF-8';
    return checked(call, { rewrite: badResult('bad_result', message), route }, isDbkey, nameable);
  }
  if (route !== null && 'text' in route && !isDbkey(route.text, call))
    return { rewrite, route: badResult('unknown_dbkey', misnamed(route.text, nameable(call))) };
  return answer;
}

/** The names that a routing function may return. */
export interface Nameable {
  readonly names: readonly string[];
  /** these are all configured databases */
  readonly isAll: boolean;
}

/** The complaint about a name that a routing function may not return. */
export function misnamed(name: string, { names, isAll }: Nameable): string {
  const listed = names.slice(0, TEXT.maxNames).join(', ');
  const rest = names.length > TEXT.maxNames ? `, and ${names.length - TEXT.maxNames} more` : '';
  const what = isAll ? 'is not in [databases]' : 'is not among the databases that it may name';
  return `returned ${shown(name)}, which ${what} (${listed}${rest})`;
}

/** Shows a text that should be a name. It may be the query itself, which must not be logged. */
function shown(name: string): string {
  return /^[\w.@:$-]{1,63}$/.test(name) ? `"${name}"` : `a text of ${name.length} characters`;
}

function badResult(outcome: FailureOutcome, message: string): Part {
  return { failure: { outcome, message, stack: '' } };
}

export function failureOf(part: Part): CallFailure | null {
  return part !== null && 'failure' in part ? part.failure : null;
}

/** The refusal for a rejection, or for a failure that the policies do not let pass; null: the query continues. */
export function refusalOf(
  query: string,
  part: Part,
  policy: FailurePolicy,
  outagePolicy: OutagePolicy,
  names = OPTION_NAMES,
): Refusal | null {
  if (part === null || 'text' in part) return null;
  if ('rejection' in part) return rejection(clientErrors.rejected(part.rejection));
  const { outcome } = part.failure;
  if (isOutage(outcome) && outagePolicy === 'pass') return null;
  // A query that could not be judged is not sent to any server, whatever the policy.
  if (isPlatformFailure(outcome))
    return isRollback(query) ? null : rejection(clientErrors.notJudged(outcome));
  if (policy === 'pass') return null;
  if (policy === 'disconnect')
    return { kind: 'disconnect', error: clientErrors.functionFailedFatally(outcome) };
  if (isRollback(query)) return null;
  const explained = EXPLAINED[outcome] ?? null;
  return rejection(
    clientErrors.functionFailed(outcome, explained === null ? null : withNames(explained, names)),
  );
}

/** What the operator calls the limits and policies that apply: options, or keys of [tenants]. */
export interface SettingNames {
  readonly timeout: string;
  readonly memory: string;
  readonly onRewriteFailure: string;
  readonly onRoutingFailure: string;
}

export const OPTION_NAMES: SettingNames = {
  timeout: 'user_function_timeout',
  memory: 'user_function_memory_limit',
  onRewriteFailure: 'rewrite_query_on_failure',
  onRoutingFailure: 'routing_rules_on_failure',
};

/** A text about a limit, with the name that the operator has set it by. */
export function withNames(text: string, { timeout, memory }: SettingNames): string {
  return text.replace(OPTION_NAMES.timeout, timeout).replace(OPTION_NAMES.memory, memory);
}

/** For the client, which never sees a text made by a function. */
const EXPLAINED: Partial<Record<FailureOutcome, string>> = {
  threw: 'It threw an exception.',
  bad_result: 'It returned something that is neither a string nor null.',
  unknown_dbkey: 'It named a database that does not exist, or that it may not name.',
  too_large: 'The query is over user_function_max_query, or the result over user_function_max_result.',
  deadline: 'It took longer than user_function_timeout.',
  memory: 'It needed more memory than user_function_memory_limit.',
  killed: 'It did not come back, or ended its process.',
  no_version: 'Its files could not be loaded.',
  paused: 'It has been paused by an administrator.',
  over_budget: 'Its tenant has used up its processor time (cpu_limit).',
};

function rejection(error: ClientError): Refusal {
  return { kind: 'reject', error };
}

/**
 * The function in which a call failed.
 * @param manifest of the called version; null: unknown
 * @returns '': unknown, because a call of both functions was cut off
 */
export function failedFunction(
  manifest: Pick<Manifest, 'routes' | 'rewrites'> | null,
  rewrite: Part,
  route: Part,
): 'rewrite_query' | 'routing_rules' | '' {
  const isRewriting = manifest?.rewrites === true && failureOf(rewrite) !== null;
  const isRouting = manifest?.routes === true && failureOf(route) !== null;
  if (isRewriting === isRouting) return '';
  return isRewriting ? 'rewrite_query' : 'routing_rules';
}
