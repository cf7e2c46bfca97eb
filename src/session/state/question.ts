/**
 * The question to the user functions about the held message, and their answers so far: first from the functions of the
 * database that the client logged in to, then from those of the database that it is in now.
 */
import type { Decision } from '../../functions/functions.ts';
import type { Approval } from './approval.ts';

/** A question under way. The answer counts only while the question is the client's current one. */
export interface PendingQuestion {
  /** generation of the asked functions */
  readonly generation: number;
  /** the functions are those of the database that the client was moved to */
  readonly isTarget: boolean;
  /** the entry of [databases] whose functions are asked */
  readonly entry: string;
  /** when it was asked, by performance.now() */
  readonly since: number;
  /** false: the answer is of no use any more */
  isWaiting: boolean;
}

export class Question {
  #pending: PendingQuestion | null = null;
  #origin: Decision | null = null;
  #originGeneration = 0;
  #target: Decision | null = null;
  #targetGeneration = 0;
  /** the entry of [databases] that `#target` is about */
  #targetEntry = '';
  #isInBytes = false;
  #isCanceled = false;

  /** Nothing has been decided about the held message yet. */
  get isOpen(): boolean {
    return this.#origin === null;
  }

  /** The decision of the functions of the database that the client logged in to; null: not known yet. */
  get origin(): Decision | null {
    return this.#origin;
  }

  /** The functions were shown the bytes of the text as Latin-1, and answer in the same way (rewrite.ts). */
  get isInBytes(): boolean {
    return this.#isInBytes;
  }

  /** The held message gets an error when it is looked at again. */
  get isCanceled(): boolean {
    return this.#isCanceled;
  }

  /** The text will now be shown to functions. */
  showInBytes(isInBytes: boolean): void {
    this.#isInBytes = isInBytes;
  }

  /** Functions are asked: the origin's until they have decided, then the target's. */
  ask(generation: number, entry: string): PendingQuestion {
    const since = performance.now();
    const pending = { generation, isTarget: this.#origin !== null, entry, since, isWaiting: true };
    this.#pending = pending;
    return pending;
  }

  /** An answer has arrived. @returns false: its message is no longer held */
  answer(pending: PendingQuestion): boolean {
    if (this.#pending !== pending) return false;
    this.#endWait();
    return true;
  }

  /** The answer to a question counts. */
  note(pending: PendingQuestion, decision: Decision): void {
    if (!pending.isTarget) this.decideOrigin(decision, pending.generation);
    else if (this.#origin !== null) this.decideTarget(decision, pending.generation, pending.entry);
  }

  /** The functions of the database that the client logged in to have decided. A target's decision is void then. */
  decideOrigin(decision: Decision, generation: number): void {
    this.#origin = decision;
    this.#originGeneration = generation;
    this.decideTarget(null, 0, '');
  }

  /** The functions of the database that the client is in have decided; null: it has no functions of its own. */
  decideTarget(decision: Decision | null, generation: number, entry: string): void {
    this.#target = decision;
    this.#targetGeneration = generation;
    this.#targetEntry = entry;
  }

  /** The decision of the functions of an entry that the client was moved to; null: not known yet. */
  targetFor(entry: string): Decision | null {
    return this.#targetEntry === entry ? this.#target : null;
  }

  /** Uses up the decision. @param query the rewritten text; null: unchanged */
  approve(query: string | null): Approval {
    const approval = {
      query,
      originGeneration: this.#originGeneration,
      targetGeneration: this.#targetGeneration,
      isProvisional: isProvisional(this.#origin) || isProvisional(this.#target),
    };
    this.forget();
    return approval;
  }

  /** The decision is void. An answer that is still outstanding will count. */
  forget(): void {
    this.#origin = null;
    this.#target = null;
  }

  /** The message is no longer held: an outstanding answer will not count. */
  drop(): void {
    // called for each message; usually there is nothing to forget
    if (this.#origin !== null) this.forget();
    if (this.#pending !== null) this.#endWait();
  }

  #endWait(): void {
    if (this.#pending !== null) this.#pending.isWaiting = false;
    this.#pending = null;
  }

  /** A cancel request for the held message has arrived. */
  cancel(): void {
    this.#isCanceled = true;
  }

  /** The cancel request is being answered. */
  takeCancel(): void {
    this.#isCanceled = false;
  }
}

function isProvisional(decision: Decision | null): boolean {
  return decision?.kind === 'go' && decision.isProvisional === true;
}
