/**
 * The settings of a client's session that follow it from server to server, such as `client_encoding` or `search_path`, and the
 * values last reported to it. A value's index is that of its name in TrackedParameters; undefined: the client has set nothing,
 * and each server's own default applies.
 */
import { canonicalValue } from '../../pool/canonical.ts';
import type { ParameterValues, ServerParameters, TrackedParameters } from '../../pool/parameters.ts';
import type { ServerSettings } from '../../pool/server-settings.ts';

/** A setting in another spelling. */
export interface Respelled {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

/** Indexes of settings that are always tracked (KEPT in parameters.ts). */
const CLIENT_ENCODING = 0;
const STANDARD_STRINGS = 3;

export class SessionSettings {
  readonly #tracked: TrackedParameters;
  #values: ParameterValues = [];
  readonly #reported: ParameterValues = [];
  /** the values before the running transaction changed one; null: unchanged */
  #before: ParameterValues | null = null;
  /**
   * Whether the client itself has set its default_transaction_read_only. `unknown` until the server is asked, because a server
   * reports a change of its configuration in the same way; `likely`: a SET has just been executed.
   */
  #readOnly: 'known' | 'likely' | 'unknown' = 'known';
  /** a SET has been answered since the last ReadyForQuery */
  #hasSet = false;

  constructor(tracked: TrackedParameters) {
    this.#tracked = tracked;
  }

  /** The client's value of a tracked setting; undefined: it has no value of its own, or the name is not tracked. */
  value(name: string): string | undefined {
    return this.#values[this.#tracked.indexOf(name)];
  }

  get clientEncoding(): string | undefined {
    return this.#values[CLIENT_ENCODING];
  }

  /** standard_conforming_strings */
  get standardStrings(): string | undefined {
    return this.#values[STANDARD_STRINGS];
  }

  // Login.

  /** Takes a setting of the StartupMessage. False: the setting is not allowed there. */
  takeAtStartup(name: string, value: string): boolean {
    const index = this.#tracked.indexAtStartup(name);
    if (index < 0) return false;
    this.#values[index] = this.#tracked.intern(value);
    return true;
  }

  /** Gives the client an application_name that the client did not choose. */
  nameApplication(name: string): void {
    this.#values[this.#tracked.indexOf('application_name')] = name;
  }

  /**
   * Decides the value that a new client is told for one setting.
   * @param own the server's own value
   * @returns the client's value if it asked for one, in PostgreSQL's spelling; else the server's
   */
  welcome(name: string, own: string): string {
    const index = this.#tracked.indexOf(name);
    const asked = this.#values[index];
    const value = this.#tracked.intern(asked === undefined ? own : canonicalValue(name, asked, own));
    if (index < 0) return value;
    // A value that the client did not ask for is either kept on every server from now on, or left to each server's default. A
    // requested value is kept as a whole: after `ISO` alone for `DateStyle`, the order would be the previous client's.
    if (this.#tracked.isKept(index) || asked !== undefined) this.#values[index] = value;
    this.#reported[index] = value;
    return value;
  }

  // A new server.

  /** The statements that bring a server to these settings; null: it already has them. */
  difference(server: ServerParameters): string | null {
    return this.#tracked.difference(this.#values, server);
  }

  /**
   * The server now has these settings. Its spelling (`ISO, MDY`) becomes the client's, so that the next comparison finds them
   * equal.
   * @returns the settings whose spelling has changed
   */
  applied(server: ServerSettings): Respelled[] {
    server.noteReset(this.#values);
    const respelled: Respelled[] = [];
    for (const [i, from] of this.#values.entries()) {
      const to = server.parameters[i];
      const name = this.#tracked.names[i];
      if (from === undefined || to === undefined || name === undefined || from === to) continue;
      respelled.push({ name, from, to });
      this.#values[i] = to;
    }
    return respelled;
  }

  /**
   * The settings to report when the server is not the previous one.
   * @returns names and values, which count as reported; null: none
   */
  news(server: ServerParameters): [string, string][] | null {
    return this.#tracked.news(this.#reported, server);
  }

  // Changes.

  /** A SET has been answered. */
  noteSet(): void {
    this.#hasSet = true;
  }

  /**
   * The client's server has reported a setting.
   * @param server has already noted it
   * @param mayRollBack keep the values from before the transaction, for `rollBack`
   * @returns false: the client already knows it, from another server
   */
  reported(name: string, server: ServerParameters, mayRollBack: boolean): boolean {
    const tracked = this.#tracked;
    const index = tracked.indexOf(name);
    if (index < 0) return true;
    const value = server.parameters[index];
    const isNews = tracked.isKept(index) || this.#reported[index] !== value;
    this.#reported[index] = value;
    if (!tracked.isSettable(index)) return isNews;
    if (mayRollBack) this.#before ??= [...this.#values];
    const isDefault = !tracked.isKept(index) && value === server.defaults[index];
    this.#values[index] = isDefault ? undefined : value;
    if (index !== tracked.readOnly) return isNews;
    if (isDefault) this.#readOnly = 'known';
    else this.#readOnly = this.#hasSet ? 'likely' : 'unknown';
    return isNews;
  }

  endQuery(): void {
    this.#hasSet = false;
  }

  /** The transaction has ended on its server: its changes stay. */
  endTransaction(): void {
    this.#before = null;
  }

  /**
   * The transaction was lost with its server, and its changes with it.
   * @param defaults the settings that clients of this pool are welcomed with
   * @param mayTell the client can be told
   * @returns names and values to report, which count as reported
   */
  rollBack(defaults: ReadonlyMap<string, string> | null, mayTell: boolean): [string, string][] {
    const before = this.#before;
    this.#before = null;
    this.#forgetUnknownReadOnly();
    if (before === null) return [];
    const lost = this.#values;
    this.#values = before;
    if (!mayTell) return [];
    const news: [string, string][] = [];
    for (const [i, name] of this.#tracked.names.entries()) {
      if (before[i] === lost[i]) continue;
      const value = before[i] ?? defaults?.get(name);
      if (value === undefined || value === this.#reported[i]) continue;
      this.#reported[i] = value;
      news.push([name, value]);
    }
    return news;
  }

  // default_transaction_read_only (link/read-only.ts).

  /** It is unknown whether default_transaction_read_only is the client's own. */
  get isReadOnlyInDoubt(): boolean {
    return this.#readOnly !== 'known';
  }

  /**
   * Ends the doubt, because the server is being asked, or can't be.
   * @returns whether the value is probably the client's own
   */
  settleReadOnly(): boolean {
    const wasLikely = this.#readOnly === 'likely';
    this.#readOnly = 'known';
    return wasLikely;
  }

  /** The value was not the client's own. If the client has set another one meanwhile, that one stays. */
  forgetReadOnly(value: string | undefined): void {
    const { readOnly } = this.#tracked;
    if (this.#values[readOnly] === value) this.#values[readOnly] = undefined;
  }

  /** The server is gone and can't be asked: the value stays only if a SET has just been executed. */
  #forgetUnknownReadOnly(): void {
    if (this.#readOnly === 'unknown') this.#values[this.#tracked.readOnly] = undefined;
    this.#readOnly = 'known';
  }
}
