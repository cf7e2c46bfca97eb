/** The server's messages on their way to a client: the one that is arriving, and the unsent bytes. */
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

  /** The body that is arriving, or arrived last, is for the client. */
  get isBodyForwarded(): boolean {
    return this.#isBodyForwarded;
  }

  /** The client has the beginning of a message, and the rest is still to come: nothing else can be sent. */
  get isCut(): boolean {
    return this.#bodyLeft > 0 && this.#isBodyForwarded;
  }

  /** No message has begun to arrive. */
  get isEmpty(): boolean {
    return this.#bodyLeft === 0 && (this.#carry === null || this.#carry.length === 0);
  }

  /** @returns the chunk, appended to the kept bytes; null: they are still not enough */
  join(chunk: Buffer): Buffer | null {
    return this.#carry === null || this.#carry.length === 0 ? chunk : this.#carry.join(chunk);
  }

  /** Keeps the beginning of a message. @param size of the message, or of its header, in bytes */
  keep(bytes: Buffer, size: number): void {
    this.#carry ??= new Carry();
    this.#carry.keep(bytes, size);
  }

  /** The part of a message that has arrived was dealt with. @param left bytes of its body that are still to come */
  beginBody(left: number, isForwarded: boolean): void {
    this.#bodyLeft = left;
    this.#isBodyForwarded = isForwarded;
  }

  /** @returns how many of the available bytes belong to the body of the earlier message */
  takeBody(available: number): number {
    const part = Math.min(this.#bodyLeft, available);
    this.#bodyLeft -= part;
    return part;
  }

  /** Bytes for the client are still in this process: the server is not read until they have left. */
  get isUnsent(): boolean {
    return this.#isUnsent;
  }

  /** @returns whether to call `flushed` once the bytes have left; false: it will be called anyway */
  noteUnsent(): boolean {
    if (this.#isUnsent) return false;
    this.#isUnsent = true;
    return true;
  }

  /** All bytes have left. @returns whether the server goes back now (`unlinkWhenFlushed`) */
  flushed(): boolean {
    this.#isUnsent = false;
    const isDue = this.#unlinksWhenFlushed;
    this.#unlinksWhenFlushed = false;
    return isDue;
  }

  /** The transaction has ended, but its answer has not left yet. */
  unlinkWhenFlushed(): void {
    this.#unlinksWhenFlushed = true;
  }

  /** The server goes back, or the client moves, without waiting for the bytes to leave. */
  unlinkNow(): void {
    this.#unlinksWhenFlushed = false;
  }

  /** The transaction has ended, but the server has begun another message, which it must finish first. */
  get unlinksLate(): boolean {
    return this.#unlinksLate;
  }

  /**
   * A transaction has ended. @returns whether the server can go back; if not, it goes back after the message that it has begun
   */
  endTransaction(): boolean {
    this.#unlinksLate = !this.isEmpty;
    return !this.#unlinksLate;
  }

  /** The server is gone. A message of which the client has only the beginning stays recorded as begun. */
  loseServer(): void {
    this.#unlinksWhenFlushed = false;
    this.#unlinksLate = false;
    this.#carry?.clear();
  }

  /** The rest of the message that was arriving will not arrive. */
  endBody(): void {
    this.#bodyLeft = 0;
  }
}
