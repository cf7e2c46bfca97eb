/** Positions in the ledger, in ascending order: they are added at the end and taken from the front, in constant time. */

/** Positions that were taken are removed from the array when there are this many, and more of them than of the others. */
const TRIM_AT = 1024;

/** What all start with, so that a client that needs none takes no memory for them. It stays empty. */
const NONE: number[] = [];

export class Positions {
  #all = NONE;
  #head = 0;

  /** The lowest one; Infinity: there is none. */
  get first(): number {
    return this.#all[this.#head] ?? Infinity;
  }

  add(position: number): void {
    if (this.#all === NONE) this.#all = [];
    this.#all.push(position);
  }

  /** Takes the lowest one away. @returns how many steps that took */
  take(): number {
    this.#head++;
    if (this.#head === this.#all.length) return this.clear();
    if (this.#head < TRIM_AT || this.#head * 2 < this.#all.length) return 1;
    this.#all = this.#all.slice(this.#head);
    this.#head = 0;
    return 1 + this.#all.length;
  }

  clear(): number {
    // one that is popped leaves its memory to the next
    if (this.#all.length === 1) this.#all.pop();
    else this.#all.length = 0;
    this.#head = 0;
    return 1;
  }
}
