/**
 * The portal of a DEALLOCATE that is sent with the extended protocol: its Execute drops one of the client's statements
 * (deallocate.ts). Only the last Bind of such a statement is remembered.
 */
export class Freeing {
  #portal: string | null = null;
  #name = '';

  /** A portal exists whose Execute drops a statement. */
  get isOpen(): boolean {
    return this.#portal !== null;
  }

  /** A Bind makes a portal. @param name of the statement that its Execute drops; null: it drops none */
  bound(portal: string, name: string | null): void {
    if (name !== null) {
      this.#portal = portal;
      this.#name = name;
    } else if (this.#portal === portal) this.#portal = null;
  }

  /** The statement that the Execute of a portal drops; null: it drops none. */
  nameFor(portal: string): string | null {
    return this.#portal === portal ? this.#name : null;
  }

  /** The portal is being executed. */
  done(): void {
    this.#portal = null;
  }
}
