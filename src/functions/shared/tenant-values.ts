/**
 * What this proxy knows of the values that a fleet shares about one tenant, which of them apply here already, and what has been
 * changed here that the store does not know yet.
 *
 * | a value …                              | with the next write                                                 |
 * | -------------------------------------- | ------------------------------------------------------------------- |
 * | changed here while the store answered  | is written: the last writer wins, in the store's order              |
 * | changed here while the store was away  | is written if it is what this proxy knew then; else it is dropped   |
 * | changed elsewhere                      | is to be applied here                                               |
 * | vanished from the store, which is new  | is offered as it was known last, unless somebody else has been first |
 */
import { isDeepStrictEqual } from 'node:util';
import type { SharedEntry, SharedValue } from './store.ts';

/** A value that was changed here. */
export interface Change extends SharedValue {
  /** the user that changed it; '': no user did */
  readonly user: string;
  /** the number of the value that it takes the place of; 0: none was known */
  readonly basedOn: number;
  /** the store could not be reached: somebody else's value that came meanwhile is newer */
  readonly isOffer: boolean;
}

export interface ChangeOptions {
  /** the user that changed it; '': no user did */
  readonly user: string;
  /** as in Change */
  readonly isOffer: boolean;
  /** it is to be applied here, too, when it has been written */
  readonly isToApply?: boolean;
}

/** As plain data, for a file. */
export interface KeptTenant {
  readonly entries: readonly SharedEntry[];
  readonly applied: readonly (readonly [place: string, seq: number])[];
  readonly changes: readonly Change[];
}

export class TenantValues {
  readonly owner: string;
  /** by kind and key */
  readonly #entries = new Map<string, SharedEntry>();
  /** by kind and key: the number of the value that applies here */
  readonly #applied = new Map<string, number>();
  readonly #changes = new Map<string, Change>();
  /** places of changes that do not apply here yet */
  readonly #toApply = new Set<string>();
  /** of another store, or of before the start, until it is known what the store has */
  readonly #former = new Map<string, SharedEntry>();

  constructor(owner: string) {
    this.owner = owner;
  }

  /** What the store has, as far as is known: what it had before, until it has been read. */
  get entries(): SharedEntry[] {
    return [...new Map([...this.#former, ...this.#entries]).values()];
  }

  entry(kind: string, key: string): SharedEntry | null {
    const place = placeOf({ kind, key });
    return this.#entries.get(place) ?? this.#former.get(place) ?? null;
  }

  get changes(): readonly Change[] {
    return [...this.#changes.values()];
  }

  /** Something was changed here that the store does not know. */
  get hasChanges(): boolean {
    return this.#changes.size > 0;
  }

  /** The store has this value. */
  receive(entry: SharedEntry): void {
    const place = placeOf(entry);
    // what was written from here may be announced after something newer is known
    if ((this.#entries.get(place)?.seq ?? 0) >= entry.seq) return;
    this.#entries.set(place, entry);
    const former = this.#former.get(place);
    if (former !== undefined && !isDeepStrictEqual(former, entry)) this.#applied.delete(place);
  }

  /** It is another store: nothing is known of its values yet. */
  reset(): void {
    for (const [place, entry] of this.#entries) this.#former.set(place, entry);
    this.#entries.clear();
    this.#applied.clear();
    for (const [place, change] of this.#changes)
      this.#changes.set(place, { ...change, basedOn: 0, isOffer: true });
  }

  /** All values of the store are known. What another store had, and this one has not, is offered to it. */
  caughtUp(): void {
    for (const [place, { seq: _, ...value }] of this.#former) {
      if (this.#entries.has(place)) continue;
      this.#applied.delete(place);
      const change = this.#changes.get(place) ?? { ...value, user: '', isOffer: true };
      // versions are sent with their code
      if (value.kind !== 'versions') this.#changes.set(place, { ...change, basedOn: 0 });
    }
    this.#former.clear();
  }

  /** A value has another content here from now on. */
  change(
    { kind, key, body }: Omit<SharedValue, 'tenant'>,
    { user, isOffer, isToApply = false }: ChangeOptions,
  ): void {
    const place = placeOf({ kind, key });
    const before = this.#changes.get(place);
    const there = this.#entries.get(place) ?? this.#former.get(place);
    const basedOn = before?.isOffer === true ? before.basedOn : (there?.seq ?? 0);
    const isKnown = there !== undefined && isDeepStrictEqual(there.body, body);
    if (isToApply) this.#toApply.add(place);
    else this.#toApply.delete(place);
    if (isKnown && basedOn === there.seq) {
      this.#changes.delete(place);
      this.#noteApplied(place, there.seq);
    } else this.#changes.set(place, { kind, tenant: this.owner, key, body, user, basedOn, isOffer });
  }

  /** The store could not be reached: what has not been written becomes an offer. */
  away(): void {
    for (const [place, change] of this.#changes) this.#changes.set(place, { ...change, isOffer: true });
  }

  /** A change has been written, under this number. */
  written(change: Change, seq: number): void {
    const { kind, tenant, key, body } = change;
    const place = placeOf(change);
    this.receive({ kind, tenant, key, body, seq });
    // a later change here stays
    if (this.#changes.get(place) !== change) return;
    this.#changes.delete(place);
    if (this.#entries.get(place)?.seq === seq) this.#noteApplied(place, seq);
  }

  #noteApplied(place: string, seq: number): void {
    if (this.#toApply.delete(place)) this.#applied.delete(place);
    else this.#applied.set(place, seq);
  }

  /** Something newer is in the place of an offer. @param present null: it was removed from the store */
  overtaken(change: Change, present: SharedEntry | null): void {
    const place = placeOf(change);
    if (present !== null) this.receive(present);
    if (this.#changes.get(place) === change) this.#changes.delete(place);
    this.#applied.delete(place);
  }

  /** Values of these kinds that do not apply here yet. What was changed here applies here. */
  unapplied(kinds: readonly string[]): SharedEntry[] {
    return kinds.flatMap((kind) =>
      this.entries.filter(
        (entry) =>
          entry.kind === kind &&
          this.#applied.get(placeOf(entry)) !== entry.seq &&
          !this.#changes.has(placeOf(entry)),
      ),
    );
  }

  applied(entry: SharedEntry): void {
    this.#applied.set(placeOf(entry), entry.seq);
  }

  /** A value is to be applied again: what it was applied to is new. */
  applyAgain(kind: string, key: string): void {
    this.#applied.delete(placeOf({ kind, key }));
  }

  keep(): KeptTenant {
    return { entries: this.entries, applied: [...this.#applied], changes: this.changes };
  }

  restore({ entries, applied, changes }: KeptTenant): void {
    for (const entry of entries)
      if (!this.#entries.has(placeOf(entry))) this.#former.set(placeOf(entry), entry);
    for (const [place, seq] of applied) this.#applied.set(place, seq);
    for (const change of changes) this.#changes.set(placeOf(change), { ...change, isOffer: true });
  }
}

function placeOf({ kind, key }: Pick<SharedEntry, 'kind' | 'key'>): string {
  return `${kind} ${key}`;
}
