/**
 * Statements whose last Parse or Close is unanswered, with the number of Syncs sent by then. A statement is in doubt if a Sync
 * has followed: the Parse or Close may fail without the next message being skipped too.
 */
import type { Outstanding } from './outstanding.ts';

/** A shared statement, the unnamed statement, or the client's name of a statement. */
type Subject = object | string;

/** A Parse or Close that is unanswered. */
export class Pending {
  readonly #among: Unanswered;
  readonly subject: Subject;
  readonly syncs: number;
  readonly isClose: boolean;

  constructor(among: Unanswered, subject: Subject, syncs: number, isClose: boolean) {
    this.#among = among;
    this.subject = subject;
    this.syncs = syncs;
    this.isClose = isClose;
  }

  /** Its outcome is known. */
  settle(): void {
    this.#among.settled(this);
  }
}

export class Unanswered {
  readonly #ledger: Outstanding;
  /** usually there is one at most, which needs no map */
  #subject: Subject | null = null;
  #pending: Pending | null = null;
  /** the others; made on first use */
  #others: Map<Subject, Pending> | null = null;

  constructor(ledger: Outstanding) {
    this.#ledger = ledger;
  }

  has(subject: Subject): boolean {
    return this.#of(subject) !== null;
  }

  /**
   * Whether it is unknown if the statement will exist when the next message is executed.
   * @param unlessClosed not if a Close is pending: either way the name is free, or about to be replaced
   */
  isInDoubt(subject: Subject, unlessClosed = false): boolean {
    const pending = this.#of(subject);
    if (pending === null || (unlessClosed && pending.isClose)) return false;
    return pending.syncs !== this.#ledger.syncs && !this.#ledger.inCopy;
  }

  /** A Parse or Close was sent. @returns settle it when its outcome is known */
  add(subject: Subject, isClose = false): Pending {
    const pending = new Pending(this, subject, this.#ledger.syncs, isClose);
    const isFree = this.#subject === null && this.#others?.has(subject) !== true;
    if (isFree || this.#subject === subject) {
      this.#subject = subject;
      this.#pending = pending;
    } else (this.#others ??= new Map()).set(subject, pending);
    return pending;
  }

  /** For `Pending` only. A later Parse or Close of the same statement stays. */
  settled(pending: Pending): void {
    if (this.#of(pending.subject) === pending) this.forget(pending.subject);
  }

  /** The outcome no longer matters: the statement is another one now. */
  forget(subject: Subject): void {
    if (this.#subject === subject) {
      this.#subject = null;
      this.#pending = null;
    } else this.#others?.delete(subject);
  }

  #of(subject: Subject): Pending | null {
    return this.#subject === subject ? this.#pending : (this.#others?.get(subject) ?? null);
  }
}
