/**
 * The console's language: each Query message holds one statement of one or two words, a SET, or a command for clusters or for
 * a tenant's functions. A word is letters, digits and underscores in either case, or anything in double quotes.
 */
import {
  FUNCTIONS_EXPRESSIONS,
  parseFunctionsStatement,
  type FunctionsStatement,
} from './functions-grammar.ts';
import { BLANK, END, TEXT, unquote, WORD } from './words.ts';

export type Statement =
  | { readonly kind: 'empty' }
  | { readonly kind: 'command'; readonly verb: string; readonly argument: string }
  | { readonly kind: 'set'; readonly key: string; readonly value: string }
  | { readonly kind: 'notify topology'; readonly database: string }
  /** `wait`: seconds */
  | { readonly kind: 'switchover'; readonly database: string; readonly node: string; readonly wait: number }
  | FunctionsStatement
  /** a SET whose key is the empty word */
  | { readonly kind: 'bad arguments' }
  | { readonly kind: 'unknown' };

const EMPTY = new RegExp(`^${BLANK}*(?:;${BLANK}*)*$`);
const COMMAND = new RegExp(`^${BLANK}*${WORD}(?:${BLANK}+${WORD})?${END}`, 'i');
const SET_TEXT = new RegExp(`^${BLANK}*set${BLANK}+${WORD}${BLANK}*(?:=|to)${BLANK}*${TEXT}${END}`, 'i');
const SET_WORD = new RegExp(`^${BLANK}*set${BLANK}+${WORD}${BLANK}*(?:=|to)${BLANK}*${WORD}${END}`, 'i');

const NOTIFY = new RegExp(`^${BLANK}*notify${BLANK}+topology(?:${BLANK}+${WORD})?${END}`, 'i');
const NODE = '("[^"]*"|[0-9a-z_.:@/[\\]-]+)';
const SWITCHOVER = new RegExp(
  `^${BLANK}*switchover${BLANK}+${WORD}${BLANK}+to${BLANK}+${NODE}(?:${BLANK}+wait${BLANK}+([0-9]{1,6}))?${END}`,
  'i',
);

/** All expressions, for the test of their cost. */
export const EXPRESSIONS: readonly RegExp[] = [
  EMPTY,
  COMMAND,
  SET_TEXT,
  SET_WORD,
  NOTIFY,
  SWITCHOVER,
  ...FUNCTIONS_EXPRESSIONS,
];

/** @returns `verb` in lower case; the argument as it was written, '' if none was given */
export function parseStatement(text: string): Statement {
  if (EMPTY.test(text)) return { kind: 'empty' };
  const notify = NOTIFY.exec(text);
  if (notify !== null) return { kind: 'notify topology', database: unquote(notify[1] ?? '') };
  const switchover = SWITCHOVER.exec(text);
  if (switchover !== null)
    return {
      kind: 'switchover',
      database: unquote(switchover[1]!),
      node: unquote(switchover[2]!),
      wait: Number(switchover[3] ?? 0),
    };
  const functions = parseFunctionsStatement(text);
  if (functions !== null) return functions;
  const command = COMMAND.exec(text);
  if (command !== null) {
    return {
      kind: 'command',
      verb: unquote(command[1]!).toLowerCase(),
      argument: unquote(command[2] ?? ''),
    };
  }
  const set = SET_TEXT.exec(text) ?? SET_WORD.exec(text);
  if (set === null) return { kind: 'unknown' };
  const key = unquote(set[1]!);
  return key === '' ? { kind: 'bad arguments' } : { kind: 'set', key, value: unquote(set[2]!) };
}
