/** Parses the packets of the start-up phase, which have no type. */
import { TERMINATE, cString } from './messages.ts';
import { BAD_HEADER, frameSize, INCOMPLETE, ANY_SIZE, STARTUP_HEAD_BYTES, startupSize } from './frame.ts';
import { StartupCode } from './protocol.ts';

/** A packet that a client may send before its login ("Start-up", "SSL Session Encryption", "Canceling Requests"). */
export type StartupPacket =
  | { readonly kind: 'ssl' }
  | { readonly kind: 'gss' }
  | { readonly kind: 'cancel'; readonly pid: number; readonly key: Buffer }
  | { readonly kind: 'startup'; readonly minor: number; readonly parameters: ReadonlyMap<string, string> }
  | { readonly kind: 'old' }
  /** the client leaves before it has sent anything else */
  | { readonly kind: 'terminate' }
  | { readonly kind: 'bad'; readonly reason: string };

/**
 * The first packet in `bytes` and its length in bytes; null: it has not arrived in full. A malformed packet is `bad`, as soon
 * as its first eight bytes show that.
 */
export function parseStartup(bytes: Buffer): { packet: StartupPacket; length: number } | null {
  if (isTerminate(bytes)) return { packet: { kind: 'terminate' }, length: TERMINATE.length };
  if (mayBeTerminate(bytes)) return null;
  // a length begins with a zero byte: anything else is the type of a message, which is not allowed before the login
  if (bytes.length > 0 && bytes[0] !== 0) return bad(bytes, misplaced(bytes));
  const length = startupSize(bytes);
  if (length === BAD_HEADER) return bad(bytes, badHeader(bytes));
  if (length === INCOMPLETE || bytes.length < length) return null;
  return { packet: parsePacket(bytes.subarray(0, length)), length };
}

/** Whether `bytes` begin with a Terminate message. */
export function isTerminate(bytes: Buffer): boolean {
  return bytes.length >= TERMINATE.length && bytes.subarray(0, TERMINATE.length).equals(TERMINATE);
}

/** Whether `bytes` are the beginning of a Terminate message whose end has not arrived. */
export function mayBeTerminate(bytes: Buffer): boolean {
  const { length } = bytes;
  return length > 0 && length < TERMINATE.length && TERMINATE.subarray(0, length).equals(bytes);
}

function bad(bytes: Buffer, reason: string): { packet: StartupPacket; length: number } {
  return { packet: { kind: 'bad', reason }, length: bytes.length };
}

/** pgbouncer's wording, with the bytes in the form that it gives them. */
function badHeader(bytes: Buffer): string {
  return `bad packet header: '${bytes.toString('hex', 0, STARTUP_HEAD_BYTES)}'`;
}

function misplaced(bytes: Buffer): string {
  const size = frameSize(bytes, 0, ANY_SIZE);
  return size !== INCOMPLETE && size <= bytes.length
    ? 'bad packet'
    : 'client sent partial pkt in startup phase';
}

function parsePacket(bytes: Buffer): StartupPacket {
  const code = bytes.readInt32BE(4);
  switch (code) {
    case StartupCode.Ssl:
    case StartupCode.Gss:
      if (bytes.length !== 8) return { kind: 'bad', reason: 'bad length of an encryption request' };
      return { kind: code === StartupCode.Ssl ? 'ssl' : 'gss' };
    case StartupCode.Cancel:
      // pid and a key of 4 bytes, or of up to 256 since protocol 3.2
      if (bytes.length < 16 || bytes.length > 12 + 256) return { kind: 'bad', reason: 'bad cancel request' };
      return { kind: 'cancel', pid: bytes.readInt32BE(8), key: Buffer.from(bytes.subarray(12)) };
    case StartupCode.V2:
      return { kind: 'old' };
    default:
      if (code >>> 16 !== 3) return { kind: 'bad', reason: badHeader(bytes) };
      return parseParameters(bytes, code & 0xffff);
  }
}

function parseParameters(bytes: Buffer, minor: number): StartupPacket {
  const parameters = new Map<string, string>();
  let at = 8;
  while (at < bytes.length) {
    const name = cString(bytes, at);
    if (name === null) return { kind: 'bad', reason: 'startup packet without terminator' };
    if (name.text === '') {
      if (name.next !== bytes.length) return { kind: 'bad', reason: 'bytes after the startup packet' };
      return { kind: 'startup', minor, parameters };
    }
    const value = cString(bytes, name.next);
    if (value === null) return { kind: 'bad', reason: 'startup packet without terminator' };
    parameters.set(name.text, value.text);
    at = value.next;
  }
  return { kind: 'bad', reason: 'startup packet without terminator' };
}

/**
 * The settings in the start-up parameter `options`. As in pgbouncer its forms are `-c name=value`, `-cname=value` and
 * `--name=value`, with backslash escapes.
 * @returns null: the text has another form
 */
export function parseOptions(text: string): Map<string, string> | null {
  const words = splitOptions(text);
  const settings = new Map<string, string>();
  for (let i = 0; i < words.length; i++) {
    let word = words[i]!;
    if (word === '-c') {
      const next = words[++i];
      if (next === undefined) return null;
      word = next;
    } else if (word.startsWith('-c') || word.startsWith('--')) {
      word = word.slice(2);
    } else {
      return null;
    }
    const equals = word.indexOf('=');
    if (equals <= 0) return null;
    // PostgreSQL reads a dash as an underscore in these names
    settings.set(word.slice(0, equals).replaceAll('-', '_'), word.slice(equals + 1));
  }
  return settings;
}

function splitOptions(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === '\\' && i + 1 < text.length) {
      word = (word ?? '') + text[++i]!;
    } else if (/\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (word !== null) words.push(word);
  return words;
}
