/** Runs a statement of the console's language for a browser, with the rights of its user, and returns the answer as JSON. */
import type { Socket } from 'node:net';
import { UsageError } from '../../admin/answers.ts';
import type { AuditTrail, Author } from '../../admin/audit.ts';
import type { Rights } from '../../admin/entrance.ts';
import type { Observe } from '../../admin/observe.ts';
import { Operator } from '../../admin/operator.ts';
import { answerTo, invalidCommand } from '../../admin/statements.ts';
import type { Steer } from '../../admin/steer.ts';
import type { Terminal } from '../../admin/terminal.ts';
import type { Logger } from '../../telemetry/log.ts';
import { ClientError } from '../../wire/errors.ts';
import { FrameReader } from '../../wire/frame.ts';
import { parseColumns, parseErrorFields, parseRow } from '../../wire/messages.ts';
import { Backend, HEADER_BYTES } from '../../wire/protocol.ts';

/** Rows of one answer: a page shows no more, and a table of all clients would be long to write as JSON. */
const MAX_ROWS = 2_000;
/** Bytes of one message of an answer, and of a whole answer, far above what any table has. */
const MAX_BYTES = 16 * 1024 * 1024;

export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
  /** there are more rows than an answer has */
  readonly isCut: boolean;
  /** `PAUSE`; '': none */
  readonly tag: string;
  readonly notices: readonly string[];
  readonly error: AnswerError | null;
}

export interface AnswerError {
  readonly code: string;
  readonly message: string;
  readonly detail: string | null;
  readonly hint: string | null;
}

export interface StatementParts {
  readonly observe: Observe;
  readonly steer: Steer;
  readonly log: Logger;
  readonly audit: AuditTrail;
}

export interface Asker {
  readonly user: string;
  readonly address: string;
  readonly rights: Rights;
  /** aborted when the browser has gone */
  readonly signal: AbortSignal;
}

/** A browser, for the time of one statement. It reads the messages of the answer as they come. */
class BrowserTerminal implements Terminal {
  readonly user: string;
  readonly label: string;
  readonly author: Author;
  readonly isHalted = false;
  readonly successor: Socket | null = null;
  readonly #signal: AbortSignal;
  readonly #reader = new FrameReader();
  #bytes = 0;
  #columns: string[] = [];
  readonly #rows: (string | null)[][] = [];
  #isCut = false;
  readonly #notices: string[] = [];
  #tag = '';
  #onLeft: (() => void) | null = null;

  constructor({ user, address, signal }: Asker) {
    this.user = user;
    this.label = `web console: ${user}@${address}`;
    this.author = { user, entrance: 'web console', address };
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#onLeft?.(), { once: true });
  }

  /** A table with too many rows need not go on. */
  get isGone(): boolean {
    return this.#signal.aborted || this.#isCut;
  }

  get answer(): Answer {
    return {
      columns: this.#columns,
      rows: this.#rows,
      isCut: this.#isCut,
      tag: this.#tag,
      notices: this.#notices,
      error: null,
    };
  }

  send(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_BYTES) this.#isCut = true;
    if (this.#isCut) return;
    this.#reader.push(bytes);
    for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) this.#read(frame);
  }

  began(): void {}

  finished(): void {}

  onLeft(callback: (() => void) | null): (() => void) | null {
    const before = this.#onLeft;
    this.#onLeft = callback;
    return before;
  }

  #read(frame: Buffer): void {
    const payload = frame.subarray(HEADER_BYTES);
    switch (frame[0]) {
      case Backend.RowDescription:
        this.#columns = parseColumns(payload) ?? [];
        break;
      case Backend.DataRow:
        if (this.#rows.length < MAX_ROWS) this.#rows.push(parseRow(payload) ?? []);
        else this.#isCut = true;
        break;
      case Backend.CommandComplete:
        this.#tag = payload.toString('utf8', 0, payload.length - 1);
        break;
      case Backend.NoticeResponse: {
        const fields = parseErrorFields(payload);
        const lines = [fields.get('M'), fields.get('D')].filter((line) => line !== undefined);
        this.#notices.push(lines.join('\n'));
        break;
      }
      default:
    }
  }
}

/** @param text one statement */
export async function runStatement(asker: Asker, text: string, parts: StatementParts): Promise<Answer> {
  const terminal = new BrowserTerminal(asker);
  const operator = new Operator(terminal, asker.rights, parts);
  const stop = (): void => parts.steer.recheck();
  asker.signal.addEventListener('abort', stop, { once: true });
  operator.begin();
  try {
    const answer = await answerTo(operator, text);
    if (answer !== null) terminal.send(answer);
    return terminal.answer;
  } catch (error) {
    if (error instanceof ClientError) return failed(error);
    if (error instanceof UsageError) return failed(invalidCommand(text));
    throw error;
  } finally {
    operator.finish();
    asker.signal.removeEventListener('abort', stop);
  }
}

function failed({ code, message, detail, hint }: ClientError): Answer {
  return {
    columns: [],
    rows: [],
    isCut: false,
    tag: '',
    notices: [],
    error: { code, message, detail, hint },
  };
}
