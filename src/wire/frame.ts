/**
 * Where messages begin and end: the only place that reads their headers. `frameSize` is the relays' scanner and allocates
 * nothing; `FrameReader` cuts a stream into messages, and `frames` walks through bytes that have arrived.
 */
import { Carry } from './carry.ts';
import { HEADER_BYTES, MAX_STARTUP_BYTES } from './protocol.ts';

/** The header has not arrived in full. */
export const INCOMPLETE = 0;
/** The header has a length that no message has. */
export const BAD_HEADER = -1;

/** `largest` for `frameSize` where no smaller limit applies: no connection accepts longer messages. */
export const ANY_SIZE = 2 ** 31 - 1;

/**
 * The size in bytes, with its type, of the message whose header begins at `at` ("Message Formats": a type byte and an int32
 * that counts itself but not the type). The message itself may not have arrived in full.
 * @param largest the greatest size that is accepted, in bytes
 * @returns at least HEADER_BYTES; or INCOMPLETE or BAD_HEADER
 */
export function frameSize(bytes: Buffer, at: number, largest: number): number {
  if (bytes.length - at < HEADER_BYTES) return INCOMPLETE;
  const size = ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) + 1;
  return size < HEADER_BYTES || size > largest ? BAD_HEADER : size;
}

/** The size in bytes that the message's header states. A valid header must have arrived. */
export function sizeOf(message: Buffer): number {
  return frameSize(message, 0, ANY_SIZE);
}

/** Writes the header of a message of `size` bytes, with its type, to the beginning of `out`. */
export function writeHeader(out: Buffer, type: number, size: number): void {
  out[0] = type;
  out.writeInt32BE(size - 1, 1);
}

/** Length and code: every packet of the start-up phase begins with them. */
export const STARTUP_HEAD_BYTES = 8;

/**
 * The size in bytes of a packet of the start-up phase, which has no type: an int32 that counts itself, and a code.
 * @returns at least STARTUP_HEAD_BYTES, at most MAX_STARTUP_BYTES; or INCOMPLETE or BAD_HEADER
 */
export function startupSize(bytes: Buffer): number {
  if (bytes.length < STARTUP_HEAD_BYTES) return INCOMPLETE;
  const size = bytes.readInt32BE(0);
  return size < STARTUP_HEAD_BYTES || size > MAX_STARTUP_BYTES ? BAD_HEADER : size;
}

/** A message among others in a buffer. */
export interface Frame {
  readonly type: number;
  /** where its header begins */
  readonly start: number;
  /** where it ends, which may be past the end of the buffer */
  readonly end: number;
  /** its end has not arrived */
  readonly isCut: boolean;
  /** the part of its payload that has arrived; a view of the buffer */
  readonly payload: Buffer;
}

/** The messages in these bytes. The last one may be cut off. Ends at a header that has not arrived in full or is bad. */
export function* frames(bytes: Buffer): Generator<Frame, void> {
  for (let start = 0, end = 0; start < bytes.length; start = end) {
    const size = frameSize(bytes, start, ANY_SIZE);
    if (size === INCOMPLETE || size === BAD_HEADER) return;
    end = start + size;
    const payload = bytes.subarray(start + HEADER_BYTES, end);
    yield { type: bytes[start]!, start, end, isCut: end > bytes.length, payload };
  }
}

const EMPTY = Buffer.alloc(0);

/** Cuts a stream into whole messages, for the proxy's own conversations. The relays pass messages on without it. */
export class FrameReader {
  readonly #largest: number;
  readonly #carry = new Carry();
  #bytes: Buffer = EMPTY;
  #at = 0;
  #isBroken = false;

  /** @param largest the greatest size of a message that is accepted, in bytes */
  constructor(largest = ANY_SIZE) {
    this.#largest = largest;
  }

  /** A length arrived that no message can have: the bytes after it can't be understood. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Takes bytes. The messages that `next` returns are views, valid as long as these bytes are. */
  push(chunk: Buffer): void {
    this.#bytes = (this.#carry.length === 0 ? chunk : this.#carry.join(chunk)) ?? EMPTY;
    this.#at = 0;
  }

  /** The next whole message, header included; null: it has not arrived, or `isBroken`. */
  next(): Buffer | null {
    const left = this.#bytes.length - this.#at;
    if (this.#isBroken || left === 0) return null;
    const size = frameSize(this.#bytes, this.#at, this.#largest);
    if (size === BAD_HEADER) {
      this.#isBroken = true;
      return null;
    }
    if (size === INCOMPLETE || size > left) {
      this.#carry.keep(this.#bytes.subarray(this.#at), size === INCOMPLETE ? HEADER_BYTES : size);
      this.#bytes = EMPTY;
      this.#at = 0;
      return null;
    }
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  /** The bytes after the messages that were taken; the reader keeps none of them. */
  rest(): Buffer {
    const rest = this.#bytes.subarray(this.#at);
    this.#bytes = EMPTY;
    this.#at = 0;
    return rest;
  }
}
