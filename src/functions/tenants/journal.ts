/** The log lines about one tenant, and the last error, which the console shows. */
import { dirname } from 'node:path';
import { masked } from '../../sql/fingerprint.ts';
import { placed, printable, type Details, type Place } from '../build/places.ts';
import { JOURNAL } from '../limits.ts';
import type { CallFailure } from '../sandbox/call.ts';
import type { Pin, VersionRecord } from '../store/version-record.ts';

/** The part of a pino logger that is used here. */
export interface FunctionLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** The arguments of a new version's trial call: username, query, in_transaction (docs/user-functions.md). */
export const TRIAL_ARGUMENTS = "('pgswitchyard', 'SELECT 1', false)";

export class Journal {
  #tenant = '';
  #files = '';
  readonly #log: FunctionLog;
  readonly #noun: string;
  #lastError = '';
  #lastErrorAtMs: number | null = null;
  #isRefused = false;
  /** failures are not logged until this time of performance.now() */
  #quietUntil = 0;
  /** failures that were not logged */
  #suppressed = 0;
  /** the same for refused moves */
  #movesUntil = 0;
  #moves = 0;

  /** @param noun a thing that the lines are about */
  constructor(log: FunctionLog, noun = 'user function') {
    this.#log = log;
    this.#noun = noun;
  }

  /** The lines are about these from now on. @param tenant the folder of its files */
  name(tenant: string, files: readonly string[]): void {
    this.#tenant = tenant;
    this.#files = files.join(', ');
  }

  /** The last failure, or the last complaint about the files; '' if the files have been loaded since. */
  get lastError(): string {
    return this.#lastError;
  }

  /** When that was, in ms since 1970; null: never. */
  get lastErrorAtMs(): number | null {
    return this.#lastErrorAtMs;
  }

  /** The last complaint was about files that could not be loaded. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  // --- calls ---------------------------------------------------------------------------------------------------------------

  /**
   * A call failed.
   * @param query '': the call had none
   * @param version its hash; '': there was none
   * @param place null: unknown
   * @param opened the failure suspended the tenant
   */
  failed(
    query: string,
    { outcome, message }: CallFailure,
    { version, place, opened }: { version: string; place: Place | null; opened: boolean },
  ): void {
    const error = printable(`${placed(place)}${message}`);
    // the console keeps the reason why a tenant was suspended
    if (outcome !== 'suspended' || this.#lastError === '') this.#remember(error);
    // logged for the tenant as a whole (budgets.ts)
    if (outcome === 'over_budget') return;
    const now = performance.now();
    if (now < this.#quietUntil && !opened) {
      this.#suppressed++;
      return;
    }
    const more = this.#suppressed > 0 ? ` (${this.#suppressed} more since the last line)` : '';
    const shape = printable(masked(query));
    const about = shape === '' ? '' : ` [query ${shape}]`;
    this.#quietUntil = now + JOURNAL.quietMs;
    this.#suppressed = 0;
    this.#log.warn(
      {
        event: 'function_failed',
        tenant: this.#tenant,
        outcome,
        ...(version !== '' && { version }),
        ...place,
        ...(shape !== '' && { query: shape }),
      },
      `${this.#noun} of ${this.#tenant} failed: ${outcome}: ${error}${about}${more}${opened ? '; suspended' : ''}`,
    );
  }

  /** A check of a remembered decision had another outcome. Neither text is part of a query. */
  differed(remembered: string, evaluated: string): void {
    const error = `two answers to one question: remembered: ${remembered}; evaluated: ${evaluated}`;
    this.#remember(printable(error));
    this.#log.error(
      { event: 'decision_differed', tenant: this.#tenant, remembered, evaluated },
      `decisions of ${this.#tenant} are not remembered any more: ${printable(error)}`,
    );
  }

  /** A call tried to change something that outlives it, in a version that was found pure. @param why printable */
  changed(why: string): void {
    this.#log.warn(
      { event: 'decisions_not_remembered', tenant: this.#tenant, why },
      `decisions of ${this.#tenant} are not remembered any more: ${why}`,
    );
  }

  /** A move was refused. @returns whether to log it: a transaction may ask for a move with each of its queries */
  moveRefused(): boolean {
    const now = performance.now();
    if (now >= this.#movesUntil) {
      this.#movesUntil = now + JOURNAL.quietMs;
      this.#moves = 0;
    }
    return this.#moves++ < JOURNAL.maxMoves;
  }

