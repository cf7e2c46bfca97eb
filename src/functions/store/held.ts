/**
 * What administrators have fixed for one tenant: its PAUSE, and for each set of functions the pin, the versions that ROLLBACK
 * has gone back from, where the candidate comes from, and the canary. Each part is written by itself, so that processes that
 * share the state folder keep each other's.
 */
import type { CanaryCounts } from '../rollout/canary.ts';
import type { Pause, Pin } from './version-record.ts';

/** A version that ROLLBACK has gone back from. */
export interface LeftVersion {
  readonly number: number;
  readonly hash: string;
  /** the name of the user who has gone back */
  readonly user: string;
}

/** SHADOW FUNCTIONS … FROM or OFF. */
export interface ShadowSource {
  /** absolute; null: OFF */
  readonly folder: string | null;
}

/** A canary that goes on after a restart. */
export interface HeldCanary extends CanaryCounts {
  /** of the clients, over 0 and under 100 */
  readonly percent: number;
  readonly isPromoted: boolean;
  readonly by: Pause['by'];
  readonly user: string;
  /** hashes of the two versions that the counts are about */
  readonly servingHash: string;
  readonly candidateHash: string;
}

/** What is fixed for one set of functions. */
export interface HeldSet {
  readonly pin: Pin | null;
  /** in the order in which they were left */
  readonly left: readonly LeftVersion[];
  /** null: `.next` files count */
  readonly source: ShadowSource | null;
  readonly canary: HeldCanary | null;
}

export interface Held {
  readonly pause: Pause | null;
  readonly sets: ReadonlyMap<string, HeldSet>;
}

export const NOTHING_HELD: Held = { pause: null, sets: new Map() };
const EMPTY_SET: HeldSet = { pin: null, left: [], source: null, canary: null };

/** One part that has another value now. */
export type HeldChange =
  | { readonly part: 'pause'; readonly value: Pause | null }
  | { readonly part: keyof HeldSet; readonly id: string; readonly value: HeldSet[keyof HeldSet] };

/** @returns another state, in which the parts have their new values */
export function changed({ pause, sets }: Held, changes: readonly HeldChange[]): Held {
  let nextPause = pause;
  const nextSets = new Map(sets);
  for (const change of changes) {
    if (change.part === 'pause') nextPause = change.value;
    else nextSets.set(change.id, { ...(nextSets.get(change.id) ?? EMPTY_SET), [change.part]: change.value });
  }
  for (const [id, set] of nextSets) if (isEmpty(set)) nextSets.delete(id);
  return { pause: nextPause, sets: nextSets };
}

function isEmpty({ pin, left, source, canary }: HeldSet): boolean {
  return pin === null && left.length === 0 && source === null && canary === null;
}

/** The state of one tenant as it applies here, and what of it has not been written yet. */
export class HeldState {
  #held = NOTHING_HELD;
  /** by part, and by set */
  readonly #unwritten = new Map<string, HeldChange>();

  get pause(): Pause | null {
    return this.#held.pause;
  }

  get sets(): ReadonlyMap<string, HeldSet> {
    return this.#held.sets;
  }

  of(id: string): HeldSet {
    return this.#held.sets.get(id) ?? EMPTY_SET;
  }

  /** What was written before. */
  restore(held: Held): void {
    this.#held = held;
  }

  pauseAs(pause: Pause | null): void {
    this.#change('pause', { part: 'pause', value: pause });
  }

  set<Part extends keyof HeldSet>(id: string, part: Part, value: HeldSet[Part]): void {
    this.#change(`${part} ${id}`, { part, id, value });
  }

  /** What has not been written yet. */
  get unwritten(): HeldChange[] {
    return [...this.#unwritten.values()];
  }

  /** These changes have been written. They may have been overtaken since. */
  written(changes: readonly HeldChange[]): void {
    const done = new Set(changes);
    for (const [key, change] of this.#unwritten) if (done.has(change)) this.#unwritten.delete(key);
  }

  #change(key: string, change: HeldChange): void {
    this.#held = changed(this.#held, [change]);
    this.#unwritten.set(key, change);
  }
}
