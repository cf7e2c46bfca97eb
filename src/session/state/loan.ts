/** The server that a pool has lent to a client: from a transaction's first message to its end, or for the whole session. */
import type { Server } from '../../pool/server.ts';

export class Loan {
  #server: Server | null = null;
  #count = 0;
  #lostUnready = 0;

  /** Null: there is none at the moment. */
  get server(): Server | null {
    return this.#server;
  }

  /** How many there have been: two that differ in it are different loans. */
  get count(): number {
    return this.#count;
  }

  begin(server: Server): void {
    this.#server = server;
    this.#count++;
  }

  /** The client has back the server of the loan that had ended last. */
  goOn(server: Server): void {
    this.#server = server;
  }

  end(): void {
    this.#server = null;
  }

  /** The server has the settings of the client. */
  ready(): void {
    this.#lostUnready = 0;
  }

  /** The server was lost before it had the settings. @returns how often that has happened in a row */
  endUnready(): number {
    this.#server = null;
    return ++this.#lostUnready;
  }
}
