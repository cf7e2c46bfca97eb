/** The bytes that a client has sent and the proxy has not dealt with yet, and the message that is still arriving. */
import { appended, Carry } from '../../wire/carry.ts';
import { sizeOf } from '../../wire/frame.ts';

const EMPTY = Buffer.alloc(0);
/** Bytes that a client may send ahead, while its messages are not looked at, before it is no longer read. */
const HELD_BYTES = 64 * 1024;

export class Intake {
  #held: Buffer = EMPTY;
  /** the client is not read, because so much is held */
  #isHeldBack = false;
  /** the beginning of a message that must be looked at whole */
  #collected: Carry | null = null;
  #bodyLeft = 0;
  #isBodyForwarded = false;
  #isSkipping = false;

  /** The bytes whose messages wait: they begin with a header. */
  get held(): Buffer {
    return this.#held;
  }

  /** Bytes that are here: those that are held, and those of a message that is being collected. */
  get size(): number {
    return this.#held.length + (this.#collected?.length ?? 0);
  }

  /** Bytes of the current message's body that are still to come. */
  get bodyLeft(): number {
    return this.#bodyLeft;
  }

  /** The server has the beginning of a message, and its rest is still to come. */
  get isCut(): boolean {
    return this.#bodyLeft > 0 && this.#isBodyForwarded;
  }

  /** Nothing is held, and no message is arriving. */
  get isEmpty(): boolean {
    return this.#held.length === 0 && this.#bodyLeft === 0 && this.#collected === null;
  }

  /** So much is held that the client is no longer read. */
  get isFull(): boolean {
    return this.#held.length > HELD_BYTES;
  }

  /** An error was answered without the server: messages are ignored until a Sync. */
  get isSkipping(): boolean {
    return this.#isSkipping;
  }

  skipToSync(): void {
    this.#isSkipping = true;
  }

  endSkip(): void {
    this.#isSkipping = false;
  }

  /** Keeps bytes that have arrived, after those that are held. */
  hold(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : appended(this.#held, [chunk]);
  }

  /** Keeps bytes that were taken and could not be dealt with, before those that are held. */
  putBack(bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([bytes, this.#held]);
  }

  /** Takes everything that is held. */
  take(): Buffer {
    const held = this.#held;
    this.#held = EMPTY;
    return held;
  }

  /** Takes everything that is held, and the bytes that have just arrived. */
  takeWith(chunk: Buffer): Buffer {
    return this.#held.length === 0 ? chunk : appended(this.take(), [chunk]);
  }

  /** Forgets bytes at the beginning of those that are held. */
  drop(bytes: number): void {
    this.#held = this.#held.subarray(bytes);
  }

  /** Forgets the first message that is held. What is still to come of it is thrown away. */
  dropMessage(): void {
    const size = sizeOf(this.#held);
    const here = Math.min(size, this.#held.length);
    this.#held = this.#held.subarray(here);
    this.beginBody(size - here, false);
  }

  /** The client is to be looked at from these bytes on. The rest of a message that was arriving completes them. */
  restart(bytes: Buffer): void {
    this.#held = bytes;
    this.#bodyLeft = 0;
    this.#collected = null;
  }

  clear(): void {
    this.#held = EMPTY;
    this.#collected = null;
  }

  /** The client is no longer read. */
  holdBack(): void {
    this.#isHeldBack = true;
  }

  /** Whether a client that was held back can be read again. It counts as read from now on. */
  readAgain(): boolean {
    if (!this.#isHeldBack || this.isFull) return false;
    this.#isHeldBack = false;
    return true;
  }

  /** The message that begins here must be looked at whole. @param size in bytes */
  collect(bytes: Buffer, size: number): void {
    this.#collected = new Carry();
    this.#collected.keep(bytes, size);
  }

  /** @returns the chunk, after the message that is being collected; null: that is still not whole */
  completed(chunk: Buffer): Buffer | null {
    if (this.#collected === null) return chunk;
    const all = this.#collected.join(chunk);
    if (all !== null) this.#collected = null;
    return all;
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

  /** The last message with a body was passed on. */
  get isBodyForwarded(): boolean {
    return this.#isBodyForwarded;
  }
}
