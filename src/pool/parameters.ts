/**
 * Settings that follow a client from server to server: the ones that PostgreSQL reports with ParameterStatus and that
 * pgbouncer tracks (config.md, track_extra_parameters). A value list has one place for each name.
 */

const ALWAYS = [
  'client_encoding',
  'DateStyle',
  'TimeZone',
  'standard_conforming_strings',
  'application_name',
];

export type ParameterValues = (string | undefined)[];

export class TrackedParameters {
  readonly names: readonly string[];
  readonly #index = new Map<string, number>();

  /** @param extra names of track_extra_parameters */
  constructor(extra: readonly string[]) {
    const names = [...ALWAYS];
    for (const name of extra) {
      if (!names.some((known) => known.toLowerCase() === name.toLowerCase())) names.push(name);
    }
    this.names = names;
    names.forEach((name, i) => this.#index.set(name.toLowerCase(), i));
  }

  /** The place of a parameter, or -1 when it isn't tracked; names are compared without case. */
  indexOf(name: string): number {
    return this.#index.get(name.toLowerCase()) ?? -1;
  }

  /**
   * The SET statements that bring a server to a client's settings, or null when they agree already. What a client never
   * set is left as the server has it.
   */
  difference(client: ParameterValues, server: ParameterValues): string | null {
    let sql: string | null = null;
    for (let i = 0; i < this.names.length; i++) {
      const wanted = client[i];
      if (wanted === undefined || wanted === server[i]) continue;
      const current = server[i];
      if (current !== undefined && current.toLowerCase() === wanted.toLowerCase()) continue;
      // A parameter that this server never reported (an older version) can't be compared: setting it could be an error.
      if (current === undefined && i >= ALWAYS.length) continue;
      sql = `${sql ?? ''}${assignment(this.names[i]!, wanted)};`;
    }
    return sql;
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
