/** The placement of tenants in child processes: a policy over what has been observed, which knows no processes. */
import { PLACEMENT, SHARE } from '../limits.ts';
import type { Observed } from './conduct.ts';

/** `shared`: of tenants that behave, who get short slices there. `own`: of as few tenants as possible, with all their time. */
export type Kind = 'shared' | 'own';

/**
 * Why a tenant leaves a shared child. `slice`: a call did not end within its slice. `ended`: the child did not come back from a
 * call, or ended. `load`: its version could not be loaded there. `time` and `memory`: its neighbours would wait, or lack memory.
 */
export type Cause = 'slice' | 'ended' | 'load' | 'time' | 'memory';

/** A child, as far as tenants live in it. */
export interface Room {
  readonly kind: Kind;
  /** those that live in it */
  readonly tenants: { readonly size: number };
}

export interface Bounds {
  /** children in all, 2 at least: one is left for each kind */
  readonly hosts: number;
  /** tenants of a shared child, as long as there may be another one */
  readonly tenants: number;
  /** memory of all tenants of a child together above which the largest leaves */
  readonly crowdedBytes: number;
}

/**
 * The child for a tenant that needs one: with room, or a new one, or at the bound the one with the fewest tenants.
 * @returns null: a new one
 */
export function roomFor<Any extends Room>(rooms: readonly Any[], kind: Kind, bounds: Bounds): Any | null {
  const alike = rooms
    .filter((room) => room.kind === kind)
    .toSorted((a, b) => a.tenants.size - b.tenants.size);
  const [emptiest] = alike;
  const room = kind === 'own' ? 1 : bounds.tenants;
  if (emptiest !== undefined && emptiest.tenants.size < room) return emptiest;
  const isBounded = rooms.length >= bounds.hosts || alike.length >= bounds.hosts - 1;
  return isBounded ? (emptiest ?? null) : null;
}

/** One tenant of a shared child. */
export interface Sharer {
  readonly conduct: { observe(now: number): Observed };
}

/**
 * The tenant without which its neighbours would be better off, before they notice it much.
 * @param noted the tenant whose job has just ended
 * @param all what all together have used
 * @returns null: all may stay
 */
export function leaverOf<Any extends Sharer>(
  noted: Any,
  sharers: Iterable<Any>,
  all: Observed,
  bounds: Bounds,
  now: number,
): { readonly sharer: Any; readonly cause: Cause } | null {
  if (all.delayMs > SHARE.mostDelayMs) {
    const small = Math.max(SHARE.smallDelayMs, all.delayMs * SHARE.smallDelayPart);
    const slowest = largest(sharers, (sharer) => sharer.conduct.observe(now).delayMs, small);
    if (slowest !== null) return { sharer: slowest, cause: 'time' };
  }
  if (noted.conduct.observe(now).usedMs > SHARE.windowMs * SHARE.largestPart)
    return { sharer: noted, cause: 'time' };
  if (all.usedMs > SHARE.windowMs * SHARE.crowdedPart) {
    const busiest = largest(sharers, (sharer) => sharer.conduct.observe(now).usedMs, SHARE.smallMs);
    if (busiest !== null) return { sharer: busiest, cause: 'time' };
  }
  if (all.heapBytes <= bounds.crowdedBytes) return null;
  const fullest = largest(sharers, (sharer) => sharer.conduct.observe(now).heapBytes, SHARE.smallBytes);
  return fullest === null ? null : { sharer: fullest, cause: 'memory' };
}

/** The one with the largest amount, if it is not small. */
function largest<Any>(all: Iterable<Any>, amountOf: (one: Any) => number, small: number): Any | null {
  let found: Any | null = null;
  let most = small;
  for (const one of all) {
    const amount = amountOf(one);
    if (amount < most) continue;
    most = amount;
    found = one;
  }
  return found;
}

/** Whether a tenant in a child of its own still does what would make it leave a shared one. */
export function isCostly(delayMs: number, { usedMs, heapBytes, ...own }: Observed, bounds: Bounds): boolean {
  return (
    delayMs > PLACEMENT.sliceMs / 2 ||
    own.delayMs > SHARE.smallDelayMs ||
    usedMs > (SHARE.windowMs * SHARE.largestPart) / 2 ||
    heapBytes > bounds.crowdedBytes / 2
  );
}

/**
 * How long a tenant must have behaved before it may live in a shared child again, in ms: longer each time.
 * @param moves how often it has left a shared child
 */
export function probationMs(moves: number): number {
  return Math.min(PLACEMENT.probationMs * 2 ** (moves - 1), PLACEMENT.longestProbationMs);
}
