import { message } from '../../wire/messages.ts';
import { Frontend } from '../../wire/protocol.ts';
import { entryAbout, Request, type Entry } from '../relay/outstanding.ts';

/**
 * A prepared statement as servers know it: the text and parameter types of a Parse under a name of the proxy's own.
 * Clients that prepare the same text with the same types share it, whatever they call it.
 */
export class SharedStatement {
  /** `PGBOUNCER_n`, as pgbouncer names them: operators find it in pg_prepared_statements */
  readonly serverName: string;
  /** a Parse's payload behind the statement's name: query text, NUL, parameter types */
  readonly body: Buffer;
  readonly key: string;
  /** what the ledger gets for a Bind of it */
  readonly bind: Entry = entryAbout(Request.Bind, this);
  /** how many clients have it prepared */
  uses = 0;
  /** its result has changed since it was prepared: servers only have errors for it, and who prepares it again gets another */
  isStale = false;

  constructor(serverName: string, body: Buffer, key: string) {
    this.serverName = serverName;
    this.body = body;
    this.key = key;
  }
}

/** All statements that some client has prepared. One for the whole proxy, handed to each session. */
export class StatementRegistry {
  readonly #byKey = new Map<string, SharedStatement>();
  #next = 1;

  get size(): number {
    return this.#byKey.size;
  }

  /** The shared statement for a Parse body; each call must be matched by a `release`. */
  acquire(body: Buffer): SharedStatement {
    const key = body.toString('latin1', 0, body.length);
    let statement = this.#byKey.get(key);
    if (statement === undefined) {
      statement = new SharedStatement(`PGBOUNCER_${this.#next++}`, Buffer.from(body), key);
      this.#byKey.set(key, statement);
    }
    statement.uses++;
    return statement;
  }

  /** Takes back a `release`: the same statement, also when nobody else has used it since. */
  retain(statement: SharedStatement): SharedStatement {
    statement.uses++;
    if (!statement.isStale && !this.#byKey.has(statement.key)) this.#byKey.set(statement.key, statement);
    return statement;
  }

  /**
   * A client keeps the statement that it has; whoever prepares the same text from now on gets another. The one that is given
   * out now may be a later one than the one that failed, and may have been prepared before the change all the same.
   */
  retire(statement: SharedStatement): void {
    statement.isStale = true;
    const current = this.#byKey.get(statement.key);
    if (current === undefined) return;
    current.isStale = true;
    this.#byKey.delete(statement.key);
  }

  /** Servers may still have it prepared: their own bounded lists forget it in time. */
  release(statement: SharedStatement): void {
    if (--statement.uses === 0 && this.#byKey.get(statement.key) === statement)
      this.#byKey.delete(statement.key);
  }
}

/** The Parse that prepares a shared statement on a server. */
export function parseMessage(statement: SharedStatement): Buffer {
  return message(Frontend.Parse, statement.serverName, statement.body);
}
