/** The versions that tenants' functions have had: their numbers, records and bundles, and which version is pinned. */
import type { Bundle } from '../build/bundle-job.ts';
import { STORE } from '../limits.ts';
import type { CheckedWith, TrialFindings, VersionKey, VersionRecord } from './version-record.ts';

/** A version that an administrator has fixed: it serves, whatever the files hold. */
export interface Pin {
  readonly number: number;
  /** an operator's pin stays an operator's */
  readonly by: 'operator' | 'tenant';
  /** the name of the user */
  readonly user: string;
}

interface Kept {
  readonly record: VersionRecord;
  readonly bundle: Bundle;
}

/** The versions of one tenant. */
class History {
  nextNumber = 1;
  /** in the order of their numbers */
  readonly kept: Kept[] = [];
  /** by set, the version that has served last */
  readonly served = new Map<string, number>();
  /** by set */
  readonly pins = new Map<string, Pin>();
}

export class VersionStore {
  readonly #histories = new Map<string, History>();

  /**
   * A version has been loaded.
   * @returns its record: that of an earlier version with the same code, if it is still kept
   */
  add(
    key: VersionKey,
    bundle: Bundle,
    checkedWith: CheckedWith,
    findings: TrialFindings,
  ): Promise<VersionRecord> {
    const history = this.#of(key.owner);
    const known = history.kept.find(({ record }) => record.key.id === key.id && record.hash === bundle.hash);
    if (known !== undefined) return Promise.resolve(known.record);
    const record: VersionRecord = {
      key: { owner: key.owner, id: key.id },
      number: history.nextNumber++,
      hash: bundle.hash,
      timeMs: Date.now(),
      files: [],
      checkedWith,
      findings,
      isArtifact: false,
    };
    history.kept.push({ record, bundle });
    this.#prune(history, key.id);
    return Promise.resolve(record);
  }

  /** This version serves from now on. */
  noteServing({ owner, id }: VersionKey, number: number): void {
    this.#of(owner).served.set(id, number);
  }

  /** The kept versions of all sets of a tenant, oldest first. */
  history(owner: string): readonly VersionRecord[] {
    return this.#histories.get(owner)?.kept.map(({ record }) => record) ?? [];
  }

  /** The version of a set that has served last; null: none is known. */
  latest({ owner, id }: VersionKey): VersionRecord | null {
    const number = this.#histories.get(owner)?.served.get(id);
    return this.history(owner).find((record) => record.number === number) ?? null;
  }

  /** The bundle of a kept version; null: it is not kept, or is damaged. */
  bundleOf(owner: string, number: number): Promise<Bundle | null> {
    const kept = this.#histories.get(owner)?.kept.find(({ record }) => record.number === number);
    return Promise.resolve(kept?.bundle ?? null);
  }

  pin({ owner, id }: VersionKey, pin: Pin): void {
    this.#of(owner).pins.set(id, pin);
  }

  unpin({ owner, id }: VersionKey): void {
    this.#histories.get(owner)?.pins.delete(id);
  }

  /** The pinned version of a set; null: none. */
  pinOf({ owner, id }: VersionKey): Pin | null {
    return this.#histories.get(owner)?.pins.get(id) ?? null;
  }

  #of(owner: string): History {
    let history = this.#histories.get(owner);
    if (history === undefined) this.#histories.set(owner, (history = new History()));
    return history;
  }

  /** Drops the oldest versions of a set that has too many, but none that serves or is pinned. */
  #prune({ kept, served, pins }: History, id: string): void {
    const needed = [served.get(id), pins.get(id)?.number];
    const own = kept.filter(({ record }) => record.key.id === id);
    const surplus = own
      .slice(0, Math.max(0, own.length - STORE.versions))
      .filter(({ record }) => !needed.includes(record.number));
    for (const each of surplus) kept.splice(kept.indexOf(each), 1);
  }
}
