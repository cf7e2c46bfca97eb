/** A client's tracked named prepared statements. Servers know them by other names (shared.ts). */
import type { Discards } from './discards.ts';
import { lasting, type Generations, type Judgement } from './generations.ts';
import type { SharedStatement, StatementRegistry } from './shared.ts';

export class NamedStatement implements Generations {
  /** position of its Parse in the ledger */
  readonly sentAt: number;
  #shared: SharedStatement;
  #original: SharedStatement | null;
  #route: string | null;
  #originGeneration: number;
  #targetGeneration: number;
  #isUnmade = false;
  /** hash of the columns that the client was told; null: it has not asked */
  #shape: string | null = null;
  /** there is a result now, or there may be one */
  #hasResult = true;

  /**
   * @param original the client's own text, if user functions have changed it; null: unchanged
   * @param route name of the database that the Parse was routed to; null without user functions
   * @param sentAt position of its Parse in the ledger
   */
  constructor(
    shared: SharedStatement,
    original: SharedStatement | null,
    route: string | null,
    sentAt: number,
    judged: Judgement,
  ) {
    this.#shared = shared;
    this.#original = original;
    this.#route = route;
    this.sentAt = sentAt;
    ({ originGeneration: this.#originGeneration, targetGeneration: this.#targetGeneration } =
      lasting(judged));
  }

  /** The statement that servers have. */
  get shared(): SharedStatement {
    return this.#shared;
  }

  /** The text as the client sent it, if user functions have changed it; null: unchanged. */
  get original(): SharedStatement | null {
    return this.#original;
  }

  /** Name of the database that its Parse was routed to; null without user functions. */
  get route(): string | null {
    return this.#route;
  }

  get originGeneration(): number {
    return this.#originGeneration;
  }

  get targetGeneration(): number {
    return this.#targetGeneration;
  }

  /** Its Parse failed, or was skipped after an error: servers need not have the statement, and its next use prepares it. */
  get isUnmade(): boolean {
    return this.#isUnmade;
  }

  /** Hash of the result columns that the client was told; null: it has not asked, or there is no result on any server. */
  get shape(): string | null {
    return this.#hasResult ? this.#shape : null;
  }

  /** The server has not executed the Parse. */
  unmade(): void {
    this.#isUnmade = true;
  }

  /** The client was told the result columns. @param shape their hash */
  described(shape: string, hasResult: boolean): void {
    this.#shape = shape;
    this.#hasResult = hasResult;
  }

  judged(judgement: Judgement): void {
    const { originGeneration, targetGeneration } = lasting(judgement);
    this.#originGeneration = originGeneration;
    this.#targetGeneration = targetGeneration;
  }

  routed(route: string | null): void {
    this.#route = route;
  }

  /** User functions want another text. Its result may have other columns than the client was told. */
  rewritten(shared: SharedStatement, original: SharedStatement): void {
    this.#shared = shared;
    this.#original = original;
    this.#hasResult = true;
  }
}

export class NamedStatements {
  readonly #registry: StatementRegistry;
  readonly #originals: StatementRegistry;
  readonly #discards: Discards;
  /** made on first use */
  #all: Map<string, NamedStatement> | null = null;

  /**
   * @param registry of the statements that servers have
   * @param originals of the clients' own texts
   */
  constructor(registry: StatementRegistry, originals: StatementRegistry, discards: Discards) {
    this.#registry = registry;
    this.#originals = originals;
    this.#discards = discards;
  }

  get size(): number {
    return this.#all === null ? 0 : this.#all.size;
  }

  /** Statements have been tracked since the session began, or since all were last dropped. */
  get isUsed(): boolean {
    return this.#all !== null;
  }

  /** The statement of a name; undefined: none, or it was dropped with all others. */
  find(name: string): NamedStatement | undefined {
    const statement = this.#all?.get(name);
    if (statement === undefined || !this.#discards.isDropped(statement.sentAt)) return statement;
    this.remove(name);
    return undefined;
  }

  /** Adds a statement; another one of that name is released. */
  set(name: string, statement: NamedStatement): void {
    this.remove(name);
    (this.#all ??= new Map()).set(name, statement);
  }

  /** The client no longer has a statement of that name. @returns the one that it had */
  remove(name: string): NamedStatement | undefined {
    const statement = this.#all?.get(name);
    if (statement === undefined) return undefined;
    this.#all?.delete(name);
    this.#release(statement);
    return statement;
  }

  /** Takes back a `remove`, unless the name has been reused or all statements were dropped meanwhile. */
  restore(name: string, statement: NamedStatement): void {
    if (this.#all?.has(name) === true || this.#discards.isDropped(statement.sentAt)) return;
    this.#registry.retain(statement.shared);
    if (statement.original !== null) this.#originals.retain(statement.original);
    (this.#all ??= new Map()).set(name, statement);
  }

  /**
   * User functions have judged a statement again.
   * @param sent body of the Parse as the client sent it
   * @param next body of the Parse that servers are to get
   * @param reading the settings by which these read it (query/text.ts)
   */
  rewrite(statement: NamedStatement, sent: Buffer, next: Buffer, reading: string | null): void {
    const old = statement.shared;
    if (next.equals(old.body)) return;
    statement.rewritten(
      this.#registry.acquire(next, reading),
      statement.original ?? this.#originals.acquire(sent),
    );
    this.#registry.release(old);
  }

  /** All statements whose Parse has a lower position in the ledger were dropped. */
  dropBefore(position: number): void {
    // In the order in which they were sent, except for those whose Close failed: `find` drops the expired ones.
    for (const [name, { sentAt }] of this.#all ?? []) {
      if (sentAt >= position) break;
      this.remove(name);
    }
    if (this.#all?.size === 0) this.#all = null;
  }

  /** The client has gone. */
  releaseAll(): void {
    for (const statement of this.#all?.values() ?? []) this.#release(statement);
    this.#all = null;
  }

  #release({ shared, original }: NamedStatement): void {
    this.#registry.release(shared);
    if (original !== null) this.#originals.release(original);
  }
}
