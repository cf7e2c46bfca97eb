import { EventEmitter } from 'node:events';
import { parse, serialize } from 'pg-protocol';
import { Backend, HEADER_BYTES } from '../wire/protocol.ts';
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
 * `byPosition`: columns are called 0, 1, ..., since several may have the same name.
 * `afterStrays`: the query is empty, and its answer begins with EmptyQueryResponse; what comes before that is left over
 * from whoever had the server.
 *
 * What follows the answer in the same read, a FATAL as a rule, goes to the server as what an idle one says: a promise
 * that is kept may leave a server that is closed. The caller has to look before it uses the server again.
 * @param onParameter told of settings that the server reports as changed
 * @param timeoutMs the server is closed when there is no answer by then; 0: no limit
 * @throws ControlError; 08P01 where the answer makes no sense, and then the server is closed
 */
export function runControl(
  server: Server,
  sql: string,
  options: {
    values?: readonly string[];
    byPosition?: boolean;
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
    let isDone = false;
    const frames = new Frames(options.afterStrays === true ? null : EXPECTED);
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
      isDone = true;
      if (timer) clearTimeout(timer);
      if (error) reject(error);
      else resolve(rows);
    };
    const user: ServerUser = {
      onServerBytes(_server, chunk) {
        try {
          for (let at = 0; at < chunk.length && !isDone;) {
            const end = frames.next(chunk, at);
            // the parser keeps what is incomplete, and the read buffer is used again
            feed.emit('data', Buffer.from(chunk.subarray(at, end)));
            at = end;
            if (isDone && at < chunk.length) server.receive(chunk.subarray(at));
          }
        } catch (error) {
          const reason = `the answer to a query of the proxy makes no sense: ${(error as Error).message}`;
          // what a probe finds out is told once, where it changes something
          server.close(reason, { notify: false, level: server.isProbe ? 'info' : 'warn' });
          finish(new ControlError(reason, '08P01'));
        }
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

/** The longest message that an answer to the proxy may have. */
const MAX_MESSAGE_BYTES = 1 << 24;

/** What may stand in an answer: no COPY, and nothing of the login. */
const EXPECTED: ReadonlySet<number> = new Set([
  Backend.BindComplete,
  Backend.CloseComplete,
  Backend.CommandComplete,
  Backend.DataRow,
  Backend.EmptyQueryResponse,
  Backend.ErrorResponse,
  Backend.NoData,
  Backend.NoticeResponse,
  Backend.NotificationResponse,
  Backend.ParameterDescription,
  Backend.ParameterStatus,
  Backend.ParseComplete,
  Backend.PortalSuspended,
  Backend.ReadyForQuery,
  Backend.RowDescription,
]);

/** Finds the ends of the messages in an answer that comes in pieces. */
class Frames {
  readonly #expected: ReadonlySet<number> | null;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  /** bytes of the current message's body that are still to come */
  #left = 0;

  /** @param expected types that may come; null: whatever is left over from somebody else */
  constructor(expected: ReadonlySet<number> | null) {
    this.#expected = expected;
  }

  /**
   * Where the next ReadyForQuery in `chunk` ends, looked for from `from` on; the chunk's end where there is none.
   * @throws Error when a message cannot be part of an answer
   */
  next(chunk: Buffer, from: number): number {
    let at = from;
    while (at < chunk.length) {
      if (this.#left === 0) {
        const part = chunk.copy(this.#header, this.#headerBytes, at, at + HEADER_BYTES - this.#headerBytes);
        this.#headerBytes += part;
        at += part;
        if (this.#headerBytes < HEADER_BYTES) break;
        this.#headerBytes = 0;
        this.#left = this.#header.readInt32BE(1) - (HEADER_BYTES - 1);
        this.#check();
      }
      const part = Math.min(this.#left, chunk.length - at);
      this.#left -= part;
      at += part;
      if (this.#left === 0 && this.#header[0] === Backend.ReadyForQuery) break;
    }
    return at;
  }

  #check(): void {
    const type = this.#header[0]!;
    if (this.#expected?.has(type) === false)
      throw new Error(`message type 0x${type.toString(16).padStart(2, '0')}`);
    if (this.#left < 0 || this.#left > MAX_MESSAGE_BYTES)
      throw new Error(`message of ${this.#left + HEADER_BYTES} bytes`);
  }
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
