/** Buffers in which bytes are collected, piece by piece, at a cost that is linear in their number. */

const EMPTY = Buffer.alloc(0);
const FIRST_BYTES = 64;

/**
 * The beginning of a message whose rest has not arrived. It grows by doubling: bytes that arrive one at a time are copied a
 * few times each, and it never takes more than twice the memory of the bytes that have arrived.
 */
export class Carry {
  /** number of bytes that have arrived */
  length = 0;
  #bytes: Buffer = EMPTY;
  #wanted = 0;

  /** Keeps a copy of the beginning, until there are `wanted` bytes. */
  keep(bytes: Buffer, wanted: number): void {
    this.clear();
    this.#wanted = wanted;
    this.#add(bytes);
  }

  /** Adds a chunk. @returns all bytes once there are enough of them; null: more must arrive */
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

/** The end of the used part of each ArrayBuffer made by `appended`: the bytes after it are free. */
const used = new WeakMap<ArrayBufferLike, number>();

/**
 * Joins pieces. The result may share its memory with the first one. The memory grows by doubling, so that bytes appended one
 * at a time are copied a few times each. Earlier results stay as they are.
 * @param most size in bytes that the memory never exceeds
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
