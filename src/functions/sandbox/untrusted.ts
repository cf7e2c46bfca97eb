/**
 * Checks the output of a child process, where code may have broken out of an isolate. Each function returns null for anything
 * that a prelude and an engine do not write.
 */
import { TEXT } from '../limits.ts';
import { isFailureOutcome, type HostAnswer, type Part } from './call.ts';
import { isBasis } from './context-fields.ts';
import { refused, type LoadResult } from './load-result.ts';
import { unpackAtMost, type Answers } from './packing.ts';

/** @param calls the most answers that there may be */
export function checkedAnswers(packed: string, calls: number): Answers | null {
  try {
    const unpacked = unpackAtMost(packed, calls);
    return unpacked?.answers.every(isSoundAnswer) === true ? unpacked : null;
  } catch {
    return null; // a rejection that is not JSON
  }
}

/** A child can't claim that its version could not be tried: the version would be loaded again and again. */
export function checkedLoadResult(value: unknown): LoadResult | null {
  const { kind, manifest, cause, message, stack } = fieldsOf(value);
  if (kind === 'loaded') {
    const { routes, rewrites, options, state = '' } = fieldsOf(manifest);
    const { pure, sees } = fieldsOf(options);
    if (typeof routes !== 'boolean' || typeof rewrites !== 'boolean' || typeof pure !== 'boolean')
      return null;
    if (sees !== 'text' && sees !== 'shape') return null;
    if (!isShort(state)) return null;
    return { kind, manifest: { routes, rewrites, options: { pure, sees }, ...(state !== '' && { state }) } };
  }
  const isRefusal = kind === 'refused' && (cause === 'mistake' || cause === 'offence');
  return isRefusal && isShort(message) && isShort(stack) ? refused(cause, message, stack) : null;
}

function isSoundAnswer({ rewrite, route, basis = 0, changed = '' }: HostAnswer): boolean {
  return isSoundPart(rewrite) && isSoundPart(route) && isBasis(basis) && isShort(changed);
}

function isSoundPart(part: Part): boolean {
  if (part === null || 'text' in part) return true;
  if ('failure' in part) {
    const { outcome, message, stack } = part.failure;
    return isFailureOutcome(outcome) && isShort(message) && isShort(stack);
  }
  const { message, code, hint, detail } = fieldsOf(part.rejection);
  return isText(message) && isText(code) && /^[0-9A-Z]{5}$/.test(code) && [hint, detail].every(isTextOrNull);
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function isShort(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT.maxUntrusted;
}

/** A text for an ErrorResponse: a NUL would end its field. */
function isText(value: unknown): value is string {
  return isShort(value) && !value.includes('\0');
}

function isTextOrNull(value: unknown): boolean {
  return value === null || isText(value);
}