  /** Functions printed a line. */
  printed(line: string): void {
    this.#log.info(
      { event: 'function_console', tenant: this.#tenant },
      `console of ${this.#tenant}: ${line}`,
    );
  }

  // --- versions ------------------------------------------------------------------------------------------------------------

  /** @param version hash of the code that now serves */
  loaded(version: string): void {
    this.forgive();
    this.#log.info(
      { event: 'rules_loaded', tenant: this.#tenant, version },
      `${this.#noun}s loaded: ${this.#files} (version ${version})`,
    );
  }

  /** Nobody needs the functions now. @param version hash of the code that serves as soon as somebody does */
  kept(version: string): void {
    this.forgive();
    this.#log.info(
      { event: 'rules_checked', tenant: this.#tenant, version },
      `user functions checked: ${this.#files} (version ${version}), to be loaded when they are used`,
    );
  }

  /**
   * A version serves that is not that of the files.
   * @param pin why; null: it served before a restart, and the files can't be loaded
   */
  keptServes({ number, hash }: Pick<VersionRecord, 'number' | 'hash'>, pin: Pin | null): void {
    const why = pin === null ? 'which served before' : reasonOf(pin);
    this.#log.warn(
      { event: 'rules_kept', tenant: this.#tenant, version: hash, number },
      `${this.#noun}s of ${this.#tenant}: version ${number} (${hash}), ${why}, serves`,
    );
  }

  /** A version that is to serve can't be loaded. */
  keptRefused({ number }: Pick<VersionRecord, 'number'>, complaint: string): void {
    this.#remember(printable(`version ${number} can't be loaded: ${complaint}`));
    this.#log.error(
      { event: 'rules_kept_refused', tenant: this.#tenant, number },
      `${this.#noun}s of ${this.#tenant}: ${this.#lastError}`,
    );
  }

  /** The files hold other code than the pinned version. @param version its hash */
  newer(version: string, pin: Pin): void {
    this.forgive();
    if (pin.by === 'fleet') return this.#differs(version);
    this.#log.info(
      { event: 'rules_newer', tenant: this.#tenant, version },
      `${this.#noun}s of ${this.#tenant}: version ${version} is a candidate: version ${pin.number} serves, ${reasonOf(pin)}, until RESUME or PROMOTE FUNCTIONS`,
    );
  }

