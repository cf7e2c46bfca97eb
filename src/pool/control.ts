/** The proxy's own queries: one query and its answer, on a server that no client is linked to. */
import { serialize } from 'pg-protocol';
import { CommandTag, commandTag } from '../sql/command-tag.ts';
import { FrameReader } from '../wire/frame.ts';
import { parseColumns, parseErrorFields, parseParameterStatus, parseRow, query } from '../wire/messages.ts';
import { Backend, HEADER_BYTES, TxStatus } from '../wire/protocol.ts';
import type { Server, ServerUser } from './server.ts';

/** Rows of one of the proxy's own queries, as text by column name. */
export type Row = Readonly<Record<string, string | null>>;

/** One of the proxy's own queries failed: with the server's message and SQLSTATE, or because the connection was lost. */
export class ControlError extends Error {
  readonly code: string;
  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }

  /** True: the connection was lost. False: the query was refused. */
  get isLoss(): boolean {
    return /^(?:08|57)/.test(this.code);
  }
}

/** The largest size of an answer, and of each message in it, in bytes. */
const MAX_ANSWER_BYTES = 16 << 20;
/** The timeout in ms where server_connect_timeout is 0: pgbouncer's default for that option. */
const DEFAULT_TIMEOUT_MS = 15_000;

/**
 * The time limit of the proxy's own queries, in ms: that of a login. A client waits for its server meanwhile, and a server
 * that is silent for so long is useless.
 */
export function ownQueryTimeout(server: Server): number {
  return server.pool.context.settings.server_connect_timeout || DEFAULT_TIMEOUT_MS;
}

const TX_STATUSES: ReadonlySet<number> = new Set(Object.values(TxStatus));

/** Messages that occur only in answers to a client's own messages. */
const STRAYS: ReadonlySet<number> = new Set([
  Backend.CloseComplete,
  Backend.PortalSuspended,
  Backend.ParameterDescription,
  Backend.FunctionCallResponse,
  Backend.CopyOutResponse,
  Backend.CopyData,
  Backend.CopyDone,
]);

export interface ControlOptions {
  /**
   * Parameters of the query, which then uses the extended protocol, as pgbouncer's auth_query does, so that nothing in them
   * can become SQL.
   */
  readonly values?: readonly string[];
  /** Columns are called 0, 1, ..., since several may have the same name. */
  readonly byPosition?: boolean;
  /** Called with the names of the columns. */
  readonly onColumns?: (names: readonly string[]) => void;
  /** The server is closed if there is no answer within this time, in ms; `ownQueryTimeout` by default. */
  readonly timeoutMs?: number;
  /**
   * The query is empty, and its answer begins with EmptyQueryResponse. Messages before that are left over from the server's
   * last user.
   */
  readonly afterStrays?: boolean;
  /** Called with each setting that the server reports as changed. */
  readonly onParameter?: (name: string, value: string) => void;
}

/**
 * Runs one of the proxy's own queries (reset, check, connect_query, auth_query, probes, SETs) on a server that no client is
 * linked to. The server belongs to the query while it runs. A server that does not answer in time, or whose answer makes no
 * sense, is closed, and the log says why.
 * Messages after the answer in the same read, usually a FATAL, are handled as those of an idle server: when the promise
 * resolves, the server may be closed. The caller must check before using it again.
 * @throws ControlError
 */
export function runControl(server: Server, sql: string, options: ControlOptions = {}): Promise<Row[]> {
  return new Promise((resolve, reject) => {
    new Conversation(server, options, resolve, reject).begin(sql);
  });
}

