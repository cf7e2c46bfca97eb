/** Reads from an answer whether its call has cost others something, and whether the rule was asked at all. */
import { isPlatformFailure, type FailureOutcome, type HostAnswer } from '../sandbox/call.ts';
import { failureOf } from './policy.ts';

/** Whether a call has cost others something: time up to a deadline, memory, or a process. */
export function isCostly(outcome: FailureOutcome): boolean {
  return outcome === 'deadline' || outcome === 'memory' || outcome === 'killed' || outcome === 'lost';
}

/** How a call has cost others something, in either of its functions; null: it has not. */
export function costOf(answer: HostAnswer): FailureOutcome | null {
  if (answer.rewrite === null && answer.route === null) return null;
  return outcomesOf(answer).find(isCostly) ?? null;
}

/** How the functions failed; []: neither did. */
export function outcomesOf(answer: HostAnswer): FailureOutcome[] {
  return [failureOf(answer.rewrite), failureOf(answer.route)].flatMap((failure) => failure?.outcome ?? []);
}

/** Whether the rule was asked, if only to throw. */
export function wasAsked(answer: HostAnswer): boolean {
  return !outcomesOf(answer).some(isPlatformFailure);
}

/**
 * Whether a buffer could not be had. The rule may want too much, or its neighbours may have filled the process: apart from
 * them it will show.
 */
export function lacksMemory({ rewrite, route }: HostAnswer): boolean {
  if (rewrite === null && route === null) return false;
  return [failureOf(rewrite), failureOf(route)].some(
    (failure) => failure?.outcome === 'threw' && /allocation failed|out of memory/i.test(failure.message),
  );
}
