/**
 * The bytes that a client of a watched cluster has sent since its transaction began, for as long as no answer to them has
 * reached the client: they are needed to send a statement again, or to say what became of it. After the first answer only
 * the beginning is kept.
 */
import { isRepeatable } from '../../sql/kind.ts';
import { appended } from '../../wire/carry.ts';
import { sizeOf } from '../../wire/frame.ts';
import { HEADER_BYTES } from '../../wire/protocol.ts';
import { cycleEnd } from './resendable.ts';

/** The most bytes that are kept of one client. */
const MAX_BYTES = 1 << 20;
/** Pieces that are kept as they came; more are put together. */
const MAX_PIECES = 64;

export class Transcript {
  /** the first piece; null: nothing is kept */
  #first: Buffer | null = null;
  /** the pieces after it; null: none */
  #more: Buffer[] | null = null;
  /** messages at the beginning that the proxy itself has answered */
  #answeredAhead = 0;
  /** ReadyForQuery messages that have come since the beginning */
  #cycles = 0;
  /** the server was sent another text than the one that is kept (rewrite_query) */
  #isRewritten = false;
  /** the pieces are all of it, and no server has answered */
  #isUnanswered = false;
  /** the pieces are all of it, whether answered or not */
  #isComplete = false;
  /** a transaction has ended: what is sent to the client still answers it, and not the bytes that are kept */
  #isBetween = false;
  /** statements that have been answered since the last ReadyForQuery, in full or in part */
  #answered = 0;
  /** since then the end of a transaction has been answered, or a warning, which may be about a commit */
  #mayHaveEnded = false;

  /** Everything that the client has sent is kept, and no server has answered any of it. */
  get isUnanswered(): boolean {
    return this.#isUnanswered;
  }

  /** Everything that the client has sent is kept, whether a server has answered or not. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** A server was sent another text than the one that is kept. */
  get isRewritten(): boolean {
    return this.#isRewritten;
  }

  /** Statements that a server has answered since the last ReadyForQuery, in full or in part. */
  get answered(): number {
    return this.#answered;
  }

  /** A server has answered the end of a transaction since the last ReadyForQuery, or may have. */
  get mayHaveEnded(): boolean {
    return this.#mayHaveEnded;
  }

  /** The bytes that are kept, without the messages that the proxy itself has answered; null: nothing is kept. */
  bytes(): Buffer | null {
    if (this.#first === null) return null;
    let bytes = this.#more === null ? this.#first : Buffer.concat([this.#first, ...this.#more]);
    for (let i = 0; i < this.#answeredAhead && bytes.length >= HEADER_BYTES; i++)
      bytes = bytes.subarray(sizeOf(bytes));
    return bytes;
  }

  // The client's bytes.

  /**
   * Bytes have come from the client.
   * @param isStart nothing is open, outstanding or held: a transaction begins with them
   */
  add(chunk: Buffer, isStart: boolean): void {
    if (isStart) this.restart(chunk);
    else if (this.#isUnanswered && this.#first !== null) this.#append(this.#first, chunk);
    else this.#isComplete = false;
  }

  /** These bytes are all that the client has sent and has no answer to. */
  restart(bytes: Buffer): void {
    this.#first = bytes;
    this.#more = null;
    this.#answeredAhead = 0;
    this.#cycles = 0;
    this.#isRewritten = false;
    this.#isUnanswered = true;
    this.#isComplete = true;
    this.#isBetween = false;
  }

  /** Keeps nothing, because it is no longer known which bytes were answered. */
  forget(): void {
    this.#first = null;
    this.#more = null;
    this.#isUnanswered = false;
    this.#isComplete = false;
    this.#isBetween = false;
  }

  /** The server is sent another text than the one that is kept: that text decides whether it can be sent again. */
  noteRewritten(text: string): void {
    this.#isRewritten = true;
    if (this.#first !== null && !isRepeatable(text)) this.forget();
  }

  #append(first: Buffer, chunk: Buffer): void {
    const more = (this.#more ??= []);
    more.push(chunk);
    let size = first.length;
    for (const piece of more) size += piece.length;
    if (size > MAX_BYTES) {
      this.#isUnanswered = false;
      this.#isComplete = false;
    } else if (more.length > MAX_PIECES) this.#first = appended(first, more, MAX_BYTES);
    else return;
    this.#more = null;
  }

  // The answers.

  /** Bytes that answer the client leave for it. */
  noteAnswer(): void {
    if (this.#isBetween) return;
    this.#isUnanswered = false;
    if (this.#more === null) return;
    this.#more = null;
    this.#isComplete = false;
  }

  /** The proxy itself has answered the first message that has no answer: those after it can still be sent again. */
  noteAnsweredAhead(): void {
    if (this.#isUnanswered) this.#answeredAhead++;
    else this.noteAnswer();
  }

  /** A server has answered a statement, in full or in part. */
  noteStatementAnswered(): void {
    this.#answered++;
  }

  /** A server has answered the end of a transaction, or something that may speak of one. */
  noteTransactionEnd(): void {
    this.#mayHaveEnded = true;
  }

  /** ReadyForQuery has arrived. */
  endQuery(): void {
    this.#answered = 0;
    this.#mayHaveEnded = false;
  }

  /** It has arrived, and the transaction is still open. */
  endCycle(): void {
    this.#cycles++;
  }

  /**
   * It has arrived, and the transaction has ended. Only the bytes that the client has sent after it are kept. Until
   * `beginAnswer`, what is sent to the client still answers the transaction.
   * @param hasMore the client has sent more
   */
  endTransaction(hasMore: boolean): void {
    if (this.#first === null) return;
    if (hasMore && this.#keepRest()) this.#isBetween = true;
    else this.forget();
  }

  /** The answers that are sent from now on are about the bytes that are kept. */
  beginAnswer(): void {
    this.#isBetween = false;
  }

  /** The server is gone, and its answers no longer count. */
  loseServer(): void {
    this.#answered = 0;
    this.#mayHaveEnded = false;
    this.#isBetween = false;
  }

  /** Drops the bytes that have been answered. False: none are left, or their end is not known. */
  #keepRest(): boolean {
    if (!this.#isComplete || this.#first === null) return false;
    const pieces = this.#more ?? [];
    let rest = this.#first;
    for (let cycles = this.#cycles + 1; cycles > 0; cycles--) {
      let end = cycleEnd(rest);
      while (end < 0) {
        const next = pieces.shift();
        if (next === undefined) return false;
        rest = Buffer.concat([rest, next]);
        end = cycleEnd(rest);
      }
      rest = rest.subarray(end);
    }
    const first = rest.length > 0 ? rest : pieces.shift();
    if (first === undefined) return false;
    const isRewritten = this.#isRewritten;
    this.restart(first);
    this.#isRewritten = isRewritten;
    this.#more = pieces.length > 0 ? pieces : null;
    return true;
  }
}
