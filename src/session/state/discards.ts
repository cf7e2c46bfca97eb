/** DISCARD ALL and DEALLOCATE ALL, which drop all prepared statements of a session. */
import type { Outstanding } from './outstanding.ts';

export class Discards {
  readonly #ledger: Outstanding;
  #isExpected = false;
  #before = 0;

  constructor(ledger: Outstanding) {
    this.#ledger = ledger;
  }

  /** The last one dropped the statements whose Parse has a lower position in the ledger. */
  get before(): number {
    return this.#before;
  }

  /** @param sentAt position of a statement's Parse in the ledger */
  isDropped(sentAt: number): boolean {
    return sentAt < this.#before;
  }

  /** A query that may drop all statements was sent. */
  expect(): void {
    this.#isExpected = true;
  }

  /** Whether one may still run: only when everything is answered is it known which statements exist. */
  isPending(): boolean {
    if (!this.#isExpected) return false;
    const { empty, inCopy } = this.#ledger;
    if (!empty && !inCopy) return true;
    this.#isExpected = false;
    return false;
  }

  /** One has run. @param position of the first message that was sent after it */
  ran(position: number): void {
    this.#before = position;
  }
}
