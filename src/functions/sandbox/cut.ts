/** A crossing into an isolate that was cut off: is its call to blame? */
import { ENGINE, TEXT } from '../limits.ts';
import { cutOff, type FailureOutcome, type HostAnswer } from './call.ts';
import type { VersionCode } from './host.ts';

export interface Cut {
  readonly outcome: Extract<FailureOutcome, 'deadline' | 'memory' | 'threw'>;
  readonly message: string;
  /** CPU time that it had, in ms */
  readonly usedMs: number;
}

/** Reads isolated-vm's error: only its text tells which limit was exceeded. */
export function cutBy(error: Error, isDisposed: boolean, usedMs: number, version: VersionCode): Cut {
  const { timeoutMs, memoryLimitMb } = version;
  if (/timed out/i.test(error.message)) {
    const message = `took longer than user_function_timeout (${timeoutMs} ms)`;
    return { outcome: 'deadline', message, usedMs };
  }
  if (isDisposed || /memory|allocation/i.test(error.message)) {
    const message = `needed more memory than user_function_memory_limit (${memoryLimitMb} MB)`;
    return { outcome: 'memory', message, usedMs };
  }
  return { outcome: 'threw', message: error.message.slice(0, TEXT.maxMessage), usedMs };
}

/** How long one crossing of a batch may take, in ms. */
export function batchLimitMs({ timeoutMs }: VersionCode): number {
  return Math.min(timeoutMs, ENGINE.maxBatchMs);
}

/** Whether a call was cut off at its deadline without having had a processor for half of its time. */
export function wasStarved({ outcome, usedMs }: Cut, limitMs: number): boolean {
  return outcome === 'deadline' && usedMs < limitMs / 2;
}

/**
 * Whether the call that was running when a batch was cut off is to blame. The deadline is meant for each call by itself, so
 * the call must have had its full time. Memory is not held against it yet: earlier calls may have filled the isolate.
 * @param calls the number of calls in the batch
 * @param ranMs how long this call had run
 */
export function isToBlame(cut: Cut, calls: number, ranMs: number, version: VersionCode): boolean {
  const limitMs = batchLimitMs(version);
  if (cut.outcome !== 'deadline' || wasStarved(cut, limitMs)) return false;
  const isWholeDeadline = limitMs >= version.timeoutMs;
  return isWholeDeadline && (calls === 1 || ranMs >= version.timeoutMs * ENGINE.nearlyAll);
}

/** The answer of a call that is to blame. */
export function failedBy({ outcome, message }: Cut): HostAnswer {
  return cutOff(outcome, message);
}
