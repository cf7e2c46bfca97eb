/** Runs a statement of the console's language for a browser, with the rights of its user, and returns the answer as JSON. */
import type { Socket } from 'node:net';
import { UsageError } from '../../admin/answers.ts';
import type { Rights } from '../../admin/entrance.ts';
import { consoleErrors } from '../../admin/errors.ts';
import type { Observe } from '../../admin/observe.ts';
import { Operator } from '../../admin/operator.ts';
import { answerTo } from '../../admin/statements.ts';
import type { Steer } from '../../admin/steer.ts';
import type { Terminal } from '../../admin/terminal.ts';
import type { Logger } from '../../telemetry/log.ts';
import { ClientError } from '../../wire/errors.ts';
import { FrameReader } from '../../wire/frame.ts';
import { parseColumns, parseErrorFields, parseRow } from '../../wire/messages.ts';
import { Backend, HEADER_BYTES } from '../../wire/protocol.ts';

/** Bytes of one answer: 1,000 databases take less than a tenth of it. */
const MAX_ANSWER = 16 * 1024 * 1024;

export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
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
}

export interface Asker {
  readonly user: string;
  readonly address: string;
  readonly rights: Rights;
  /** aborted when the browser has gone */
  readonly signal: AbortSignal;
}

/** A browser, for the time of one statement. */
class BrowserTerminal implements Terminal {
  readonly user: string;
  readonly label: string;
  readonly source: string;
  readonly isHalted = false;
  readonly successor: Socket | null = null;
  readonly parts: Buffer[] = [];
  readonly #signal: AbortSignal;
  #length = 0;
  #onLeft: (() => void) | null = null;

  constructor({ user, address, signal }: Asker) {
    this.user = user;
    this.label = `web console: ${user}@${address}`;
    this.source = `web console from ${address}`;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#onLeft?.(), { once: true });
  }

  get isGone(): boolean {
    return this.#signal.aborted || this.#length > MAX_ANSWER;
  }

  send(bytes: Buffer): void {
    this.parts.push(bytes);
    this.#length += bytes.length;
  }

  began(): void {}

  finished(): void {}

  onLeft(callback: (() => void) | null): (() => void) | null {
    const before = this.#onLeft;
    this.#onLeft = callback;
    return before;
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
    return read(terminal.parts);
  } catch (error) {
    if (error instanceof ClientError) return failed(error);
    if (error instanceof UsageError) return failed(consoleErrors.invalidCommand(text));
    throw error;
  } finally {
    operator.finish();
    asker.signal.removeEventListener('abort', stop);
  }
}

function failed({ code, message, detail, hint }: ClientError): Answer {
  return { columns: [], rows: [], tag: '', notices: [], error: { code, message, detail, hint } };
}

/** Reads the messages of an answer. */
function read(parts: readonly Buffer[]): Answer {
  let columns: string[] = [];
  const rows: (string | null)[][] = [];
  const notices: string[] = [];
  let tag = '';
  const reader = new FrameReader();
  reader.push(Buffer.concat(parts));
  for (let frame = reader.next(); frame !== null; frame = reader.next()) {
    const type = frame[0];
    const payload = frame.subarray(HEADER_BYTES);
    if (type === Backend.RowDescription) columns = parseColumns(payload) ?? [];
    else if (type === Backend.DataRow) rows.push(parseRow(payload) ?? []);
    else if (type === Backend.CommandComplete) tag = payload.toString('utf8', 0, payload.length - 1);
    else if (type === Backend.NoticeResponse) {
      const fields = parseErrorFields(payload);
      notices.push([fields.get('M'), fields.get('D')].filter((line) => line !== undefined).join('\n'));
    }
  }
  return { columns, rows, tag, notices, error: null };
}
