/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL uses it (sasl-authentication.html): the parts that both sides of the
 * exchange share. Messages are handled as latin1 strings: one character a byte, since signatures are over bytes.
 */
import { createHmac, hash, pbkdf2 } from 'node:crypto';
import { saslprep } from '@mongodb-js/saslprep';
import { LRUCache } from 'lru-cache';
import { SCRAM_KEY_BYTES } from './secrets.ts';

export const SCRAM_SHA_256 = 'SCRAM-SHA-256';
export const SCRAM_SHA_256_PLUS = 'SCRAM-SHA-256-PLUS';
/** The GS2 header of an exchange that is bound to the server's certificate (RFC 5929, section 4). */
export const CHANNEL_BINDING_HEADER = 'p=tls-server-end-point,,';
/** Bytes of randomness in one side's nonce, as in PostgreSQL. */
export const NONCE_BYTES = 18;
export const SALT_BYTES = 16;

/** Keys of RFC 5802, section 3. */
export interface ScramKeys {
  readonly clientKey: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export function hmac(key: Buffer, message: string): Buffer {
  return createHmac('sha256', key).update(message, 'latin1').digest();
}

export function sha256(bytes: Buffer | string): Buffer {
  return hash('sha256', bytes, 'buffer');
}

export function xor(a: Buffer, b: Buffer): Buffer {
  const result = Buffer.allocUnsafe(a.length);
  for (let at = 0; at < a.length; at++) result[at] = a[at]! ^ b[at]!;
  return result;
}

/**
 * The bytes of a password from which keys are derived: normalised by SASLprep (RFC 4013), or unchanged if that is refused or
 * they are not UTF-8, as PostgreSQL does on both sides.
 */
export function preparePassword(password: string | Buffer): Buffer {
  const bytes = typeof password === 'string' ? Buffer.from(password) : password;
  const text = typeof password === 'string' ? password : bytes.toString();
  // A decoder's replacement characters: the bytes were not UTF-8.
  if (typeof password !== 'string' && !Buffer.from(text).equals(bytes)) return bytes;
  if (/^[\x21-\x7e]*$/.test(text)) return bytes;
  try {
    // a password of invisible characters only would become empty, and match any password
    return Buffer.from(saslprep(text) || text);
  } catch {
    return bytes;
  }
}

/**
 * Keys by password, salt and iterations. With 4096 iterations a login costs about a millisecond of a thread's time; with this
 * cache, a pool that opens its connections or a thousand clients that reconnect at once pay it once.
 */
const derived = new LRUCache<string, Promise<ScramKeys>>({ max: 4096 });

/** Derives the keys, off the event loop. */
export function deriveKeys(password: string | Buffer, salt: Buffer, iterations: number): Promise<ScramKeys> {
  const prepared = preparePassword(password);
  const name = sha256(Buffer.concat([Buffer.from(`${iterations}:${salt.length}:`), salt, prepared])).toString(
    'latin1',
  );
  let keys = derived.get(name);
  if (keys === undefined) {
    keys = derive(prepared, salt, iterations);
    derived.set(name, keys);
    keys.catch(() => derived.delete(name));
  }
  return keys;
}

function derive(password: Buffer, salt: Buffer, iterations: number): Promise<ScramKeys> {
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, SCRAM_KEY_BYTES, 'sha256', (error, salted) => {
      if (error) return reject(error);
      const clientKey = hmac(salted, 'Client Key');
      resolve({ clientKey, storedKey: sha256(clientKey), serverKey: hmac(salted, 'Server Key') });
    });
  });
}

/** Both sides sign this (RFC 5802, section 3, AuthMessage). */
export function authMessage(
  clientFirstBare: string,
  serverFirst: string,
  clientFinalWithoutProof: string,
): string {
  return `${clientFirstBare},${serverFirst},${clientFinalWithoutProof}`;
}

/** One `x=value`; values hold no comma. */
export interface Attribute {
  readonly name: string;
  readonly value: string;
}

/** The attributes of a message in their order; null: it does not consist of attributes. */
export function parseAttributes(message: string): Attribute[] | null {
  const attributes: Attribute[] = [];
  for (const part of message.split(',')) {
    if (!/^[A-Za-z]=/.test(part)) return null;
    attributes.push({ name: part[0]!, value: part.slice(2) });
  }
  return attributes;
}

/** RFC 5802: printable = %x21-2B / %x2D-7E. Nonces consist of these. */
export function isPrintable(text: string): boolean {
  return /^[\x21-\x2b\x2d-\x7e]+$/.test(text);
}
