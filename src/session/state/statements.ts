/**
 * The prepared statements of one client: tracked named ones, untracked named ones, and the unnamed one; which of them are in
 * doubt, and which were dropped with all others.
 */
import type { Outstanding } from './outstanding.ts';
import { Discards } from './discards.ts';
import { Freeing } from './freeing.ts';
import { NamedStatements, type NamedStatement } from './named.ts';
import type { StatementRegistry } from './shared.ts';
import { Unanswered } from './unanswered.ts';
import { UnnamedStatement } from './unnamed.ts';
import { UntrackedStatements } from './untracked.ts';

export class Statements {
  readonly discards: Discards;
  readonly unanswered: Unanswered;
  readonly named: NamedStatements;
  readonly untracked: UntrackedStatements;
  readonly unnamed = new UnnamedStatement();
  readonly freeing = new Freeing();
  #isSessionTracked = false;

  /**
   * @param registry of the statements that servers have
   * @param originals of the clients' own texts
   * @param ledger of the client's outstanding answers
   */
  constructor(registry: StatementRegistry, originals: StatementRegistry, ledger: Outstanding) {
    this.discards = new Discards(ledger);
    this.unanswered = new Unanswered(ledger);
    this.named = new NamedStatements(registry, originals, this.discards);
    this.untracked = new UntrackedStatements(originals, this.discards);
  }

  /**
   * A Bind of the unnamed statement changes nothing here, and the server has the statement, with the columns that the client
   * was told: it can be passed on.
   */
  get isUnnamedPlain(): boolean {
    const { unnamed } = this;
    const { columns } = unnamed;
    const isAsTold = columns === null || columns.differ === false;
    return unnamed.isHere && isAsTold && unnamed.frees === null && !this.freeing.isOpen;
  }

  /**
   * Whether named statements are tracked in session mode: from the first time that user functions apply, or when statements
   * are already tracked, until all are dropped.
   */
  isSessionTracked(hasFunctions: boolean): boolean {
    if (this.#isSessionTracked) return true;
    this.#isSessionTracked = this.named.isUsed || hasFunctions;
    if (!this.#isSessionTracked) this.untracked.expectOthers();
    return this.#isSessionTracked;
  }

  /** From now on the name means this statement. */
  set(name: string, statement: NamedStatement): void {
    this.named.set(name, statement);
    this.untracked.forget(name);
  }

  /** From now on the name means no statement. @returns the tracked statement that it meant before */
  remove(name: string): NamedStatement | undefined {
    this.untracked.forget(name);
    return this.named.remove(name);
  }

  /** All statements were dropped. @param position of the first message sent after DISCARD ALL or DEALLOCATE ALL */
  dropBefore(position: number): void {
    this.discards.ran(position);
    this.#isSessionTracked = false;
    this.named.dropBefore(position);
    this.untracked.dropBefore(position);
  }

  /** The client has gone. */
  releaseAll(): void {
    this.named.releaseAll();
    this.untracked.releaseAll();
  }
}
