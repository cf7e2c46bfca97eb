/** Bytes for a server that are collected while a chunk of its client is looked at, so that they leave in one write. */
import type { Socket } from 'node:net';

export class Outgoing {
  readonly #pieces: Buffer[] = [];

  add(bytes: Buffer): void {
    this.#pieces.push(bytes);
  }

  /** Sends everything that was added. @returns whether the socket takes more: false until its drain */
  flush(socket: Socket | undefined): boolean {
    const pieces = this.#pieces;
    if (pieces.length === 0) return true;
    let takesMore = true;
    if (socket !== undefined) {
      if (pieces.length > 1) socket.cork();
      for (const piece of pieces) takesMore = socket.write(piece);
      if (pieces.length > 1) socket.uncork();
    }
    pieces.length = 0;
    return takesMore;
  }
}
