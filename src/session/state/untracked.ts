/**
 * Named statements that are not tracked: the server has them under the client's own names. They are remembered in case user
 * functions come to apply.
 */
import type { Discards } from './discards.ts';
import type { Generations } from './generations.ts';
import type { SharedStatement, StatementRegistry } from './shared.ts';

export interface UntrackedStatement extends Generations {
  /**
   * the client's Parse, from which the statement can be tracked later; null: the statement can't be tracked, or is too long
   */
  readonly original: SharedStatement | null;
  /** position of its Parse in the ledger */
  readonly sentAt: number;
  /** number of the loan in which it was prepared: on another loan the name may mean another client's statement */
  readonly madeIn: number;
}

export class UntrackedStatements {
  readonly #originals: StatementRegistry;
  readonly #discards: Discards;
  /** made on first use */
  #all: Map<string, UntrackedStatement> | null = null;
  #mayHaveOthers = false;

  constructor(originals: StatementRegistry, discards: Discards) {
    this.#originals = originals;
    this.#discards = discards;
  }

  get(name: string): UntrackedStatement | undefined {
    return this.#all?.get(name);
  }

  /** Whether the session may have a statement of that name that was never tracked. */
  mayHave(name: string): boolean {
    return this.#mayHaveOthers || this.#all?.has(name) === true;
  }

  /** Statements may have been prepared without being noted here. */
  expectOthers(): void {
    this.#mayHaveOthers = true;
  }

  /** A Parse for this name was sent. @returns the effect of its outcome */
  set(name: string, statement: UntrackedStatement): { undo(): void; done(): void } {
    const all = (this.#all ??= new Map());
    const before = all.get(name);
    all.set(name, statement);
    return {
      // the name was taken: it means the same as before
      undo: () => {
        if (this.#all?.get(name) !== statement) return;
        this.#release(statement);
        if (before !== undefined && !this.#discards.isDropped(before.sentAt)) {
          this.#all.set(name, before);
          return;
        }
        this.#all.delete(name);
        if (before !== undefined) this.#release(before);
      },
      done: () => {
        if (before !== undefined) this.#release(before);
      },
    };
  }

  /** From now on the name means another statement, or none. */
  forget(name: string): void {
    const found = this.#all?.get(name);
    if (found === undefined) return;
    this.#all?.delete(name);
    this.#release(found);
  }

  /** Hands over the statement of a name, to be tracked from now on; the caller then owns its `original`. */
  handOver(name: string): UntrackedStatement | undefined {
    const found = this.#all?.get(name);
    if (found === undefined || found.original === null) return undefined;
    this.#all?.delete(name);
    return found;
  }

  /** All statements whose Parse has a lower position in the ledger were dropped. */
  dropBefore(position: number): void {
    for (const [name, each] of this.#all ?? []) if (each.sentAt < position) this.forget(name);
    if (this.#all?.size === 0) this.#all = null;
    this.#mayHaveOthers = this.#all !== null;
  }

  /** The client has gone. */
  releaseAll(): void {
    for (const each of this.#all?.values() ?? []) this.#release(each);
    this.#all = null;
  }

  #release({ original }: UntrackedStatement): void {
    if (original !== null) this.#originals.release(original);
  }
}
