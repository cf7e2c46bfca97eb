/** Whether a candidate is worse than the serving version beyond a tolerance. */
import { CANARY } from '../limits.ts';
import { className, type Tally } from './arm.ts';

/** Both versions have had enough calls to be compared. */
export function isEnough(serving: Tally, candidate: Tally): boolean {
  return serving.calls >= CANARY.minCalls && candidate.calls >= CANARY.minCalls;
}

/**
 * A difference counts only if it is larger than chance explains: by three standard errors beyond the tolerance.
 * @param percent the tolerance: percentage points of calls or of answered queries, and percent of the mean call time
 * @returns how the candidate is worse, for people; null: it is not, or it can't be told yet
 */
export function worseBy(serving: Tally, candidate: Tally, percent: number): string | null {
  const tolerance = percent / 100;
  return (
    // only calls that the serving version answered count as failures of the candidate: they need no comparison
    moreOften('calls failed', [0, Infinity], [candidate.failures, candidate.calls], tolerance) ??
    moreOften(
      'calls were rejected',
      [serving.rejections, serving.calls],
      [candidate.rejections, candidate.calls],
      tolerance,
    ) ??
    moreErrors(serving, candidate, tolerance) ??
    slower(serving, candidate, tolerance)
  );
}

/** How many of how many. */
type Share = readonly [count: number, of: number];

function moreOften(what: string, serving: Share, candidate: Share, tolerance: number): string | null {
  if (serving[1] < CANARY.minCalls || candidate[1] < CANARY.minCalls) return null;
  const difference = shareOf(candidate) - shareOf(serving);
  const chance = CANARY.deviations * Math.sqrt(varianceOf(candidate) + varianceOf(serving));
  if (difference <= tolerance + chance) return null;
  const against = serving[1] === Infinity ? '' : `, against ${percentage(serving)} with the serving version`;
  return `${percentage(candidate)} of its ${what}${against}`;
}

function moreErrors(serving: Tally, candidate: Tally, tolerance: number): string | null {
  for (const [errorClass, count] of candidate.errors) {
    const worse = moreOften(
      `queries got an error of class ${className(errorClass)} from the server`,
      [serving.errors.get(errorClass) ?? 0, serving.answers],
      [count, candidate.answers],
      tolerance,
    );
    if (worse !== null) return worse;
  }
  return null;
}

function slower(serving: Tally, candidate: Tally, tolerance: number): string | null {
  if (serving.timed < CANARY.minCalls || candidate.timed < CANARY.minCalls) return null;
  const [ours, theirs] = [serving.sumUs / serving.timed, candidate.sumUs / candidate.timed];
  const chance = CANARY.deviations * Math.sqrt(timeVariance(serving) + timeVariance(candidate));
  if (theirs - ours <= Math.max(ours * tolerance, CANARY.minSlowerUs) + chance) return null;
  return `its calls take ${Math.round(theirs)} µs, against ${Math.round(ours)} µs with the serving version`;
}

function shareOf([count, of]: Share): number {
  return of === Infinity ? 0 : Math.min(1, count / of);
}

/** Of a share, as if one more call of each kind had been seen: a small sample says less than it seems to. */
function varianceOf([count, of]: Share): number {
  if (of === Infinity) return 0;
  const share = (Math.min(count, of) + 1) / (of + 2);
  return (share * (1 - share)) / of;
}

/** Of a mean. */
function timeVariance({ timed, sumUs, sumSquares }: Tally): number {
  const mean = sumUs / timed;
  return Math.max(0, sumSquares / timed - mean * mean) / timed;
}

function percentage(share: Share): string {
  return `${(shareOf(share) * 100).toFixed(1)} %`;
}
