/**
 * The bytes that a client of a watched cluster has sent since its transaction began, for as long as no answer to them has
 * reached the client. They are needed to resend a statement, or to report its outcome. After the first answer only the
 * beginning is kept.
 */
import { isRepeatable } from '../../sql/kind.ts';
import { appended } from '../../wire/carry.ts';
import { sizeOf } from '../../wire/frame.ts';
import { HEADER_BYTES } from '../../wire/protocol.ts';
import { cycleEnd } from './resendable.ts';

/** The most bytes that are kept for one client. */
const MAX_BYTES = 1 << 20;
/** The number of pieces that are kept as they arrived; more are joined. */
const MAX_PIECES = 64;

export class Transcript {
  /** the first piece; null: nothing is kept */
  #first: Buffer | null = null;
  /** the later pieces; null: none */
  #more: Buffer[] | null = null;
  /** initial messages that the proxy itself has answered */
  #answeredAhead = 0;
  /** ReadyForQuery messages that have arrived since the beginning */
  #cycles = 0;
  /** the server got another text than the kept one (rewrite_query) */
  #isRewritten = false;
  /** the pieces are all of it, and no server has answered */
  #isUnanswered = false;
  /** the pieces are all of it, whether answered or not */
  #isComplete = false;
  /** a transaction has ended: bytes sent to the client still answer it, and not the kept bytes */
  #isBetween = false;
  /** statements answered since the last ReadyForQuery, in full or in part */
  #answered = 0;
  /** since the last ReadyForQuery, the end of a transaction was answered, or a warning, which may be about a commit */
  #mayHaveEnded = false;

  /** Everything that the client has sent is kept, and no server has answered any of it. */
  get isUnanswered(): boolean {
    return this.#isUnanswered;
  }

  /** Everything that the client has sent is kept, whether a server has answered or not. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** A server got another text than the kept one. */
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

  /** The kept bytes, without the messages that the proxy itself has answered; null: nothing is kept. */
  bytes(): Buffer | null {
    if (this.#first === null) return null;
    let bytes = this.#more === null ? this.#first : Buffer.concat([this.#first, ...this.#more]);
    for (let i = 0; i < this.#answeredAhead && bytes.length >= HEADER_BYTES; i++)
      bytes = bytes.subarray(sizeOf(bytes));
    return bytes;
  }

  // The client's bytes.

  /**
   * Bytes have arrived from the client.
   * @param isStart nothing is open, outstanding or held: they begin a transaction
   */
  add(chunk: Buffer, isStart: boolean): void {
    if (isStart) this.restart(chunk);
    else if (this.#isUnanswered && this.#first !== null) this.#append(this.#first, chunk);
    else this.#isComplete = false;
  }

  /** These bytes are everything that the client has sent and has no answer to. */
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

  /** The server gets another text than the kept one: that text decides whether it can be resent. */
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

  /** Bytes that answer the client are being sent to it. */
  noteAnswer(): void {
    if (this.#isBetween) return;
    this.#isUnanswered = false;
    if (this.#more === null) return;
    this.#more = null;
    this.#isComplete = false;
  }

  /** The proxy itself has answered the first unanswered message: the later ones can still be resent. */
  noteAnsweredAhead(): void {
    if (this.#isUnanswered) this.#answeredAhead++;
    else this.noteAnswer();
  }

  /** A server has answered a statement, in full or in part. */
  noteStatementAnswered(): void {
    this.#answered++;
  }

  /** A server has answered the end of a transaction, or sent a message that may be about one. */
  noteTransactionEnd(): void {
    this.#mayHaveEnded = true;
  }

  /** ReadyForQuery has arrived. */
  endQuery(): void {
    this.#answered = 0;
    this.#mayHaveEnded = false;
  }

  /** ReadyForQuery has arrived, and the transaction is still open. */
  endCycle(): void {
    this.#cycles++;
  }

  /**
   * ReadyForQuery has arrived, and the transaction has ended. Only the bytes that the client sent after it are kept. Until
   * `beginAnswer`, bytes sent to the client still answer the ended transaction.
   * @param hasMore the client has sent more
   */
  endTransaction(hasMore: boolean): void {
    if (this.#first === null) return;
    if (hasMore && this.#keepRest()) this.#isBetween = true;
    else this.forget();
  }

  /** From now on, bytes sent to the client answer the kept bytes. */
  beginAnswer(): void {
    this.#isBetween = false;
  }

  /** The server is gone, and its answers no longer count. */
  loseServer(): void {
    this.#answered = 0;
    this.#mayHaveEnded = false;
    this.#isBetween = false;
  }

  /** Drops the answered bytes. False: none are left, or the end of the answered ones is unknown. */
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
