/** `key=value` pairs, as connection strings have them. */

export type Pairs = readonly (readonly [key: string, value: string])[];

/** `where`: the offset of the mistake. */
export class ConnectionStringError extends Error {
  readonly where: number;

  constructor(message: string, where: number) {
    super(message);
    this.name = 'ConnectionStringError';
    this.where = where;
  }
}

/**
 * Splits `key = value key='it''s'`. In quotes, `''` and `\'` are one quote and a backslash is otherwise itself.
 * @throws {ConnectionStringError}
 */
export function parsePairs(text: string): Pairs {
  const pairs: [string, string][] = [];
  const key = /\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*/y;
  // A backslash before a quote escapes it, unless the value would then have no end: pgbouncer's files may hold 'x\'.
  const quoted = /'((?:\\'|''|[^'])*)'(?=\s|$)/y;
  const plain = /[^\s']\S*/y;
  let at = 0;
  while (text.slice(at).trim() !== '') {
    key.lastIndex = at;
    const name = key.exec(text);
    if (name === null) throw new ConnectionStringError('expected key=value', at);
    at = key.lastIndex;
    const pattern = text[at] === "'" ? quoted : plain;
    pattern.lastIndex = at;
    const value = pattern.exec(text);
    if (value === null) {
      const wrong = text[at] === "'" ? 'unterminated quoted value' : 'empty value';
      throw new ConnectionStringError(`${wrong} for ${name[1]}`, at);
    }
    const content = pattern === quoted ? value[1]!.replace(/''|\\'/g, "'") : value[0];
    if (content === '') throw new ConnectionStringError(`empty value for ${name[1]}`, at);
    pairs.push([name[1]!, content]);
    at = pattern.lastIndex;
  }
  return pairs;
}
