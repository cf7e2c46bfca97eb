import { dirname } from 'node:path';
import { placed, printable, type Details, type Place } from '../build/places.ts';
import type { CallFailure, FailureOutcome } from '../sandbox/host.ts';
import { queryShape } from '../../sql/fingerprint.ts';
import { JOURNAL } from '../limits.ts';

/** The part of a pino logger that is used here. */
export interface FunctionLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Counters of a set, for the console. */
export interface Counters {
  calls: number;
  routed: number;
  rewritten: number;
  rejected: number;
  /** moves that were asked for inside a transaction or pipeline */
  refusedMoves: number;
  readonly failures: Partial<Record<FailureOutcome, number>>;
}

/** What a new version is tried with: username, query, in_transaction. docs/user-functions.md has them. */
export const TRIAL_ARGUMENTS = "('pgswitchyard', 'SELECT 1', false)";

/** What is told of a set of user functions, in the log and on the console. */
export class Journal {
  readonly counters: Counters = {
    calls: 0,
    routed: 0,
    rewritten: 0,
    rejected: 0,
    refusedMoves: 0,
    failures: {},
  };
  #lastError = '';
  #lastErrorAtMs: number | null = null;
  /** what the files hold now could not be loaded */
  #isRefused = false;
  #quietUntil = 0;
  #suppressed = 0;
  #movesUntil = 0;
  #moves = 0;
  #printUntil = 0;
  #printed = 0;
  #printedLength = 0;
  readonly #tenant: string;
  readonly #names: string;
  readonly #log: FunctionLog;

  /** @param names of the files, for the log */
  constructor(tenant: string, names: string, log: FunctionLog) {
    this.#tenant = tenant;
    this.#names = names;
    this.#log = log;
  }

  /** The last failure, or the last complaint about the files; '' when the files have been loaded since. */
  get lastError(): string {
    return this.#lastError;
  }

  /** When that was, in ms since 1970; null: there is none. */
  get lastErrorAtMs(): number | null {
    return this.#lastErrorAtMs;
  }

  /** The files hold a version that could not be loaded. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  #remember(error: string): void {
    this.#lastError = error;
    this.#lastErrorAtMs = error === '' ? null : Date.now();
  }

  /**
   * A call failed.
   * @param query '': it was not looked at
   * @param place null: not known
   * @param opened its set has been suspended because of it
   */
  failed(query: string, { outcome, message }: CallFailure, place: Place | null, opened: boolean): void {
    this.counters.failures[outcome] = (this.counters.failures[outcome] ?? 0) + 1;
    const error = printable(`${placed(place)}${message}`);
    // the console keeps the cause
    if (outcome !== 'suspended' || this.#lastError === '') this.#remember(error);
    const now = performance.now();
    if (now < this.#quietUntil && !opened) {
      this.#suppressed++;
      return;
    }
    const more = this.#suppressed > 0 ? ` (${this.#suppressed} more since the last line)` : '';
    const shape = printable(queryShape(query));
    const about = shape === '' ? '' : ` [query ${shape}]`;
    this.#quietUntil = now + JOURNAL.quietMs;
    this.#suppressed = 0;
    this.#log.warn(
      {
        event: 'function_failed',
        tenant: this.#tenant,
        outcome,
        ...place,
        ...(shape !== '' && { query: shape }),
      },
      `user function of ${this.#tenant} failed: ${outcome}: ${error}${about}${more}${opened ? '; suspended' : ''}`,
    );
  }

  /** A move was refused. @returns whether to say so: a transaction may ask for one with each of its queries */
  moveRefused(): boolean {
    this.counters.refusedMoves++;
    const now = performance.now();
    if (now >= this.#movesUntil) {
      this.#movesUntil = now + JOURNAL.quietMs;
      this.#moves = 0;
    }
    return this.#moves++ < JOURNAL.maxMoves;
  }

  /** @param version hash of the code that serves now */
  loaded(version: string): void {
    this.forgive();
    this.#log.info(
      { event: 'rules_loaded', tenant: this.#tenant, version },
      `user functions loaded: ${this.#names} (version ${version})`,
    );
  }

