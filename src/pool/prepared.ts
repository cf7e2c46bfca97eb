/** The prepared statements that a server has under shared names, the least recently used first. */

/** A prepared statement as servers know it. */
export interface PreparedStatement {
  /** its name on every server */
  readonly serverName: string;
}

/** Replaces the position of a Parse that has been answered. */
const ANSWERED = -1;

export class PreparedStatements {
  /** positions of their Parse messages in the ledger of the client that sent them, in the order of use */
  readonly #sentAt = new Map<PreparedStatement, number>();
  readonly #shapes = new WeakMap<PreparedStatement, string>();

  get size(): number {
    return this.#sentAt.size;
  }

  /** The least recently used first. */
  inOrderOfUse(): Iterable<PreparedStatement> {
    return this.#sentAt.keys();
  }

  has(statement: PreparedStatement): boolean {
    return this.#sentAt.has(statement);
  }

  /** Marks a statement as the most recently used. @returns whether the server has it */
  use(statement: PreparedStatement): boolean {
    const sentAt = this.#sentAt.get(statement);
    if (sentAt === undefined) return false;
    this.#sentAt.delete(statement);
    this.#sentAt.set(statement, sentAt);
    return true;
  }

  /** A Parse was sent. @param sentAt its position in the client's ledger */
  add(statement: PreparedStatement, sentAt: number): void {
    this.#shapes.delete(statement);
    this.#sentAt.set(statement, sentAt);
  }

  /** The Parse at a position has been executed. */
  answered(statement: PreparedStatement, sentAt: number): void {
    if (this.#sentAt.get(statement) === sentAt) this.#sentAt.set(statement, ANSWERED);
  }

  /**
   * The server does not have the statement, or is told to close it.
   * @returns position of its Parse; negative: it was answered
   */
  remove(statement: PreparedStatement): number {
    const sentAt = this.#sentAt.get(statement) ?? ANSWERED;
    this.#sentAt.delete(statement);
    return sentAt;
  }

  /** The server was told to close the statement and has not done so. */
  restore(statement: PreparedStatement): void {
    this.#sentAt.set(statement, ANSWERED);
  }

  /** All statements whose Parse has a lower position were dropped. */
  dropBefore(position: number): void {
    for (const [statement, sentAt] of this.#sentAt) if (sentAt < position) this.#sentAt.delete(statement);
  }

  clear(): void {
    this.#sentAt.clear();
  }

  /** Hash of the result columns that the server has for a statement; undefined: it was not asked. */
  shapeOf(statement: PreparedStatement): string | undefined {
    return this.#shapes.get(statement);
  }

  /** The server has answered a Describe. @param shape hash of the result columns */
  described(statement: PreparedStatement, shape: string): void {
    this.#shapes.set(statement, shape);
  }
}
