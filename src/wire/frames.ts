import { HEADER_BYTES } from './protocol.ts';

/** Where messages begin and end. Lengths are looked at here and nowhere else, before anything is done with them. */

/** `frameSize`: the header has not come yet. */
export const INCOMPLETE = 0;
/** `frameSize`: no message has such a length. */
export const BAD_HEADER = -1;

/**
 * The size in bytes, with its type, of the message whose header begins at `at` ("Message Formats": a type byte and an int32
 * that counts itself but not the type). The message may not have come whole.
 * @param largest the greatest size that is accepted, in bytes
 * @returns at least HEADER_BYTES; or INCOMPLETE or BAD_HEADER
 */
export function frameSize(bytes: Buffer, at: number, largest: number): number {
  if (bytes.length - at < HEADER_BYTES) return INCOMPLETE;
  const size = ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) + 1;
  return size < HEADER_BYTES || size > largest ? BAD_HEADER : size;
}

const EMPTY = Buffer.alloc(0);
const FIRST_BYTES = 64;

/**
 * The beginning of something whose rest has not come. It grows by doubling, so that what comes byte by byte is copied a
 * few times and not once for each byte, and it never takes more memory than twice what has come.
 */
export class Carry {
  /** bytes that are there */
  length = 0;
  #bytes: Buffer = EMPTY;
  #wanted = 0;

  /** Keeps a copy of the beginning, until there are `wanted` bytes. */
  keep(bytes: Buffer, wanted: number): void {
    this.clear();
    this.#wanted = wanted;
    this.#add(bytes);
  }

  /** Adds what has come. @returns everything, once it is enough; null: more must come */
  join(bytes: Buffer): Buffer | null {
    this.#add(bytes);
    if (this.length < this.#wanted) return null;
    const all = this.#bytes.subarray(0, this.length);
    this.clear();
    return all;
  }

  clear(): void {
    this.#bytes = EMPTY;
    this.length = 0;
    this.#wanted = 0;
  }

  #add(bytes: Buffer): void {
    const length = this.length + bytes.length;
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#bytes.length, FIRST_BYTES));
      this.#bytes.copy(grown, 0, 0, this.length);
      this.#bytes = grown;
    }
    bytes.copy(this.#bytes, this.length);
    this.length = length;
  }
}

/** How much is used of what `appended` has made, in bytes: what comes after that is free. */
const used = new WeakMap<ArrayBufferLike, number>();

/**
 * The pieces in one, which may share its memory with the first. It grows by doubling, so that what is appended byte by byte
 * is copied a few times and not once for each piece. What has been returned before stays as it is.
 * @param most size in bytes that is never exceeded
 */
export function appended(first: Buffer, more: readonly Buffer[], most = Infinity): Buffer {
  let size = first.length;
  for (const piece of more) size += piece.length;
  let { buffer, byteOffset: start } = first;
  if (used.get(buffer) !== start + first.length || buffer.byteLength - start < size) {
    const grown = Buffer.allocUnsafeSlow(Math.max(size, Math.min(2 * size, most)));
    first.copy(grown);
    buffer = grown.buffer;
    start = 0;
  }
  const all = Buffer.from(buffer, start, size);
  let at = first.length;
  for (const piece of more) at += piece.copy(all, at);
  used.set(buffer, start + size);
  return all;
}

/** Cuts what a server sends into whole messages, for the proxy's own conversations. The relay passes on without it. */
export class FrameReader {
  readonly #largest: number;
  readonly #carry = new Carry();
  #bytes: Buffer = EMPTY;
  #at = 0;
  /** a length came that no message has: nothing that follows can be understood */
  isBroken = false;

  /** @param largest the greatest size of a message that is accepted, in bytes */
  constructor(largest: number) {
    this.#largest = largest;
  }

  /** Takes bytes. What `next` returns of them is only valid as long as they are. */
  push(chunk: Buffer): void {
    this.#bytes = (this.#carry.length === 0 ? chunk : this.#carry.join(chunk)) ?? EMPTY;
    this.#at = 0;
  }

  /** The next whole message, header included; null: it has not come, or `isBroken`. */
  next(): Buffer | null {
    const left = this.#bytes.length - this.#at;
    if (this.isBroken || left === 0) return null;
    const size = frameSize(this.#bytes, this.#at, this.#largest);
    if (size === BAD_HEADER) {
      this.isBroken = true;
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

  /** What has come behind the messages that were taken; the reader has none of it afterwards. */
  rest(): Buffer {
    const rest = this.#bytes.subarray(this.#at);
    this.#bytes = EMPTY;
    this.#at = 0;
    return rest;
  }
}
