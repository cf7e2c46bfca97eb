/**
 * The text of a Query or Parse, as user functions see it. PostgreSQL takes it in the client's encoding. UTF-8 is decoded. Any
 * other encoding, and bytes that are not UTF-8, are shown byte by byte (as Latin-1): ASCII stays readable, and every byte
 * survives the way to the server.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { lexingOf, UNKNOWN_LEXING, type Lexing } from '../../sql/lexing.ts';
import { canonicalEncoding } from '../../wire/encodings.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';

/** The most bytes that a Parse may have after its text: the types of 65,535 parameters. */
const MAX_TYPES_BYTES = 2 + 65_535 * 4;

/** The text of a Query or Parse; null: it has no end. */
export function textOf(type: number, bytes: Buffer): Buffer | null {
  const start = type === Frontend.Query ? HEADER_BYTES : bytes.indexOf(0, HEADER_BYTES) + 1;
  const end = bytes.indexOf(0, start);
  return start <= 0 || end < 0 ? null : bytes.subarray(start, end);
}

/**
 * Bytes of the text of a Query or Parse, if they certainly exceed a limit.
 * @param size of the whole message
 * @param bytes the part that has arrived
 * @returns 0: the text is within the limit, or its length is not known before the whole message has arrived
 */
export function lengthOver(limit: number, type: number, size: number, bytes: Buffer): number {
  let length = size - HEADER_BYTES - 1;
  if (length <= limit) return 0;
  if (type === Frontend.Parse) {
    const start = bytes.indexOf(0, HEADER_BYTES) + 1;
    length = bytes.length === size ? bytes.indexOf(0, start) - start : size - start - MAX_TYPES_BYTES;
  }
  return length > limit ? length : 0;
}

/** The text as user functions see it; `client.question` records whether these are bytes. */
export function shown(client: LoggedInClient, text: Buffer): string {
  const isInBytes = !(isUtf8Client(client) && isUtf8(text));
  client.question.showInBytes(isInBytes);
  return text.toString(isInBytes ? 'latin1' : 'utf8', 0, text.length);
}

/** Whether servers read the client's text as UTF-8. With SQL_ASCII they read it in the database's encoding. */
function isUtf8Client(client: LoggedInClient): boolean {
  const { welcome } = client.pool;
  const given = encodingOf(client) ?? 'UTF8';
  // before the first server, in the client's own spelling
  const encoding = given === 'UTF8' ? given : canonicalEncoding(given);
  return encoding === 'UTF8' || (encoding === 'SQL_ASCII' && welcome?.get('server_encoding') === 'UTF8');
}

/** The client's client_encoding, in its own spelling before it had a server; undefined: not known. */
function encodingOf({ settings, pool }: LoggedInClient): string | undefined {
  return settings.clientEncoding ?? pool.welcome?.get('client_encoding');
}

/** The settings by which a server will find the constants in the client's next text. */
export function lexingFor(client: LoggedInClient): Lexing {
  // a SET may be under way
  return client.outstanding.busy ? UNKNOWN_LEXING : reportedLexing(client);
}

/** The settings as servers last reported them. */
export function reportedLexing(client: LoggedInClient): Lexing {
  const { settings, pool } = client;
  const standardStrings = settings.standardStrings ?? pool.welcome?.get('standard_conforming_strings');
  return lexingOf(standardStrings, encodingOf(client));
}

const BACKSLASH = 0x5c;

/**
 * The settings by which a server reads a text: in another encoding, or where a backslash begins an escape or does not, the same
 * bytes are another statement.
 * @param body query text, zero byte and parameter types of a Parse
 * @returns null: all settings read it alike. If a SET may be under way, it is the client's alone.
 */
export function readingOf(client: LoggedInClient, body: Buffer): string | null {
  if (isAscii(body) && !body.includes(BACKSLASH)) return null;
  if (client.outstanding.busy) return `${UNCERTAIN}${client.id}`;
  const { settings, pool } = client;
  const standardStrings = settings.standardStrings ?? pool.welcome?.get('standard_conforming_strings');
  return `${standardStrings} ${encodingOf(client)}`;
}

const UNCERTAIN = '?';

/** Whether the client's settings are known to read a text otherwise than those by which it was prepared. */
export function isReadOtherwise(client: LoggedInClient, body: Buffer, reading: string | null): boolean {
  if (reading === null || reading.startsWith(UNCERTAIN)) return false;
  const now = readingOf(client, body);
  return now !== null && now !== reading && !now.startsWith(UNCERTAIN);
}
