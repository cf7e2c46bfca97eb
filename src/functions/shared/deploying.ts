/**
 * Whether code that a proxy's files hold is a deployment, which serves on all proxies of a fleet, or a difference between
 * them.
 */

export interface FoundCode {
  /** of the code that the files hold now */
  readonly hash: string;
  /**
   * of the code that they held before; '': of an unknown one; null: of none, since they are as they were when the proxy
   * started
   */
  readonly before: string | null;
  /** of the code that the fleet serves; null: nothing yet */
  readonly serving: string | null;
  /** the fleet has had this code before */
  readonly isKnown: boolean;
  /** it would have been a deployment when it was found, but another version was pinned */
  readonly wasHeldBack: boolean;
}

/**
 * Files deploy when they change while a proxy watches them. Files that differ when a proxy starts do not: it serves what the
 * others serve. Several proxies get a change one after the other, so code that the fleet has left behind already is not deployed
 * again by one that is late. It is where the files held what the fleet serves: then somebody has put it back.
 */
export function isDeployment({ hash, before, serving, isKnown, wasHeldBack }: FoundCode): boolean {
  if (serving === null || hash === serving || wasHeldBack) return true;
  if (before === null || before === hash) return false;
  return before === serving || !isKnown;
}
