/** Splits a string of SQL into its statements, without constants, comments and the quotes of names. */
import { Scanner, Token } from './scanner.ts';

/** A semicolon inside of these does not end the statement. */
const COMPOUND = /\b(?:atomic|rule)\b/i;

/**
 * The statements of a string. A constant, a comment and a quoted name that is not a plain word are each replaced by a space. A
 * quoted key word looks like a key word here, which makes a statement more than it is, and never less.
 * @returns null: it is not certain which text belongs to which statement
 */
export function statementsOf(sql: string): string[] | null {
  const text = withoutQuoted(sql);
  if (text === null) return null;
  const statements = text
    .split(';')
    .map((each) => each.trim())
    .filter((each) => each !== '');
  return statements.length > 1 && COMPOUND.test(text) ? null : statements;
}

/** A quoted name that means the same without the quotes, unless it is a key word. */
const PLAIN_NAME = /^"[a-z_]\w*"$/;

function withoutQuoted(sql: string): string | null {
  const scanner = new Scanner(sql);
  let out = '';
  let copied = 0;
  while (scanner.next()) {
    const { kind, start, end } = scanner;
    if (
      kind === Token.Space ||
      kind === Token.Number ||
      kind === Token.Parameter ||
      kind === Token.Word ||
      kind === Token.Symbol
    )
      continue;
    const { text } = scanner;
    if (!scanner.isClosed) return null;
    // a backslash may escape a quote, with standard_conforming_strings = off
    if (kind === Token.Text && text.includes('\\')) return null;
    // the server decides whether nested comments balance
    if (kind === Token.Comment && text.startsWith('/*') && text.includes('/*', 2)) return null;
    // escapes may spell the name of any function
    if (kind === Token.QuotedName && !text.startsWith('"')) return null;
    // the name of a function may be quoted
    const name = kind === Token.QuotedName && PLAIN_NAME.test(text) ? text.slice(1, -1) : '';
    out += `${sql.slice(copied, start)} ${name} `;
    copied = end;
  }
  return out + sql.slice(copied);
}
