/**
 * The settings that follow a client from server to server: those that PostgreSQL 14 to 18 reports with ParameterStatus
 * ("Asynchronous Operations" in its protocol-flow.html), and those that track_extra_parameters names. A list of values has one
 * index for each name.
 */

/**
 * A client keeps the values of these on every server, as it was welcomed with them or has set them since, because drivers rely
 * on them. SessionSettings reads two of them by their indexes.
 */
const KEPT = [
  'client_encoding',
  'DateStyle',
  'TimeZone',
  'standard_conforming_strings',
  'application_name',
  'IntervalStyle',
];
/** The only one of them whose values are case-sensitive in PostgreSQL. */
const APPLICATION_NAME = KEPT.indexOf('application_name');
/**
 * A client has a value of its own only after it has set one. Otherwise each server's default applies, so that no client writes
 * to a server that its operator has made read-only.
 */
const OWN = ['default_transaction_read_only', 'search_path', 'scram_iterations', 'session_authorization'];
/** No client can set these: it is told where its present server differs from the last one. */
const REPORTED = ['in_hot_standby', 'is_superuser', 'server_version', 'server_encoding', 'integer_datetimes'];

/** The number of interned values, and the length of the longest one in characters. */
const MAX_VALUES = 1000;
const MAX_VALUE_LENGTH = 256;

export type ParameterValues = (string | undefined)[];

/** The settings of a server. */
export interface ServerParameters {
  /** as it last reported them */
  readonly parameters: Readonly<ParameterValues>;
  /** as its own configuration has them: RESET returns to these */
  readonly reset: Readonly<ParameterValues>;
  /** for a client that has set nothing: `reset`, changed by connect_query */
  readonly defaults: Readonly<ParameterValues>;
}

export class TrackedParameters {
  readonly names: readonly string[];
  /** the index of default_transaction_read_only */
  readonly readOnly: number;
  readonly #index = new Map<string, number>();
  readonly #values = new Map<string, string>();
  /** lower indexes are of settings that a client keeps; then come those that it may set, then those that it may not */
  readonly #firstOwn: number;
  readonly #firstReported: number;
  /** the names in track_extra_parameters, in lower case */
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

  /** The index of a parameter; -1: it is not tracked. Names are compared without case. */
  indexOf(name: string): number {
    return this.#index.get(name.toLowerCase()) ?? -1;
  }

  /** The index of a parameter that a StartupMessage may set; -1: it may not. */
  indexAtStartup(name: string): number {
    const index = this.indexOf(name);
    if (index < this.#firstOwn) return index;
    return index < this.#firstReported && this.#listed.has(name.toLowerCase()) ? index : -1;
  }

  /**
   * The same text as one object for all clients and servers: values are compared each time that a client gets a server, and
   * two objects would be compared character by character.
   */
  intern(value: string): string {
    const known = this.#values.get(value);
    if (known !== undefined) return known;
    // clients choose the values, so the map is bounded; a forgotten value is compared more slowly
    if (this.#values.size >= MAX_VALUES) this.#values.clear();
    if (value.length <= MAX_VALUE_LENGTH) this.#values.set(value, value);
    return value;
  }

  /** Whether a client keeps the value that it was welcomed with until it sets another one. */
  isKept(index: number): boolean {
    return index < this.#firstOwn;
  }

  /** The values that a client keeps, for one of the proxy's own queries, which must not have those of any client. */
  kept(values: Readonly<ParameterValues>): ParameterValues {
    return values.slice(0, this.#firstOwn);
  }

  /** Whether a client may set it. */
  isSettable(index: number): boolean {
    return index < this.#firstReported;
  }

  /** The statements that bring a server to a client's settings; null: they already agree. */
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
      // A parameter that this server never reports (an older version) is not set: that could be an error.
      if (current === undefined && i >= KEPT.length) continue;
      sql = `${sql ?? ''}${assignment(this.names[i]!, wanted)};`;
    }
    return sql;
  }

  /** After RESET, unlike SET, the server's configuration decides. */
  #restoration(index: number, { reset, defaults }: ServerParameters): string {
    const name = this.names[index]!;
    const value = defaults[index];
    return value === undefined || value === reset[index] ? `RESET ${name}` : assignment(name, value);
  }

  /** The indexes of the parameters that `difference` resets for a client, rather than setting them. */
  *resetBy(client: Readonly<ParameterValues>, { reset, defaults }: ServerParameters): Generator<number> {
    for (let i = this.#firstOwn; i < this.#firstReported; i++)
      if (client[i] === undefined && reset[i] === defaults[i]) yield i;
  }

  /**
   * The settings that a client does not keep, and that must be reported to it because of its present server.
   * @param reported the values last reported to it; updated here
   * @returns names and values; null: none
   */
  news(reported: ParameterValues, { parameters }: ServerParameters): [string, string][] | null {
    let news: [string, string][] | null = null;
    for (let i = this.#firstOwn; i < this.names.length; i++) {
      const value = parameters[i];
      if (value === undefined || value === reported[i]) continue;
      reported[i] = value;
      (news ??= []).push([this.names[i]!, value]);
    }
    return news;
  }
}

/**
 * The value of search_path is reported as a whole list, which only set_config takes: SET takes a list of names, each quoted by
 * itself.
 */
function assignment(name: string, value: string): string {
  return name.toLowerCase() === 'search_path'
    ? `SELECT pg_catalog.set_config('search_path',${quoteLiteral(value)},false)`
    : `SET ${quoteName(name)}=${quoteLiteral(value)}`;
}

function quoteName(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_.]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** A literal that means the same with either value of standard_conforming_strings. */
export function quoteLiteral(text: string): string {
  const quoted = text.replaceAll("'", "''");
  return quoted.includes('\\') ? ` E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`;
}
