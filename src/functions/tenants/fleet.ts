/** A proxy's fleet, as its tenants need it: which of their versions serve is the same on all proxies. */
import type { VersionKey, VersionRecord } from '../store/version-record.ts';
import type { AskedBy } from './asked-by.ts';

/** Code that a set's files hold. */
export interface HeldCode {
  readonly hash: string;
  /**
   * of the code that they held before; '': of an unknown one; null: of none, since they are as they were when the proxy
   * started
   */
  readonly before: string | null;
}

/** What is done with a candidate, by a command or because the candidate has proved to be worse. */
export interface RolloutChange {
  readonly kind: 'none' | 'off' | 'shadow' | 'canary';
  /** of the candidate; '': none */
  readonly hash: string;
  /** of the clients of a canary; otherwise 0 */
  readonly percent: number;
  readonly isPromoted: boolean;
  readonly asked: AskedBy;
  /** how the last canary ended, for people; '': there was none */
  readonly why: string;
  readonly isWorse: boolean;
}

export interface Fleet {
  /** Proxies share versions. */
  readonly isOn: boolean;
  /**
   * Whether code that files hold may serve. If not, the version that the fleet serves is pinned on its behalf.
   * @returns false: it is a candidate
   */
  mayServe(key: VersionKey, code: HeldCode): boolean;
  /** The number of a version for people: in a fleet, negative until the store has given it one. */
  shown(record: Pick<VersionRecord, 'key' | 'hash' | 'number'>): number;
  /** A version of the files serves, or does as soon as it is loaded. */
  noteServing(key: VersionKey, hash: string): void;
  /**
   * A command has changed which version serves, or the files hold what was promoted.
   * @param hash of the version that serves where none is pinned; null: the same as before
   */
  noteChange(key: VersionKey, hash: string | null, user: string): void;
  /** The same for a PAUSE. */
  notePause(owner: string, user: string): void;
  noteRollout(key: VersionKey, change: RolloutChange): void;
  /**
   * A canary is to be promoted, which happens once in a fleet.
   * @returns whether the fleet sees to it; it may have to be asked again
   */
  promote(key: VersionKey, hash: string, isOfFiles: boolean, asked: AskedBy): boolean;
}

/** A proxy that is alone. */
export const NO_FLEET: Fleet = {
  isOn: false,
  mayServe: () => true,
  shown: ({ number }) => number,
  noteServing: () => {},
  noteChange: () => {},
  notePause: () => {},
  noteRollout: () => {},
  promote: () => false,
};
