/** Short texts about failures, made inside the isolate and without the query. */
import type { PreludeLimits } from './limits.ts';
import { explained } from './missing.ts';

/** @param limit characters; a negative limit counts as 0 */
export function clip(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit > 0 ? limit : 0)}…` : text;
  // NUL separates fields on the way out.
  return cut.split('\0').join('\ufffd');
}

/** Removes the query from an error's text: the log must not have it. */
function withoutQuery(text: string, query: string, { minSecret, maxSearched }: PreludeLimits): string {
  if (query.length < minSecret) return text;
  const start = query.slice(0, 40);
  let rest = text.length > maxSearched ? text.slice(0, maxSearched) : text;
  let clean = '';
  for (let at = rest.indexOf(start); at >= 0; at = rest.indexOf(start)) {
    let end = start.length;
    while (end < query.length && rest[at + end] === query[end]) end++;
    clean += `${rest.slice(0, at)}[query]`;
    rest = rest.slice(at + end);
  }
  return clean + rest;
}

export interface ErrorText {
  readonly message: string;
  /** '': none */
  readonly stack: string;
}

/**
 * Describes anything that was thrown. Getters of the thrown object run inside the deadline of the call.
 * @param onError is told if one of them fails
 */
export function describeError(
  error: unknown,
  query: string,
  limits: PreludeLimits,
  onError: (error: unknown) => void,
): ErrorText {
  const { maxMessage, maxStack } = limits;
  try {
    if (typeof error !== 'object' || error === null) {
      const message = withoutQuery(`threw ${typeof error}: ${String(error)}`, query, limits);
      return { message: clip(message, maxMessage), stack: '' };
    }
    const { name, message, stack } = error as { name?: unknown; message?: unknown; stack?: unknown };
    const head = `${typeof name === 'string' ? name : 'Error'}: ${typeof message === 'string' ? explained(message) : ''}`;
    // A stack begins with the message, however long it is: only the frames are of use.
    const frames = typeof stack === 'string' ? stack.slice(-maxStack) : '';
    return {
      message: clip(withoutQuery(head, query, limits), maxMessage),
      stack: clip(frames, maxStack),
    };
  } catch (another) {
    onError(another);
    return { message: 'threw something that cannot be described', stack: '' };
  }
}
