/** Complaints about a tenant's files. The log gets each once, until another one or a success has come between. */
import type { Details } from '../build/places.ts';
import type { Journal } from './journal.ts';

export class Complaints {
  readonly #journal: Journal;
  readonly #servingHash: () => string;
  #last = '';

  /** @param servingHash hash of the version that serves, or that would serve; '': none */
  constructor(journal: Journal, servingHash: () => string) {
    this.#journal = journal;
    this.#servingHash = servingHash;
  }

  /** The next complaint is logged, even if it is the same. */
  forget(): void {
    this.#last = '';
  }

  /** The files can't be loaded. */
  refused(message: string, details: Details): void {
    if (this.#isRepeated(message)) return;
    this.#journal.refused(this.#servingHash(), message, details);
  }

  /** The files are loaded later. @param when for people */
  postponed(message: string, when: string): void {
    if (this.#isRepeated(message)) return;
    this.#journal.postponed(this.#servingHash(), `${message}; ${when}`);
  }

  #isRepeated(message: string): boolean {
    if (message === this.#last) return true;
    this.#last = message;
    return false;
  }
}
