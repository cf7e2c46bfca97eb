/** Things in the order of their last use: a list in which a thing moves to the end in constant time. */

/** The place of a thing in the order. */
export interface Place<Thing> {
  readonly thing: Thing;
  older: Place<Thing> | null;
  newer: Place<Thing> | null;
}

export class Recency<Thing> {
  #oldest: Place<Thing> | null = null;
  #newest: Place<Thing> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The thing that has not been used for the longest time; null: there is none. */
  get oldest(): Thing | null {
    return this.#oldest === null ? null : this.#oldest.thing;
  }

  /** Adds a thing, which counts as used now. */
  add(thing: Thing): Place<Thing> {
    const place: Place<Thing> = { thing, older: null, newer: null };
    this.#append(place);
    this.#size++;
    return place;
  }

  /** A thing is used. */
  use(place: Place<Thing>): void {
    if (place === this.#newest) return;
    this.#unlink(place);
    this.#append(place);
  }

  remove(place: Place<Thing>): void {
    this.#unlink(place);
    this.#size--;
  }

  #append(place: Place<Thing>): void {
    place.older = this.#newest;
    place.newer = null;
    if (this.#newest === null) this.#oldest = place;
    else this.#newest.newer = place;
    this.#newest = place;
  }

  #unlink({ older, newer }: Place<Thing>): void {
    if (older === null) this.#oldest = newer;
    else older.newer = newer;
    if (newer === null) this.#newest = older;
    else newer.older = older;
  }
}
