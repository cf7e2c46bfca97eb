/** The settings of a client that decide where its constants end. */
import { canonicalEncoding } from '../wire/encodings.ts';

export interface Lexing {
  /**
   * Whether standard_conforming_strings is on, off (a backslash in any constant begins an escape), or not known. If it is not
   * known, the client's encoding is not certain either.
   */
  readonly standardStrings: 'on' | 'off' | 'unknown';
  /** which characters of a text, given as bytes, have later bytes that look like ASCII */
  readonly wide: 'none' | 'sjis' | 'all';
}

export const UNKNOWN_LEXING: Lexing = { standardStrings: 'unknown', wide: 'none' };

const ON: Lexing = { standardStrings: 'on', wide: 'none' };
const OFF: Lexing = { standardStrings: 'off', wide: 'none' };
const ON_SJIS: Lexing = { standardStrings: 'on', wide: 'sjis' };
const ON_WIDE: Lexing = { standardStrings: 'on', wide: 'all' };

/** PostgreSQL accepts these from clients only, since the second byte of a character may be a backslash (src/common/wchar.c). */
const WIDE = new Map<string, Lexing>([
  ['SJIS', ON_SJIS],
  ['SHIFT_JIS_2004', ON_SJIS],
  ['BIG5', ON_WIDE],
  ['GBK', ON_WIDE],
  ['UHC', ON_WIDE],
  ['GB18030', ON_WIDE],
  ['JOHAB', ON_WIDE],
]);

/**
 * @param standardStrings the client's standard_conforming_strings; undefined: not known
 * @param encoding the client's client_encoding; undefined: not known
 */
export function lexingOf(standardStrings: string | undefined, encoding: string | undefined): Lexing {
  if (standardStrings === 'off') return OFF;
  if (standardStrings !== 'on' || encoding === undefined) return UNKNOWN_LEXING;
  return encoding === 'UTF8' ? ON : (WIDE.get(canonicalEncoding(encoding)) ?? ON);
}

const ALL: readonly Lexing[] = [UNKNOWN_LEXING, OFF, ON, ON_SJIS, ON_WIDE];

/** A number for settings, below `LEXING_CODES`. */
export function lexingCode(lexing: Lexing): number {
  return Math.max(0, ALL.indexOf(lexing));
}

export const LEXING_CODES = ALL.length;

/** The code of settings that are not known: a shape that was found without them is right for all. */
export const UNKNOWN_CODE = 0;

/** Characters of two bytes. One of GB18030 with four bytes is two such pairs. */
const PAIRS = {
  // the others are single bytes
  sjis: /[\x80-\xa0\xe0-\xff][\x30-\xff]/g,
  all: /[\x80-\xff][\x30-\xff]/g,
} as const;

/**
 * A text in which a scanner finds the tokens where the server does, in the same places.
 * @param text one character for each byte, if there are wide characters
 */
export function scannable(text: string, { wide }: Lexing): string {
  return wide === 'none' ? text : text.replace(PAIRS[wide], '\x80\x80');
}
