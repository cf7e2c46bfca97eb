/** Where an operator's statements come from and the answers go: a client of the console, or a browser. */
import type { Socket } from 'node:net';
import type { Client } from '../session/client.ts';
import type { Author } from './audit.ts';

export interface Terminal {
  readonly user: string;
  /** for the log */
  readonly label: string;
  /** for the audit log */
  readonly author: Author;
  /** nobody is there any more */
  readonly isGone: boolean;
  /** it has not taken its last answer yet */
  readonly isHalted: boolean;
  /** the connection of a process that takes over (-R); null: it is something else */
  readonly successor: Socket | null;
  /** @param bytes messages of PostgreSQL's protocol */
  send(bytes: Buffer): void;
  /** A statement begins. */
  began(): void;
  /** The statement is answered. */
  finished(): void;
  /** @param callback called once if the operator leaves; null: none. @returns the previous one */
  onLeft(callback: (() => void) | null): (() => void) | null;
}

/** A client of the console. */
export class ClientTerminal implements Terminal {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  get user(): string {
    return this.#client.user;
  }

  get label(): string {
    return this.#client.label;
  }

  get author(): Author {
    return { user: this.user, entrance: 'console', address: this.#client.connection.host };
  }

  get isGone(): boolean {
    return this.#client.state === 'closed';
  }

  get isHalted(): boolean {
    return this.#client.gate.isHalted;
  }

  get successor(): Socket | null {
    return this.#client.login.isOwnProcess ? this.#client.socket : null;
  }

  send(bytes: Buffer): void {
    this.#client.send(bytes);
  }

  began(): void {
    this.#client.clock.noteConsoleRequest(performance.now());
  }

  finished(): void {
    this.#client.clock.beginIdle(performance.now());
  }

  onLeft(callback: (() => void) | null): (() => void) | null {
    return this.#client.errand.onLeft(callback);
  }
}
