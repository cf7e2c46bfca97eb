/**
 * The server that a pool has lent to a client: in transaction mode from a transaction's first message to its end, in session
 * mode for the whole session.
 */
import type { Server } from '../../pool/server.ts';

export class Loan {
  #server: Server | null = null;
  #count = 0;
  #lostUnready = 0;

  /** Null: none at the moment. */
  get server(): Server | null {
    return this.#server;
  }

  /** The number of loans so far: it identifies a loan. */
  get count(): number {
    return this.#count;
  }

  begin(server: Server): void {
    this.#server = server;
    this.#count++;
  }

  /** The client has back the server of its last loan. */
  resume(server: Server): void {
    this.#server = server;
  }

  end(): void {
    this.#server = null;
  }

  /** The server has the client's settings. */
  ready(): void {
    this.#lostUnready = 0;
  }

  /** The server was lost before it had the client's settings. @returns how often that has happened in a row */
  endUnready(): number {
    this.#server = null;
    return ++this.#lostUnready;
  }
}
