/** Names of databases and roles as PostgreSQL reads them, and the names that stand for a part of a cluster. */

/** Names that the `*` entry does not stand for: the empty name, its own, and the console's. */
export const NOT_FOR_FALLBACK: ReadonlySet<string> = new Set(['', '*', 'pgbouncer']);

/** `dev@writer`, `dev@readers`, `dev@host:port`: these stand for a part of a cluster, never for a new database. */
const PART_OF_CLUSTER = /^(.+)@(?:(writer|readers)|[^@]+:\d+)$/s;

/** The parts of a name: the cluster's database, and the role; null: a node. */
export interface ClusterPart {
  readonly cluster: string;
  readonly role: string | null;
}

/** @returns null: the name stands for no part of a cluster */
export function clusterPart(name: string): ClusterPart | null {
  const match = PART_OF_CLUSTER.exec(name);
  return match === null ? null : { cluster: match[1]!, role: match[2] ?? null };
}

/** The longest name that PostgreSQL has, in bytes: NAMEDATALEN less the NUL. */
const MAX_NAME_BYTES = 63;

/**
 * A name as PostgreSQL cuts it: to 63 bytes, at a character boundary (truncate_identifier, pg_mbcliplen). Servers cut the
 * names that they receive, so a longer name reaches the database or role of the shorter one.
 */
export function cutName(name: string): string {
  // a character has at most three bytes for each of its UTF-16 units
  if (name.length * 3 <= MAX_NAME_BYTES || Buffer.byteLength(name) <= MAX_NAME_BYTES) return name;
  const bytes = Buffer.from(name);
  let end = MAX_NAME_BYTES;
  // a byte 10xxxxxx continues the character before it
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}
