/** Tells from an answer whether its call was costly to others, and whether the rule was asked at all. */
import {
  isPlatformFailure,
  type CallFailure,
  type FailureOutcome,
  type HostAnswer,
} from '../sandbox/call.ts';
import { failureOf } from './policy.ts';

/** Whether a call was costly to others: in time up to a deadline, memory, or a process. */
export function isCostly(outcome: FailureOutcome): boolean {
  return outcome === 'deadline' || outcome === 'memory' || outcome === 'killed' || outcome === 'lost';
}

/** How a call was costly to others, in either of its functions; null: it was not. */
export function costOf(answer: HostAnswer): FailureOutcome | null {
  if (answer.rewrite === null && answer.route === null) return null;
  return outcomesOf(answer).find(isCostly) ?? null;
}

/** The failures of the functions; []: neither failed. */
export function outcomesOf(answer: HostAnswer): FailureOutcome[] {
  return [failureOf(answer.rewrite), failureOf(answer.route)].flatMap((failure) => failure?.outcome ?? []);
}

/** Why one of the functions could not be asked; null: all of them were. */
export function platformFailure(answer: HostAnswer): CallFailure | null {
  if (answer.rewrite === null && answer.route === null) return null;
  const failures = [failureOf(answer.rewrite), failureOf(answer.route)];
  return failures.find((failure) => failure !== null && isPlatformFailure(failure.outcome)) ?? null;
}

/** Whether the rule was asked, even if it only threw. */
export function wasAsked(answer: HostAnswer): boolean {
  return !outcomesOf(answer).some(isPlatformFailure);
}

/**
 * Whether a buffer could not be allocated. Either the rule wants too much, or its neighbours have filled the process: running
 * it apart from them will show which.
 */
export function lacksMemory({ rewrite, route }: HostAnswer): boolean {
  if (rewrite === null && route === null) return false;
  return [failureOf(rewrite), failureOf(route)].some(
    (failure) => failure?.outcome === 'threw' && /allocation failed|out of memory/i.test(failure.message),
  );
}
