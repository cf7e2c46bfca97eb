/** Positions in the ledger, in ascending order. They are added at the end and taken from the front, in constant time. */

/** Taken positions are removed from the array when there are at least this many, and more of them than of the others. */
const TRIM_AT = 1024;

/** The initial array of all, always empty: a client that needs no positions takes no memory for them. */
const NONE: number[] = [];

export class Positions {
  #all = NONE;
  #head = 0;

  /** The lowest one; Infinity: none. */
  get first(): number {
    return this.#all[this.#head] ?? Infinity;
  }

  add(position: number): void {
    if (this.#all === NONE) this.#all = [];
    this.#all.push(position);
  }

  /** Removes the lowest one. @returns the number of steps */
  take(): number {
    this.#head++;
    if (this.#head === this.#all.length) return this.clear();
    if (this.#head < TRIM_AT || this.#head * 2 < this.#all.length) return 1;
    this.#all = this.#all.slice(this.#head);
    this.#head = 0;
    return 1 + this.#all.length;
  }

  clear(): number {
    // a popped position leaves its memory to the next
    if (this.#all.length === 1) this.#all.pop();
    else this.#all.length = 0;
    this.#head = 0;
    return 1;
  }
}
