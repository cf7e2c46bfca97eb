/**
 * Bytes for a server, collected while a chunk of its client is looked at, so that they leave in one write. Parts of a chunk that
 * follow one another are one piece: a write of several pieces costs the kernel more.
 */
import type { Socket } from 'node:net';

export class Outgoing {
  /** usually there is only one piece, which needs no array */
  #first: Buffer | null = null;
  #more: Buffer[] | null = null;
  /** the last piece, as long as it may grow */
  #chunk: Buffer | null = null;
  #from = 0;
  #to = 0;

  add(bytes: Buffer): void {
    if (this.#chunk !== null) this.#endPart(this.#chunk);
    this.#push(bytes);
  }

  /** Adds the bytes of a chunk from one position up to another. */
  addPart(chunk: Buffer, from: number, to: number): void {
    if (this.#chunk === chunk && this.#to === from) {
      this.#to = to;
      return;
    }
    if (this.#chunk !== null) this.#endPart(this.#chunk);
    this.#chunk = chunk;
    this.#from = from;
    this.#to = to;
  }

  #endPart(chunk: Buffer): void {
    this.#chunk = null;
    const isWhole = this.#from === 0 && this.#to === chunk.length;
    this.#push(isWhole ? chunk : chunk.subarray(this.#from, this.#to));
  }

  #push(bytes: Buffer): void {
    if (this.#first === null) this.#first = bytes;
    else if (this.#more === null) this.#more = [bytes];
    else this.#more.push(bytes);
  }

  /** Sends everything that was added. @returns whether the socket takes more: false until its drain */
  flush(socket: Socket | undefined): boolean {
    if (this.#chunk !== null) this.#endPart(this.#chunk);
    const first = this.#first;
    const more = this.#more;
    if (first === null) return true;
    this.#first = null;
    this.#more = null;
    if (socket === undefined) return true;
    if (more === null) return socket.write(first);
    socket.cork();
    let takesMore = socket.write(first);
    for (const piece of more) takesMore = socket.write(piece);
    socket.uncork();
    return takesMore;
  }
}