  /** The files are again what serves. That is only worth a word where the last thing that was said is a complaint. */
  restored(version: string): void {
    if (this.#isRefused) this.loaded(version);
  }

  /** The same code has been loaded once more. */
  forgive(): void {
    this.#isRefused = false;
    this.#remember('');
  }

  /**
   * @param serving hash of the code that goes on meanwhile; '': there is none
   * @param complaint on one line, with its places
   */
  refused(serving: string, complaint: string, { place, frame }: Details): void {
    this.#isRefused = true;
    this.#remember(printable(complaint));
    const rest = serving === '' ? 'there is no earlier version' : `version ${serving} goes on`;
    this.#log.error(
      { event: 'rules_refused', tenant: this.#tenant, ...place, ...(frame !== '' && { frame }) },
      `user functions not loaded, ${rest}: ${this.#names}: ${this.#lastError}`,
    );
  }

  /** The trial call was routed to a database that the functions may not name. */
  misdirected(message: string): void {
    this.#log.warn(
      { event: 'rules_misdirected', tenant: this.#tenant },
      `user functions of ${this.#tenant}: in the trial call ${TRIAL_ARGUMENTS} ${printable(message)}`,
    );
  }

  /**
   * What serves can reject, and does not see all queries.
   * @param options that say `pass`
   * @param maxQueryBytes user_function_max_query
   */
  passes(options: readonly string[], maxQueryBytes: number): void {
    this.#log.warn(
      { event: 'rules_can_be_passed', tenant: this.#tenant },
      `user functions of ${this.#tenant} can reject queries, but ${options.join(' and ')} = pass lets queries through that they fail on, and those over user_function_max_query (${maxQueryBytes} bytes), which they never see: set error or disconnect`,
    );
  }

  /** The routing function is the operator's, and the rewriting function that it runs with is a database's own. */
  mixed(routing: string, rewrite: string): void {
    this.#log.warn(
      { event: 'rules_mixed', tenant: dirname(rewrite) },
      `${routing} runs in one isolate with ${rewrite}, which is a database's own: it may only name what that database's functions may (routing_targets adds more)`,
    );
  }

  /** @param complaint why what the files hold is not loaded now, and when it is */
  postponed(serving: string, complaint: string): void {
    this.#remember(printable(complaint));
    const rest = serving === '' ? 'there is no earlier version' : `version ${serving} goes on`;
    this.#log.warn(
      { event: 'rules_postponed', tenant: this.#tenant },
      `user functions not loaded yet, ${rest}: ${this.#names}: ${this.#lastError}`,
    );
  }

  /** @param paths some of those that anybody may write to; @param count how many there are */
  writable(paths: readonly string[], count: number): void {
    const more = count > paths.length ? ` and ${count - paths.length} more` : '';
    this.#log.warn(
      { event: 'rules_writable', tenant: this.#tenant },
      `user functions of ${this.#tenant} can be changed by anybody: world-writable: ${paths.map(printable).join(', ')}${more}`,
    );
  }

  /** Files of the set are gone. @param what goes on, and for how long */
  gone(message: string): void {
    this.#remember(printable(message));
    this.#log.warn(
      { event: 'rules_gone', tenant: this.#tenant },
      `user functions of ${this.#tenant}: ${this.#lastError}`,
    );
  }

  /** The file is there again. */
  back(file: string): void {
    this.#remember('');
    this.#log.info(
      { event: 'rules_back', tenant: this.#tenant },
      `user functions of ${this.#tenant}: ${printable(file)} is there again`,
    );
  }

  /** Lines that the functions printed. What is over the limits is not looked at. */
  printed(printed: string): void {
    const text = printed.slice(0, JOURNAL.maxPrintedText);
    const now = performance.now();
    if (now >= this.#printUntil) {
      if (this.#printed > JOURNAL.maxPrinted)
        this.#print(`(${this.#printed - JOURNAL.maxPrinted} more lines were left out)`);
      this.#printUntil = now + JOURNAL.quietMs;
      this.#printed = 0;
      this.#printedLength = 0;
    }
    for (const line of text.split('\n')) {
      this.#printedLength += line.length;
      if (this.#printed++ < JOURNAL.maxPrinted && this.#printedLength <= JOURNAL.maxPrintedLength)
        this.#print(printable(line));
    }
  }

  #print(line: string): void {
    this.#log.info(
      { event: 'function_console', tenant: this.#tenant },
      `console of ${this.#tenant}: ${line}`,
    );
  }
}
