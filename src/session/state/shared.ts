/**
 * Prepared statements as servers know them: the text and the parameter types of a Parse, under one of the proxy's own names.
 * Clients that prepare the same text with the same types, and whose settings read it alike, share a statement, whatever they
 * call it.
 */
import type { PreparedStatement } from '../../pool/prepared.ts';
import { message } from '../../wire/messages.ts';
import { Frontend } from '../../wire/protocol.ts';
import { entryAbout, Request, type Entry } from './entry.ts';

export class SharedStatement implements PreparedStatement {
  /** `PGBOUNCER_n`, as pgbouncer names them: operators find it in pg_prepared_statements */
  readonly serverName: string;
  /** a Parse without its statement's name: query text, zero byte, parameter types */
  readonly body: Buffer;
  readonly key: string;
  /** the settings by which it is read (query/text.ts); null: all read it alike */
  readonly reading: string | null;
  /** the ledger's entry for a Bind of it */
  readonly bind: Entry = entryAbout(Request.Bind, this);
  #uses = 0;
  #isStale = false;

  constructor(serverName: string, body: Buffer, key: string, reading: string | null) {
    this.serverName = serverName;
    this.body = body;
    this.key = key;
    this.reading = reading;
  }

  /** Its result has changed since it was prepared: servers only report errors, and a new Parse gets another statement. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** Another client has prepared it. */
  use(): this {
    this.#uses++;
    return this;
  }

  /** A client has dropped it. @returns whether it has no clients left */
  unuse(): boolean {
    this.#uses--;
    return this.#uses === 0;
  }

  becomeStale(): void {
    this.#isStale = true;
  }
}

/** No text has this character, because each of its characters is a byte. */
const BETWEEN = '\u0100';

/** All statements that any client has prepared: one registry for the whole proxy. */
export class StatementRegistry {
  readonly #byKey = new Map<string, SharedStatement>();
  #next = 1;

  get size(): number {
    return this.#byKey.size;
  }

  /**
   * The shared statement for the body of a Parse. Each call must be matched by a `release`.
   * @param reading the settings by which it is read; null: all read it alike
   */
  acquire(body: Buffer, reading: string | null = null): SharedStatement {
    const text = body.toString('latin1', 0, body.length);
    const key = reading === null ? text : `${reading}${BETWEEN}${text}`;
    let statement = this.#byKey.get(key);
    if (statement === undefined) {
      statement = new SharedStatement(`PGBOUNCER_${this.#next++}`, Buffer.from(body), key, reading);
      this.#byKey.set(key, statement);
    }
    return statement.use();
  }

  /** Takes back a `release`: the same statement is used again, even if no client has used it since. */
  retain(statement: SharedStatement): void {
    statement.use();
    if (!statement.isStale && !this.#byKey.has(statement.key)) this.#byKey.set(statement.key, statement);
  }

  /**
   * Clients keep a stale statement; a client that prepares the same text from now on gets another one. The registry's current
   * statement may already be a later one than the one that failed, or may still be from before the change.
   */
  retire(statement: SharedStatement): void {
    statement.becomeStale();
    const current = this.#byKey.get(statement.key);
    if (current === undefined) return;
    current.becomeStale();
    this.#byKey.delete(statement.key);
  }

  /** A client has dropped the statement. Servers may keep it: their lists are bounded, and drop it in time. */
  release(statement: SharedStatement): void {
    if (statement.unuse() && this.#byKey.get(statement.key) === statement) this.#byKey.delete(statement.key);
  }
}

/** The Parse that prepares a shared statement on a server. */
export function parseMessage(statement: SharedStatement): Buffer {
  return message(Frontend.Parse, statement.serverName, statement.body);
}
