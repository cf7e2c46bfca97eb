/** The versions of a tenant as a fleet numbers them: which number a new one gets, and which ones are not kept any more. */
import { STORE } from '../limits.ts';
import type { SharedVersion } from './values.ts';

export type Unnumbered = Omit<SharedVersion, 'number' | 'artifact'> & { readonly artifact: string };

export interface Numbered {
  readonly versions: readonly SharedVersion[];
  /** names of artifacts that are not needed any more */
  readonly removed: readonly string[];
}

/**
 * Equal code of one set has one number, in whatever order the proxies load it.
 * @param versions in the order of their numbers
 * @param isNeeded whether a version serves, is pinned or is a candidate
 * @returns null: it is there already
 */
export function numbered(
  versions: readonly SharedVersion[],
  added: Unnumbered,
  isNeeded: (version: Pick<SharedVersion, 'id' | 'hash'>) => boolean,
): Numbered | null {
  const known = versions.find(({ id, hash }) => id === added.id && hash === added.hash);
  if (known !== undefined && known.artifact !== null) return null;
  const version = { ...added, number: known?.number ?? (versions.at(-1)?.number ?? 0) + 1 };
  const all =
    known === undefined ? [...versions, version] : versions.map((each) => (each === known ? version : each));
  const kept = all.filter(({ id, artifact }) => id === added.id && artifact !== null);
  const surplus = new Set(
    kept
      .slice(0, Math.max(0, kept.length - STORE.versions))
      .filter((each) => each !== version && !isNeeded(each)),
  );
  const pruned = all.map((each) => (surplus.has(each) ? { ...each, artifact: null } : each));
  return { versions: newest(pruned), removed: [...surplus].map(({ artifact }) => artifact!) };
}

/** All that have an artifact, and the newest of the others. */
function newest(versions: readonly SharedVersion[]): SharedVersion[] {
  const bare = versions.filter(({ artifact }) => artifact === null);
  const gone = new Set(bare.slice(0, Math.max(0, versions.length - STORE.records)));
  return versions.filter((version) => !gone.has(version));
}
