/**
 * A user's stored password: the value of auth_file, auth_query, or a `password` of [databases], in one of the
 * three forms of PostgreSQL's pg_authid.rolpassword.
 */

export interface PlainSecret {
  readonly kind: 'plain';
  readonly password: string;
}

/** `md5` and the hexadecimal MD5 of password and user name. */
export interface Md5Secret {
  readonly kind: 'md5';
  readonly text: string;
}

/** `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (catalog-pg-authid.html); keys as in RFC 5802, section 3. */
export interface ScramSecret {
  readonly kind: 'scram';
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export type Secret = PlainSecret | Md5Secret | ScramSecret;

/**
 * The keys that SCRAM leaves with the checker of a client's proof. They open only servers that hold the very same secret, so
 * its salt and iterations are kept for comparison.
 */
export interface LearnedKeys {
  readonly clientKey: Buffer;
  readonly serverKey: Buffer;
  readonly salt: Buffer;
  readonly iterations: number;
}

/** Knowledge from a client's own login: its password, or SCRAM keys. */
export type LearnedSecret = { readonly password: string } | LearnedKeys;

/** Length of SHA-256's output, hence of all keys of SCRAM-SHA-256. */
export const SCRAM_KEY_BYTES = 32;

const MD5_SECRET = /^md5[0-9a-f]{32}$/;
const SCRAM_SECRET = /^SCRAM-SHA-256\$([0-9]{1,9}):([^$:]+)\$([^$:]+):([^$:]+)$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The bytes of a base64 text; null: it is malformed. Node's decoder alone would skip unknown characters. */
export function decodeBase64(text: string): Buffer | null {
  return BASE64.test(text) ? Buffer.from(text, 'base64') : null;
}

/** The kind of a secret. As in PostgreSQL, anything but a well-formed hash is a plain password. */
export function parseSecret(text: string): Secret {
  if (MD5_SECRET.test(text)) return { kind: 'md5', text };
  return parseScramSecret(text) ?? { kind: 'plain', password: text };
}

function parseScramSecret(text: string): ScramSecret | null {
  const match = SCRAM_SECRET.exec(text);
  if (match === null) return null;
  const iterations = Number(match[1]);
  const salt = decodeBase64(match[2]!);
  const storedKey = decodeBase64(match[3]!);
  const serverKey = decodeBase64(match[4]!);
  if (iterations < 1 || salt === null || salt.length === 0) return null;
  if (storedKey?.length !== SCRAM_KEY_BYTES || serverKey?.length !== SCRAM_KEY_BYTES) return null;
  return { kind: 'scram', iterations, salt, storedKey, serverKey };
}