/** One query and its answer. */
class Conversation implements ServerUser {
  readonly #server: Server;
  readonly #options: ControlOptions;
  readonly #resolve: (rows: Row[]) => void;
  readonly #reject: (error: Error) => void;
  readonly #reader = new FrameReader(MAX_ANSWER_BYTES);
  readonly #rows: Row[] = [];
  #received = 0;
  #columns: string[] = [];
  #failure: ControlError | null = null;
  #isAnswered: boolean;
  #isOver = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    server: Server,
    options: ControlOptions,
    resolve: (rows: Row[]) => void,
    reject: (error: Error) => void,
  ) {
    this.#server = server;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#isAnswered = options.afterStrays !== true;
  }

  begin(sql: string): void {
    const { values, timeoutMs } = this.#options;
    const limit = timeoutMs || ownQueryTimeout(this.#server);
    this.#timer = setTimeout(() => {
      this.#server.close(`no answer to a query of the proxy within ${limit} ms`, { level: 'warn' });
    }, limit);
    this.#server.attach(this);
    this.#server.write(values === undefined ? query(sql) : extended(sql, values));
  }

  onServerBytes(server: Server, chunk: Buffer): void {
    this.#received += chunk.length;
    this.#reader.push(chunk);
    for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) {
      if (!this.#handle(frame[0]!, frame.subarray(HEADER_BYTES))) {
        const type = JSON.stringify(String.fromCharCode(frame[0]!));
        return this.#lose(
          `unexpected answer to a query of the proxy: message ${type} of ${frame.length} bytes`,
        );
      }
      if (!this.#isOver) continue;
      // messages after the answer are for the server's next user; the server may announce its end
      const rest = this.#reader.rest();
      if (rest.length > 0) server.receive(rest);
      return;
    }
    if (this.#reader.isBroken) this.#lose('bad pkt header');
    else if (this.#received > MAX_ANSWER_BYTES) this.#lose('too long an answer to a query of the proxy');
  }

  onServerClosed(_server: Server, reason: string): void {
    this.#finish(this.#failure ?? new ControlError(reason, '08006'));
  }

  onServerDrain(): void {}

  /** The server's messages are not an answer, so nothing after them can be relied on. */
  #lose(reason: string): void {
    // a probe, which asks many times a second, reports its failure itself
    this.#server.close(reason, { level: this.#server.isProbe ? 'info' : 'warn' });
  }

  /** @returns false: no such message can occur here */
  #handle(type: number, payload: Buffer): boolean {
    switch (type) {
      case Backend.RowDescription:
        return this.#takeColumns(payload);
      case Backend.DataRow:
        return this.#takeRow(payload);
      case Backend.ParameterStatus:
        return this.#takeParameter(payload);
      case Backend.CommandComplete:
        return this.#takeTag(payload);
      case Backend.ErrorResponse: {
        const fields = parseErrorFields(payload);
        this.#failure = new ControlError(fields.get('M') ?? 'error', fields.get('C') ?? '58000');
        return true;
      }
      case Backend.EmptyQueryResponse:
        this.#isAnswered = true;
        return true;
      case Backend.ReadyForQuery:
        return this.#takeReady(payload);
      case Backend.ParseComplete:
      case Backend.BindComplete:
      case Backend.NoData:
      case Backend.NoticeResponse:
      case Backend.NotificationResponse:
        return true;
      default:
        return !this.#isAnswered && STRAYS.has(type);
    }
  }

  #takeColumns(payload: Buffer): boolean {
    const columns = parseColumns(payload);
    if (columns === null) return false;
    this.#options.onColumns?.(columns);
    this.#columns = this.#options.byPosition === true ? columns.map((_, i) => String(i)) : columns;
    return true;
  }

  #takeRow(payload: Buffer): boolean {
    const values = parseRow(payload);
    if (values === null || values.length !== this.#columns.length) return !this.#isAnswered;
    this.#addRow(values);
    return true;
  }

  #takeParameter(payload: Buffer): boolean {
    const parameter = parseParameterStatus(payload);
    if (parameter === null) return false;
    this.#server.settings.note(parameter.name, parameter.value);
    this.#options.onParameter?.(parameter.name, parameter.value);
    return true;
  }

  #takeTag(payload: Buffer): boolean {
    const tag = commandTag(payload, 0, payload.length);
    if (tag === CommandTag.DiscardAll || tag === CommandTag.DeallocateAll) this.#server.prepared.clear();
    return payload.includes(0);
  }

  #takeReady(payload: Buffer): boolean {
    const status = payload[0];
    if (payload.length !== 1 || !TX_STATUSES.has(status!)) return false;
    // the end of a left-over answer
    if (!this.#isAnswered) return true;
    this.#server.noteStatus(status!);
    if (this.#server.user === this) this.#server.detach();
    this.#finish(this.#failure);
    return true;
  }

  #addRow(values: (string | null)[]): void {
    const row: Record<string, string | null> = {};
    // the first of several columns with the same name counts
    for (const [i, column] of this.#columns.entries())
      if (!Object.hasOwn(row, column)) row[column] = values[i] ?? null;
    this.#rows.push(row);
  }

  #finish(error: ControlError | null): void {
    this.#isOver = true;
    if (this.#timer) clearTimeout(this.#timer);
    if (error) this.#reject(error);
    else this.#resolve(this.#rows);
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
