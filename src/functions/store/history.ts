/** The versions of one tenant in memory, and what administrators have fixed for it. */
import { STORE } from '../limits.ts';
import type { HeldState } from './held.ts';
import { shownFiles } from './record-check.ts';
import type { DraftVersion, ServedVersion } from './tenant-folder.ts';
import type { Pin, VersionRecord } from './version-record.ts';

export class History {
  /** by set, the numbers of the versions of its files that have served, in that order; the last one is the present one */
  readonly served = new Map<string, readonly number[]>();
  /** what is on disk has been read; null: not yet */
  opened: Promise<void> | null = null;
  /** in the order of their numbers */
  #records: VersionRecord[] = [];
  /** numbers of versions whose bundles are not kept any more */
  readonly #dropped = new Set<number>();
  /** numbers of versions whose bundles could not be read */
  readonly #lost = new Set<number>();
  #highest = 0;
  readonly #held: HeldState;

  /** @param held what administrators have fixed for the tenant */
  constructor(held: HeldState) {
    this.#held = held;
  }

  /** Oldest first. */
  get records(): readonly VersionRecord[] {
    return this.#records;
  }

  /** A version that was never written to disk may have served or be pinned: its number is not given to other code. */
  get nextNumber(): number {
    const pinned = [...this.#held.sets.values()].map(({ pin }) => pin?.number ?? 0);
    return Math.max(this.#highest, ...pinned, ...[...this.served.values()].flat()) + 1;
  }

  /** The bundle of a version can't be read. */
  noteLost({ number }: VersionRecord): void {
    this.#lost.add(number);
  }

  /** Whether the bundle of a version could not be read when it was last needed. */
  isLost({ number }: VersionRecord): boolean {
    return this.#lost.has(number);
  }

  /** Whether the bundle of a version has been dropped. */
  isDropped(number: number): boolean {
    return this.#dropped.has(number);
  }

  /** Null: there is no version of this number. */
  numbered(number: number | undefined): VersionRecord | null {
    return this.#records.find((record) => record.number === number) ?? null;
  }

  /** The version of a set that has served last; null: none is known. */
  latest(id: string): VersionRecord | null {
    return this.numbered(this.served.get(id)?.at(-1));
  }

  /** The pin of a set, with the number that its version has here; null: none. */
  pinOf(id: string): Pin | null {
    const { pin } = this.#held.of(id);
    const pinned = pin === null ? null : this.#version(pin);
    return pin === null || pinned === null || pinned.number === pin.number
      ? pin
      : { ...pin, number: pinned.number };
  }

  /** The pinned version of a set; null: none is pinned, or it is not known any more. */
  pinned(id: string): VersionRecord | null {
    const { pin } = this.#held.of(id);
    return pin === null ? null : this.#version(pin);
  }

  /** The user who has gone back from a version by ROLLBACK; '': nobody has. */
  leftBy({ key, hash }: VersionRecord): string {
    return this.#held.of(key.id).left.find((each) => each.hash === hash)?.user ?? '';
  }

  /** Another process that shares the folder may have given the number to other code. Null: it is not known. */
  #version({ number, hash }: Pick<Pin, 'number' | 'hash'>): VersionRecord | null {
    const numbered = this.numbered(number);
    if (hash === undefined || numbered?.hash === hash) return numbered;
    return this.#records.findLast((record) => record.hash === hash) ?? null;
  }

  /** The versions of a set that have served, in that order. */
  servedOf(id: string): ServedVersion[] {
    return (this.served.get(id) ?? []).map((number) => ({ number, hash: this.numbered(number)?.hash ?? '' }));
  }

  /** What was written before. Versions that are not known any more are left out. */
  restoreServed(id: string, served: readonly ServedVersion[]): void {
    const numbers = served.map((each) => this.#version(each)?.number);
    if (!this.served.has(id))
      this.served.set(
        id,
        numbers.filter((number) => number !== undefined),
      );
  }

  /** The version that served before another one, is still kept, and was not left by ROLLBACK; null: none. */
  before(id: string, number: number): VersionRecord | null {
    const served = this.served.get(id) ?? [];
    const at = served.lastIndexOf(number);
    const earlier = served.slice(0, at === -1 ? served.length : at);
    const isKept = (other: number): boolean => {
      const record = this.numbered(other);
      return other !== number && record !== null && !this.#dropped.has(other) && this.leftBy(record) === '';
    };
    return this.numbered(earlier.findLast(isKept));
  }

  /** @returns whether that is new */
  noteServing(id: string, number: number): boolean {
    const served = this.served.get(id) ?? [];
    const pin = this.pinOf(id);
    // ROLLBACK goes back in this list, and is no part of it
    const isRolledBack = pin?.number === number && !pin.untilFiles;
    if (served.at(-1) === number || isRolledBack) return false;
    this.served.set(id, [...served, number].slice(-STORE.served));
    return true;
  }

  /** Puts a record in the place of the one with the same number. */
  replace(record: VersionRecord): void {
    this.#lost.delete(record.number);
    this.#records = this.#records.map((each) => (each.number === record.number ? record : each));
  }

  /** The kept version of a set with this code; null: none. */
  withHash(id: string, hash: string): VersionRecord | null {
    const isSame = ({ key, hash: other, number }: VersionRecord): boolean =>
      key.id === id && other === hash && !this.#dropped.has(number);
    return this.#records.findLast(isSame) ?? null;
  }

  add(record: VersionRecord, isDropped = false): void {
    if (isDropped) this.#dropped.add(record.number);
    if (this.numbered(record.number) !== null) return;
    this.#highest = Math.max(this.#highest, record.number);
    this.#records = [...this.#records, record].toSorted((a, b) => a.number - b.number);
  }

  /** A record with the next number, for a version that is not on disk. */
  newRecord({ key, bundle, facts, timeMs }: DraftVersion): VersionRecord {
    const { owner, id } = key;
    const { hash, files } = bundle;
    return { key: { owner, id }, number: this.nextNumber, hash, timeMs, ...shownFiles(files), ...facts };
  }

  /** The bundle of a version is not kept any more. */
  drop({ number }: VersionRecord): void {
    this.#dropped.add(number);
  }

  /**
   * Versions of a set whose bundles are to be dropped: the oldest, but none that serves or is pinned.
   * @param alsoNeeded numbers of others that stay
   */
  surplus(id: string, alsoNeeded: readonly number[] = []): VersionRecord[] {
    const needed = [this.served.get(id)?.at(-1), this.pinOf(id)?.number, ...alsoNeeded];
    const kept = this.#records.filter(({ key, number }) => key.id === id && !this.#dropped.has(number));
    return kept
      .slice(0, Math.max(0, kept.length - STORE.versions))
      .filter(({ number }) => !needed.includes(number));
  }

  /** Forgets the oldest of too many versions that have no bundle any more. @returns them */
  takeOldest(): VersionRecord[] {
    const oldest = this.#records
      .filter(({ number }) => this.#dropped.has(number))
      .slice(0, Math.max(0, this.#records.length - STORE.records));
    this.#records = this.#records.filter((record) => !oldest.includes(record));
    for (const { number } of oldest) this.#dropped.delete(number);
    return oldest;
  }
}
