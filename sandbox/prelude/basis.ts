/**
 * What the answer of the running call depends on, beside its user, query and flags: parts of ctx, or something that no call
 * brings, such as the clock. An answer of the second kind must not be given again.
 */
export class Basis {
  #parts = 0;
  #isMore = false;

  #isOutside = false;
  #hasPromise = false;

  /** Whether something that no call brings has been read since the isolate was made, while the bundle was loaded or later. */
  get isOutside(): boolean {
    return this.#isOutside;
  }

  /** Whether the call has made a promise. */
  get hasPromise(): boolean {
    return this.#hasPromise;
  }

  /** A call begins. */
  clear(): void {
    this.#hasPromise = false;
    this.#parts = 0;
    this.#isMore = false;
  }

  /** The call reads a part of ctx. @param at its place among the fields of ctx */
  notePart(at: number): void {
    this.#parts |= 1 << at;
  }

  /** The clock, randomness or the like is read. */
  noteOutside(): void {
    this.#isOutside = true;
    this.#isMore = true;
  }

  /** The call makes a promise, whose reactions run after the call. */
  notePromise(): void {
    this.#hasPromise = true;
    this.#isMore = true;
  }

  /** The call reads something that it was not given, leaves something behind, or fails. */
  noteMore(): void {
    this.#isMore = true;
  }

  /** The field of an answer (crossing.ts). */
  get field(): string {
    return this.#isMore ? '' : `${this.#parts}`;
  }
}
