/** Cuts the next batch from the calls that wait. */
import { BATCH } from '../limits.ts';
import type { Pending } from './pending.ts';

export interface NextBatch {
  readonly batch: Pending[];
  /** the calls that still wait */
  readonly rest: Pending[];
}

/**
 * @param waiting in order of arrival; calls may be added at its end meanwhile
 * @param isOneByOne each call crosses alone
 * @param takes whether a call crosses; false: it has been dealt with otherwise
 */
export function nextBatch(
  waiting: readonly Pending[],
  isOneByOne: boolean,
  takes: (pending: Pending) => boolean,
): NextBatch {
  const batch: Pending[] = [];
  let length = 0;
  let at = 0;
  for (; at < waiting.length; at++) {
    const pending = waiting[at]!;
    if (!takes(pending)) continue;
    const isAlone = pending.isAlone || isOneByOne;
    if (batch.length > 0 && (isAlone || length >= BATCH.maxLength)) break;
    batch.push(pending);
    length += pending.call.query.length;
    if (isAlone || batch.length === BATCH.maxCalls) {
      at++;
      break;
    }
  }
  return { batch, rest: at === waiting.length ? [] : waiting.slice(at) };
}
