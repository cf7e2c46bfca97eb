/** The bytes that a client has sent and the proxy has not yet dealt with, and the message that is still arriving. */
import { appended, Carry } from '../../wire/carry.ts';
import { sizeOf } from '../../wire/frame.ts';

const EMPTY = Buffer.alloc(0);
/** Bytes that a client may send ahead while its messages are not looked at. At this number it is no longer read. */
const HELD_BYTES = 64 * 1024;

export class Intake {
  #held: Buffer = EMPTY;
  /** the client is not read, because too much is held */
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

  /** Bytes in memory: those held, and those of a message that is being collected. */
  get size(): number {
    return this.#held.length + (this.#collected?.length ?? 0);
  }

  /** Bytes of the current message's body that are still to come. */
  get bodyLeft(): number {
    return this.#bodyLeft;
  }

  /** The server has the beginning of a message, and the rest is still to come. */
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

  /** The proxy sent an error itself: messages are ignored until a Sync. */
  get isSkipping(): boolean {
    return this.#isSkipping;
  }

  skipToSync(): void {
    this.#isSkipping = true;
  }

  endSkip(): void {
    this.#isSkipping = false;
  }

  /** Keeps bytes that have arrived, after the held ones. */
  hold(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : appended(this.#held, [chunk]);
  }

  /** Keeps bytes that were taken and could not be dealt with, before the held ones. */
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

  /** Forgets bytes at the beginning of the held ones. */
  drop(bytes: number): void {
    this.#held = this.#held.subarray(bytes);
  }

  /** Forgets the first held message. The rest of it is thrown away as it arrives. */
  dropMessage(): void {
    const size = sizeOf(this.#held);
    const here = Math.min(size, this.#held.length);
    this.#held = this.#held.subarray(here);
    this.beginBody(size - here, false);
  }

  /** Looking at the client continues with these bytes. The rest of a message that was arriving completes them. */
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

  /** Whether a client that was not read can be read again. From now on it counts as read. */
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

  /** @returns the chunk, appended to the message that is being collected; null: the message is still not whole */
  completed(chunk: Buffer): Buffer | null {
    if (this.#collected === null) return chunk;
    const all = this.#collected.join(chunk);
    if (all !== null) this.#collected = null;
    return all;
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

  /** The last message with a body was passed on. */
  get isBodyForwarded(): boolean {
    return this.#isBodyForwarded;
  }
}
