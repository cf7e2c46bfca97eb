/**
 * Settings that follow a client from server to server: those that PostgreSQL 14 to 18 reports with ParameterStatus
 * ("Asynchronous Operations" in its protocol-flow.html), and what track_extra_parameters names. A value list has one place
 * for each name.
 */

/**
 * A client keeps what it was welcomed with, or has set since, on every server: drivers read and write by it. The first of
 * them is looked at by place.
 */
const KEPT = [
  'client_encoding',
  'DateStyle',
  'TimeZone',
  'standard_conforming_strings',
  'application_name',
  'IntervalStyle',
];
/** The one of them in whose values PostgreSQL tells capitals apart. */
const APPLICATION_NAME = KEPT.indexOf('application_name');
/**
 * A client has a value of its own only after it has set one. Else each server's own default applies, so that nobody writes
 * to a server that its operator has made read-only.
 */
const OWN = ['default_transaction_read_only', 'search_path', 'scram_iterations', 'session_authorization'];
/** Nobody can set these: a client is told where its present server differs from the last one. */
const REPORTED = ['in_hot_standby', 'is_superuser', 'server_version', 'server_encoding', 'integer_datetimes'];

/** how many values are kept as one object each, and how long one may be */
const MAX_VALUES = 1000;
const MAX_VALUE_LENGTH = 256;

export type ParameterValues = (string | undefined)[];

/** What of a server's settings is looked at. */
export interface ServerParameters {
  /** as it last reported them */
  readonly parameters: Readonly<ParameterValues>;
  /** as its own configuration has them, which RESET leads back to */
  readonly reset: Readonly<ParameterValues>;
  /** of a client that has set nothing: `reset`, and what connect_query has made of it */
  readonly defaults: Readonly<ParameterValues>;
}

export class TrackedParameters {
  readonly names: readonly string[];
  /** where default_transaction_read_only is */
  readonly readOnly: number;
  readonly #index = new Map<string, number>();
  readonly #values = new Map<string, string>();
  /** places before it are of what a client keeps; then come those that it may set, and those that it may not */
  readonly #firstOwn: number;
  readonly #firstReported: number;
  /** of OWN: those that track_extra_parameters names, too */
  readonly #listed: ReadonlySet<string>;

  /** @param extra names of track_extra_parameters */
  constructor(extra: readonly string[]) {
    const names = [...KEPT];
    const isIn = (list: readonly string[], name: string): boolean =>
      list.some((known) => known.toLowerCase() === name.toLowerCase());
    for (const name of extra) {
      if (!isIn(names, name) && !isIn(OWN, name) && !isIn(REPORTED, name)) names.push(name);
    }
    this.#firstOwn = names.length;
    this.readOnly = this.#firstOwn + OWN.indexOf('default_transaction_read_only');
    names.push(...OWN);
    this.#firstReported = names.length;
    names.push(...REPORTED);
    this.names = names;
    names.forEach((name, i) => this.#index.set(name.toLowerCase(), i));
    this.#listed = new Set(extra.map((name) => name.toLowerCase()));
  }

  /** The place of a parameter, or -1 when it isn't tracked; names are compared without case. */
  indexOf(name: string): number {
    return this.#index.get(name.toLowerCase()) ?? -1;
  }

  /** The place of a parameter that a StartupMessage may set, or -1. */
  indexAtStartup(name: string): number {
    const index = this.indexOf(name);
    if (index < this.#firstOwn) return index;
    return index < this.#firstReported && this.#listed.has(name.toLowerCase()) ? index : -1;
  }

  /**
   * The same text as one object for everybody who has it: values are compared each time that a client gets a server, and
   * two objects would be compared letter by letter.
   */
  intern(value: string): string {
    const known = this.#values.get(value);
    if (known !== undefined) return known;
    // clients choose the values: what is forgotten is compared more slowly
    if (this.#values.size >= MAX_VALUES) this.#values.clear();
    if (value.length <= MAX_VALUE_LENGTH) this.#values.set(value, value);
    return value;
  }

  /** Whether a client has what it was welcomed with until it sets something else. */
  isKept(index: number): boolean {
    return index < this.#firstOwn;
  }

  /** Of a server's values those that a client keeps: for a query of the proxy's own, which has none of any client's. */
  kept(values: Readonly<ParameterValues>): ParameterValues {
    return values.slice(0, this.#firstOwn);
  }

  /** Whether a client may set it. */
  isSettable(index: number): boolean {
    return index < this.#firstReported;
  }

  /** The statements that bring a server to a client's settings, or null when they agree already. */
  difference(client: Readonly<ParameterValues>, server: ServerParameters): string | null {
    const { parameters, defaults } = server;
    let sql: string | null = null;
    for (let i = 0; i < this.#firstReported; i++) {
      const wanted = client[i];
      const current = parameters[i];
      if (wanted === current) continue;
      if (wanted === undefined) {
        if (i < this.#firstOwn || current === defaults[i]) continue;
        sql = `${sql ?? ''}${this.#restoration(i, server)};`;
        continue;
      }
      const ignoresCase = i < KEPT.length && i !== APPLICATION_NAME;
      if (ignoresCase && current?.toLowerCase() === wanted.toLowerCase()) continue;
      // A parameter that this server never reported (an older version) can't be compared: setting it could be an error.
      if (current === undefined && i >= KEPT.length) continue;
      sql = `${sql ?? ''}${assignment(this.names[i]!, wanted)};`;
    }
    return sql;
  }

  /** RESET, unlike SET, lets the server's configuration decide from then on. */
  #restoration(index: number, { reset, defaults }: ServerParameters): string {
    const name = this.names[index]!;
    const value = defaults[index];
    return value === undefined || value === reset[index] ? `RESET ${name}` : assignment(name, value);
  }

  /** The places of the parameters that `difference` resets for a client, rather than setting them. */
  *resetBy(client: Readonly<ParameterValues>, { reset, defaults }: ServerParameters): Generator<number> {
    for (let i = this.#firstOwn; i < this.#firstReported; i++)
      if (client[i] === undefined && reset[i] === defaults[i]) yield i;
  }

  /**
   * What a client has to be told of its present server, of that which it does not keep.
   * @param told what it was told last; brought up to date
   * @returns names and values; null: nothing
   */
  news(told: ParameterValues, { parameters }: ServerParameters): [string, string][] | null {
    let news: [string, string][] | null = null;
    for (let i = this.#firstOwn; i < this.names.length; i++) {
      const value = parameters[i];
      if (value === undefined || value === told[i]) continue;
      told[i] = value;
      (news ??= []).push([this.names[i]!, value]);
    }
    return news;
  }
}

/**
 * SET takes a list of names, of which each would be quoted by itself; the value as it is reported is the whole list, which
 * only set_config takes.
 */
function assignment(name: string, value: string): string {
  return name.toLowerCase() === 'search_path'
    ? `SELECT pg_catalog.set_config('search_path',${quoteLiteral(value)},false)`
    : `SET ${quoteName(name)}=${quoteLiteral(value)}`;
}

function quoteName(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_.]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** A literal that is right whatever standard_conforming_strings says. */
export function quoteLiteral(text: string): string {
  const quoted = text.replaceAll("'", "''");
  return quoted.includes('\\') ? ` E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`;
}
