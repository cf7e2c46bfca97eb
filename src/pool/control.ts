import { EventEmitter } from 'node:events';
import { parse, serialize } from 'pg-protocol';
import type { Server, ServerUser } from './server.ts';

/** Rows of a query of the proxy's own, as text by column name. */
export type Row = Readonly<Record<string, string | null>>;

/** A query of the proxy's own failed: the server's message and SQLSTATE, or the connection went. */
export class ControlError extends Error {
  readonly code: string;
  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }

  /** The connection went away, rather than that the query was refused. */
  get isLoss(): boolean {
    return /^(?:08|57)/.test(this.code);
  }
}

interface ParsedMessage {
  readonly name: string;
  readonly message?: string;
  readonly code?: string;
  readonly status?: string;
  readonly fields?: readonly unknown[];
  readonly parameterName?: string;
  readonly parameterValue?: string;
  readonly text?: string;
}

/**
 * Runs one query of the proxy's own (reset, check, connect_query, auth_query, probes, SETs) on a server that nobody is
 * linked to. While it runs the server belongs to it.
 *
 * With `values` it goes by the extended protocol, as pgbouncer's auth_query does, so that nothing in them can become SQL.
 * `byPosition`: columns are called 0, 1, ..., since several may have the same name; `onColumns` is told their names.
 * `afterStrays`: the query is empty, and its answer begins with EmptyQueryResponse; what comes before that is left over
 * from whoever had the server.
 * @param onParameter told of settings that the server reports as changed
 * @param timeoutMs the server is closed when there is no answer by then; 0: no limit
 * @throws ControlError
 */
export function runControl(
  server: Server,
  sql: string,
  options: {
    values?: readonly string[];
    byPosition?: boolean;
    onColumns?: (names: readonly string[]) => void;
    timeoutMs?: number;
    afterStrays?: boolean;
    onParameter?: (name: string, value: string) => void;
  } = {},
): Promise<Row[]> {
  return new Promise((resolve, reject) => {
    const feed = new EventEmitter();
    const rows: Row[] = [];
    let columns: string[] = [];
    let failure: ControlError | null = null;
    let isAnswered = options.afterStrays !== true;
    const timer = options.timeoutMs
      ? setTimeout(
          () =>
            server.close(`no answer to a query of the proxy within ${options.timeoutMs} ms`, {
              level: 'warn',
            }),
          options.timeoutMs,
        )
      : null;

    const finish = (error: ControlError | null): void => {
      if (timer) clearTimeout(timer);
      if (error) reject(error);
      else resolve(rows);
    };
    const user: ServerUser = {
      onServerBytes(_server, chunk) {
        // the parser keeps what is incomplete, and the read buffer is used again
        feed.emit('data', Buffer.from(chunk));
      },
      onServerClosed(_server, reason) {
        finish(failure ?? new ControlError(reason, '08006'));
      },
      onServerDrain() {},
    };
    void parse(feed as unknown as NodeJS.ReadableStream, (raw) => {
      const message = raw as unknown as ParsedMessage;
      if (message.name === 'rowDescription') {
        const fields = message.fields as { name: string }[];
        columns = fields.map(({ name }, i) => (options.byPosition === true ? String(i) : name));
        options.onColumns?.(fields.map(({ name }) => name));
      } else if (message.name === 'dataRow') {
        const values = message.fields as (string | null)[];
        const row: Record<string, string | null> = {};
        // of several columns of one name the first counts
        for (const [i, column] of columns.entries())
          if (!Object.hasOwn(row, column)) row[column] = values[i] ?? null;
        rows.push(row);
      } else if (message.name === 'parameterStatus') {
        const { parameterName: name = '', parameterValue: value = '' } = message;
        server.noteParameter(name, value);
        options.onParameter?.(name, value);
      } else if (message.name === 'commandComplete') {
        if (message.text === 'DISCARD ALL' || message.text === 'DEALLOCATE ALL') server.prepared.clear();
      } else if (message.name === 'error') {
        failure = new ControlError(message.message ?? 'error', message.code ?? '58000');
      } else if (message.name === 'emptyQuery') {
        isAnswered = true;
      } else if (message.name === 'readyForQuery' && isAnswered) {
        server.txStatus = (message.status ?? 'I').charCodeAt(0);
        if (server.user === user) server.user = null;
        finish(failure);
      }
    });
    server.user = user;
    server.write(options.values === undefined ? serialize.query(sql) : extended(sql, options.values));
  });
}

function extended(sql: string, values: readonly string[]): Buffer {
  return Buffer.concat([
    serialize.parse({ text: sql }),
    serialize.bind({ values: [...values] }),
    serialize.describe({ type: 'P' }),
    serialize.execute(),
    serialize.sync(),
  ]);
}
