import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { saslprep } from '@mongodb-js/saslprep';
import { LRUCache } from 'lru-cache';

/**
 * What auth_file, auth_query and pg_authid hold as a password: the password itself, `md5` and 32 hex digits, or
 * `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
 */

const pbkdf2Async = promisify(pbkdf2);

/** Keys of RFC 5802, section 3, as far as a secret tells them. */
export interface ScramKeys {
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export interface ScramSecret extends ScramKeys {
  readonly iterations: number;
  readonly salt: Buffer;
}

export function isMd5Secret(secret: string): boolean {
  return /^md5[0-9a-f]{32}$/i.test(secret);
}

export function isScramSecret(secret: string): boolean {
  return parseScramSecret(secret) !== null;
}

export function parseScramSecret(secret: string): ScramSecret | null {
  const match = /^SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/.exec(
    secret,
  );
  if (match === null) return null;
  const [iterations, salt, storedKey, serverKey] = [
    Number(match[1]),
    ...[match[2]!, match[3]!, match[4]!].map((text) => Buffer.from(text, 'base64')),
  ] as [number, Buffer, Buffer, Buffer];
  if (iterations < 1 || storedKey.length !== 32 || serverKey.length !== 32) return null;
  return { iterations, salt, storedKey, serverKey };
}

export function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest();
}

export function hmac(key: Buffer, data: Buffer | string): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

export function xor(a: Buffer, b: Buffer): Buffer {
  const out = Buffer.allocUnsafe(a.length);
  for (let i = 0; i < a.length; i++) out[i] = a[i]! ^ b[i]!;
  return out;
}

/** Compares without telling by its time where the difference is. */
export function equals(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** The password as SCRAM uses it; one that SASLprep prohibits is used as it is, as PostgreSQL does. */
function normalize(password: string): string {
  try {
    return saslprep(password);
  } catch {
    return password;
  }
}

// Key derivation is made to be slow: a login storm of one user must not pay for it each time.
const salted = new LRUCache<string, Buffer>({ max: 1000, ttl: 600_000 });

/** Hi(password, salt, iterations) of RFC 5802, without blocking. */
export async function saltedPassword(password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  const key = sha256(Buffer.from(`${iterations}\0${salt.toString('base64')}\0${password}`)).toString(
    'base64',
  );
  const known = salted.get(key);
  if (known !== undefined) return known;
  const result = await pbkdf2Async(normalize(password), salt, iterations, 32, 'sha256');
  salted.set(key, result);
  return result;
}

export function clientKeyOf(saltedKey: Buffer): Buffer {
  return hmac(saltedKey, 'Client Key');
}

export function serverKeyOf(saltedKey: Buffer): Buffer {
  return hmac(saltedKey, 'Server Key');
}

/** `md5` and the hash that PostgreSQL stores. */
export function md5Secret(user: string, password: string): string {
  return `md5${createHash('md5').update(`${password}${user}`).digest('hex')}`;
}

/** What a client answers to AuthenticationMD5Password. */
export function md5Response(secret: string, salt: Buffer): string {
  const hash = createHash('md5').update(secret.slice(3).toLowerCase()).update(salt);
  return `md5${hash.digest('hex')}`;
}

/** Whether a password in clear text is the one that a secret stands for. */
export async function passwordMatches(user: string, password: string, secret: string): Promise<boolean> {
  const scram = parseScramSecret(secret);
  if (scram !== null) {
    const key = await saltedPassword(password, scram.salt, scram.iterations);
    return equals(serverKeyOf(key), scram.serverKey);
  }
  if (isMd5Secret(secret))
    return equals(Buffer.from(md5Secret(user, password)), Buffer.from(secret.toLowerCase()));
  return equals(sha256(Buffer.from(password)), sha256(Buffer.from(secret)));
}

// Unknown users get the same salt each time, as known ones do, and one that tells nothing.
const mockKey = randomBytes(32);

/** A secret that no password matches, for a user who does not exist ("mock authentication" in PostgreSQL's auth-scram.c). */
export function mockScramSecret(user: string, iterations: number): ScramSecret {
  return {
    iterations,
    salt: hmac(mockKey, `salt ${user}`).subarray(0, 16),
    storedKey: hmac(mockKey, `stored ${user}`),
    serverKey: hmac(mockKey, `server ${user}`),
  };
}

const madeSecrets = new LRUCache<string, ScramSecret>({ max: 1000 });

/** The SCRAM secret for a password that is known in clear text; the same one for each login of the process. */
export async function scramSecretFor(
  user: string,
  password: string,
  iterations: number,
): Promise<ScramSecret> {
  const cacheKey = sha256(Buffer.from(`${iterations}\0${user}\0${password}`)).toString('base64');
  const known = madeSecrets.get(cacheKey);
  if (known !== undefined) return known;
  const salt = randomBytes(16);
  const key = await saltedPassword(password, salt, iterations);
  const secret = { iterations, salt, storedKey: sha256(clientKeyOf(key)), serverKey: serverKeyOf(key) };
  madeSecrets.set(cacheKey, secret);
  return secret;
}
