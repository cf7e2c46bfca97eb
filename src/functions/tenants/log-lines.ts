/** The last log lines about each tenant, which the console shows to the tenant's administrators. */
import type { Place } from '../build/places.ts';
import { LOG_LINES } from '../limits.ts';
import type { FunctionLog } from './journal.ts';

export interface LogLine {
  /** ms since 1970 */
  readonly atMs: number;
  /** `audit`: a command of an administrator */
  readonly level: 'info' | 'warning' | 'error' | 'audit';
  /** the name of the user who gave a command; '': there is none */
  readonly user: string;
  readonly text: string;
  /** it is about a call that failed, or files that could not be loaded */
  readonly failure?: Failure;
}

export interface Failure {
  /** FailureOutcome of a call; `refused`: of files */
  readonly outcome: string;
  /** hash of the version that was asked; '': it was none that has a number */
  readonly version: string;
  /** in the author's files; null: unknown */
  readonly place: Place | null;
  /** the lines of the files as they were then, formatted for a terminal; '': none */
  readonly frame: string;
}

/** The lines of one tenant. What functions print can't push out anything else. */
class Lines {
  readonly #lines: LogLine[] = [];
  readonly #printed: LogLine[] = [];

  add(line: LogLine, isPrinted: boolean): void {
    const lines = isPrinted ? this.#printed : this.#lines;
    lines.push(line);
    if (lines.length > (isPrinted ? LOG_LINES.printed : LOG_LINES.kept)) lines.shift();
  }

  /** Oldest first. */
  get all(): LogLine[] {
    return [...this.#lines, ...this.#printed].toSorted((a, b) => a.atMs - b.atMs);
  }
}

/** The fields of a journal's line that matter here. */
interface Fields extends Partial<Place> {
  readonly event?: string;
  readonly outcome?: string;
  readonly version?: string;
  readonly frame?: string;
}

export class LogLines {
  /** by tenant; the one that has been silent for the longest time comes first */
  readonly #lines = new Map<string, Lines>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** A log whose lines are also kept, as lines about this tenant. */
  recorded(owner: string, log: FunctionLog): FunctionLog {
    const write =
      (name: 'info' | 'warn' | 'error', level: LogLine['level']) =>
      (fields: object, message: string): void => {
        this.#add(owner, level, '', message, fields);
        log[name](fields, message);
      };
    return { info: write('info', 'info'), warn: write('warn', 'warning'), error: write('error', 'error') };
  }

  /** A user has given a command about the tenant. */
  audit(owner: string, user: string, text: string): void {
    this.#add(owner, 'audit', user, text);
  }

  /** Oldest first. */
  of(owner: string): LogLine[] {
    return this.#lines.get(owner)?.all ?? [];
  }

  #add(owner: string, level: LogLine['level'], user: string, text: string, fields: Fields = {}): void {
    const lines = this.#lines.get(owner) ?? new Lines();
    this.#lines.delete(owner);
    this.#lines.set(owner, lines);
    const cut = text.length > LOG_LINES.maxLength ? `${text.slice(0, LOG_LINES.maxLength)}…` : text;
    const failure = failureIn(fields);
    const line = { atMs: this.#now(), level, user, text: cut, ...(failure !== null && { failure }) };
    lines.add(line, fields.event === 'function_console');
    for (const oldest of this.#lines.keys()) {
      if (this.#lines.size <= LOG_LINES.tenants) break;
      this.#lines.delete(oldest);
    }
  }
}

function failureIn({ event, outcome, version = '', file, line, column, frame = '' }: Fields): Failure | null {
  const isOfFiles = event === 'rules_refused';
  if (!isOfFiles && event !== 'function_failed') return null;
  const place =
    file === undefined || line === undefined || column === undefined ? null : { file, line, column };
  return {
    outcome: isOfFiles ? 'refused' : (outcome ?? ''),
    version,
    place,
    frame: frame.slice(0, LOG_LINES.maxFrame),
  };
}
