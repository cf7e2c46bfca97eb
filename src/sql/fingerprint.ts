/**
 * Queries without their constants: masked, for logs, which must not contain the query itself, and as a fingerprint. Rules see
 * another form, the shape (shape.ts).
 */
import { createHash } from 'node:crypto';
import { isConstant, Scanner, Token } from './scanner.ts';

/** The part of a longer query that is read, in characters. */
const MAX_READ = 10_000;
/** The part of a masked query that a log line shows, in characters. */
const MAX_SHOWN = 200;

/** Sixteen hex digits, the same for queries that differ only in constants, white space, comments and case. */
export function fingerprint(query: string): string {
  return createHash('sha256')
    .update(withoutConstants(query.slice(0, MAX_READ)).toLowerCase())
    .digest('hex')
    .slice(0, 16);
}

/**
 * The query on one line, without comments, with `?` for each constant or list of them.
 * @param maxShown where it is cut, in characters
 */
export function masked(query: string, maxShown = MAX_SHOWN): string {
  const text = withoutConstants(query.slice(0, MAX_READ));
  return text.length > maxShown || query.length > MAX_READ ? `${text.slice(0, maxShown)}…` : text;
}

/** A quoted name as people choose them. A longer one, or one with quotes in it, may be a value in the wrong quotes. */
// oxlint-disable-next-line no-control-regex
const NAME = /^"[^"'\0-\x1f]{1,63}"$/;

function withoutConstants(sql: string): string {
  const scanner = new Scanner(sql);
  let text = '';
  let last: Token = Token.Space;
  while (scanner.next()) {
    const { kind } = scanner;
    if (kind === Token.Space || kind === Token.Comment) {
      if (last !== Token.Space) text += ' ';
      last = Token.Space;
      continue;
    }
    if (isConstant(kind) || kind === Token.Parameter) text += '?';
    else if (kind === Token.QuotedName) text += NAME.test(scanner.text) ? scanner.text : '?';
    // letters that belong to a number are a mistake, and may be data
    else if (kind !== Token.Word || last !== Token.Number) text += scanner.text;
    last = kind;
  }
  return text.trim().replaceAll(/\?(?: ?, ?\?)+/g, '?, ...');
}
