/**
 * The result columns of the unnamed statement: those that the client was told, and those that the statement has now. They may
 * differ after user functions have replaced its text. Columns are known by hashes.
 */
export class UnnamedColumns {
  /** The number of texts that have replaced the client's last Parse. */
  #text = 0;
  #told: string | null = null;
  /** the text that `told` is about */
  #toldOf = 0;
  #found: string | null = null;
  /** the text that `found` is about */
  #foundOf = -1;

  /** The text that the statement has now, as a number for `told` and `found`. */
  get text(): number {
    return this.#text;
  }

  /** User functions want another text. */
  replaced(): void {
    this.#text++;
  }

  /** The client was told the columns of a text. */
  told(columns: string, text: number): void {
    this.#told = columns;
    this.#toldOf = text;
  }

  /** A server has these columns for a text. */
  found(columns: string, text: number): void {
    this.#found = columns;
    this.#foundOf = text;
  }

  /** Whether the client expects other columns than it would get; null: a server must be asked. */
  get differ(): boolean | null {
    if (this.#toldOf === this.#text) return false;
    if (this.#foundOf !== this.#text) return null;
    return this.#told !== null && this.#told !== this.#found;
  }
}