  /** The files hold other code than the fleet serves. */
  #differs(version: string): void {
    this.#log.warn(
      { event: 'rules_differ', tenant: this.#tenant, version },
      `${this.#noun}s of ${this.#tenant}: the files here hold version ${version}, and the fleet serves another one: it is a candidate here, and serves when it is promoted, or when the fleet's proxies see their files change to it`,
    );
  }

  /** An artifact can't be used, and the source beside it is. @param reason with its name */
  artifactNotUsed(reason: string): void {
    this.#log.error(
      { event: 'artifact_refused', tenant: this.#tenant },
      `user functions of ${this.#tenant}: ${printable(reason)}; the source beside it is bundled instead`,
    );
  }

  /** The files hold the serving version again. Logged only if the last line about them was a complaint. */
  restored(version: string): void {
    if (this.#isRefused) this.loaded(version);
  }

  /** The files hold the code that was pinned. @param version its hash */
  caughtUp(version: string): void {
    this.#log.info(
      { event: 'rules_unpinned', tenant: this.#tenant, version },
      `${this.#noun}s of ${this.#tenant}: the files hold version ${version}, which is not pinned any more`,
    );
  }

  /** The last error no longer applies. */
  forgive(): void {
    this.#isRefused = false;
    this.#remember('');
  }

  /**
   * The files can't be loaded.
   * @param serving hash of the code that stays active; '': none
   * @param complaint on one line, with its places
   */
  refused(serving: string, complaint: string, { place, frame }: Details): void {
    this.#isRefused = true;
    this.#remember(printable(complaint));
    this.#log.error(
      { event: 'rules_refused', tenant: this.#tenant, ...place, ...(frame !== '' && { frame }) },
      `${this.#noun}s not loaded; ${meanwhile(serving)}: ${this.#files}: ${this.#lastError}`,
    );
  }

  /**
   * The files can't be loaded now, and will be tried again.
   * @param serving hash of the code that stays active; '': none
   * @param complaint the reason, and the time of the next attempt
   */
  postponed(serving: string, complaint: string): void {
    this.#remember(printable(complaint));
    this.#log.warn(
      { event: 'rules_postponed', tenant: this.#tenant },
      `${this.#noun}s not loaded yet; ${meanwhile(serving)}: ${this.#files}: ${this.#lastError}`,
    );
  }

  /** The trial call was routed to a database that the functions may not name. */
  misdirected(message: string): void {
    this.#log.warn(
      { event: 'rules_misdirected', tenant: this.#tenant },
      `${this.#noun}s of ${this.#tenant}: in the trial call ${TRIAL_ARGUMENTS} ${printable(message)}`,
    );
  }

  /**
   * A version can reject queries, and some could get past it.
   * @param options those that say `pass`
   * @param unseen queries of more bytes pass unseen, and those that run into another limit; null: they get errors
   */
  passes(options: readonly string[], unseen: number | null): void {
    const which =
      unseen === null
        ? 'that they throw on or answer wrongly'
        : `that they fail on, and those over user_function_max_query (${unseen} bytes), which they never see (user_function_over_limit = pass)`;
    this.#log.warn(
      { event: 'rules_can_be_passed', tenant: this.#tenant },
      `${this.#noun}s of ${this.#tenant} can reject queries, but ${options.join(' and ')} = pass lets queries through ${which}: set error or disconnect`,
    );
  }

  /** A version can reject or rewrite queries, and an outage of the sandbox lets queries pass. */
  passesInOutages(): void {
    this.#log.warn(
      { event: 'rules_can_be_passed', tenant: this.#tenant },
      `user functions of ${this.#tenant} can reject or rewrite queries, but user_function_unavailable = pass lets queries through unjudged when no sandbox process can be started for query_wait_timeout: set error`,
    );
  }

  /** The routing function is the operator's, and runs together with a rewriting function of a database's own. */
  mixed(routing: string, rewrite: string): void {
    this.#log.warn(
      { event: 'rules_mixed', tenant: dirname(rewrite) },
      `${routing} runs in one isolate with ${rewrite}, which is a database's own: it may only name what that database's functions may (routing_targets adds more)`,
    );
  }

  // --- files ---------------------------------------------------------------------------------------------------------------

  /** @param paths some of the world-writable paths; @param count the number of all */
  writable(paths: readonly string[], count: number): void {
    const more = count > paths.length ? ` and ${count - paths.length} more` : '';
    this.#log.warn(
      { event: 'rules_writable', tenant: this.#tenant },
      `${this.#noun}s of ${this.#tenant} can be changed by any user: world-writable: ${paths.map(printable).join(', ')}${more}`,
    );
  }

  /**
   * A file of the tenant has gone.
   * @param serving hash of the code that stays active; '': none
   * @param graceMs how long it stays active at least
   */
  gone(file: string, serving: string, graceMs: number): void {
    const rest = serving === '' ? 'nothing is loaded' : `version ${serving} stays active`;
    this.#missing(
      `${file} is gone: ${rest} for ${graceMs / 1000} s, unless the file comes back or RELOAD confirms its removal`,
    );
  }

  /** A vanished file did not return in time. @returns why calls fail */
  overdue(file: string): string {
    const message = `${file} is gone: each query is a failure until it is back, or RELOAD confirms its removal`;
    this.#missing(message);
    return message;
  }

  /** A vanished file is back. */
  back(file: string): void {
    this.#remember('');
    this.#log.info(
      { event: 'rules_back', tenant: this.#tenant },
      `${this.#noun}s of ${this.#tenant}: ${printable(file)} is back`,
    );
  }

  #missing(message: string): void {
    this.#remember(printable(message));
    this.#log.warn(
      { event: 'rules_gone', tenant: this.#tenant },
      `${this.#noun}s of ${this.#tenant}: ${this.#lastError}`,
    );
  }

  #remember(error: string): void {
    this.#lastError = error;
    this.#lastErrorAtMs = error === '' ? null : Date.now();
  }
}

/** Why a pinned version serves. */
function reasonOf({ by, user, untilFiles }: Pin): string {
  if (by === 'fleet') return 'which the fleet serves';
  return untilFiles ? `which ${printable(user)} has promoted` : `to which ${printable(user)} has gone back`;
}

/** The state while files can't be loaded. @param serving hash; '': nothing */
function meanwhile(serving: string): string {
  return serving === '' ? 'there is no earlier version' : `version ${serving} stays active`;
}
