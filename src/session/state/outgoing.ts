/** Bytes for a server, collected while a chunk of its client is looked at, so that they leave in one write. */
import type { Socket } from 'node:net';

export class Outgoing {
  /** usually there is only one piece, which needs no array */
  #first: Buffer | null = null;
  #more: Buffer[] | null = null;

  add(bytes: Buffer): void {
    if (this.#first === null) this.#first = bytes;
    else if (this.#more === null) this.#more = [bytes];
    else this.#more.push(bytes);
  }

  /** Sends everything that was added. @returns whether the socket takes more: false until its drain */
  flush(socket: Socket | undefined): boolean {
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
