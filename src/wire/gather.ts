/**
 * Bytes that come in pieces of any size, until a message of them is whole. Each byte is copied a few times at most, also where
 * somebody sends a long message byte by byte.
 */
export class Gatherer {
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** What has come and was not taken; valid until the next `add`. */
  get bytes(): Buffer {
    return this.#bytes.subarray(this.#start, this.#end);
  }

  /** Appends a copy of the piece. */
  add(piece: Buffer): void {
    if (this.#end + piece.length > this.#bytes.length) {
      const { bytes } = this;
      this.#bytes = Buffer.allocUnsafeSlow(2 * (bytes.length + piece.length));
      bytes.copy(this.#bytes);
      this.#end = bytes.length;
      this.#start = 0;
    }
    piece.copy(this.#bytes, this.#end);
    this.#end += piece.length;
  }

  /** Takes that many bytes from the beginning, as a copy. */
  take(count: number): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(this.#start, this.#start + count));
    this.#start += count;
    if (this.#start === this.#end) this.#start = this.#end = 0;
    return taken;
  }
}
