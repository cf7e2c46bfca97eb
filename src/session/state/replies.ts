/** The server's messages on their way to a client: the one that is arriving, and the bytes that have not left yet. */
import { Carry } from '../../wire/carry.ts';

export class Replies {
  /** the beginning of a message that must be looked at whole, or of a header; made on first use */
  #carry: Carry | null = null;
  #bodyLeft = 0;
  #isBodyForwarded = true;
  #isUnsent = false;
  #unlinksWhenFlushed = false;
  #unlinksLate = false;

  /** Bytes of the current message's body that are still to come. */
  get bodyLeft(): number {
    return this.#bodyLeft;
  }

  /** The body that is arriving, or that arrived last, is for the client. */
  get isBodyForwarded(): boolean {
    return this.#isBodyForwarded;
  }

  /** The client has the beginning of a message, and its rest is still to come: nothing else can be sent. */
  get isCut(): boolean {
    return this.#bodyLeft > 0 && this.#isBodyForwarded;
  }

  /** No message has begun to arrive. */
  get isEmpty(): boolean {
    return this.#bodyLeft === 0 && (this.#carry === null || this.#carry.length === 0);
  }

  /** @returns the chunk, after the bytes that were kept; null: they are still not enough */
  join(chunk: Buffer): Buffer | null {
    return this.#carry === null || this.#carry.length === 0 ? chunk : this.#carry.join(chunk);
  }

  /** Keeps the beginning of a message. @param size of it, or of its header, in bytes */
  keep(bytes: Buffer, size: number): void {
    this.#carry ??= new Carry();
    this.#carry.keep(bytes, size);
  }

  /** A message was dealt with as far as it has come. @param left bytes of its body that are still to come */
  beginBody(left: number, isForwarded: boolean): void {
    this.#bodyLeft = left;
    this.#isBodyForwarded = isForwarded;
  }

  /** @returns how many of the bytes that have arrived belong to the body of the message before */
  takeBody(available: number): number {
    const part = Math.min(this.#bodyLeft, available);
    this.#bodyLeft -= part;
    return part;
  }

  /** Bytes for the client are still in this process: the server is not read meanwhile. */
  get isUnsent(): boolean {
    return this.#isUnsent;
  }

  /** @returns whether `flushed` is to be called once the bytes have left; false: it will be already */
  noteUnsent(): boolean {
    if (this.#isUnsent) return false;
    this.#isUnsent = true;
    return true;
  }

  /** All bytes have left. @returns whether the server is to go back now (`unlinkWhenFlushed`) */
  flushed(): boolean {
    this.#isUnsent = false;
    const isDue = this.#unlinksWhenFlushed;
    this.#unlinksWhenFlushed = false;
    return isDue;
  }

  /** The transaction is over, but its answer has not left yet. */
  unlinkWhenFlushed(): void {
    this.#unlinksWhenFlushed = true;
  }

  /** The server goes back, or elsewhere, without waiting for the bytes to leave. */
  unlinkNow(): void {
    this.#unlinksWhenFlushed = false;
  }

  /** The transaction is over, but the server has begun another message, which it must end first. */
  get unlinksLate(): boolean {
    return this.#unlinksLate;
  }

  /** A transaction is over. @returns whether the server can go back; if not, it goes back after the message that has begun */
  endTransaction(): boolean {
    this.#unlinksLate = !this.isEmpty;
    return !this.#unlinksLate;
  }

  /** The server is gone. The beginning of a message that the client has stays where it is. */
  loseServer(): void {
    this.#unlinksWhenFlushed = false;
    this.#unlinksLate = false;
    this.#carry?.clear();
  }

  /** The rest of the message that was arriving does not come any more. */
  endBody(): void {
    this.#bodyLeft = 0;
  }
}
