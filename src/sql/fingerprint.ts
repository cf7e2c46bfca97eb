/** The shape of a query: its text without the constants. A log may contain it, while it must not contain the query itself. */
import { createHash } from 'node:crypto';
import { isConstant, Scanner, Token } from './scanner.ts';

/** The part of a longer query that is read, in characters. */
const MAX_READ = 10_000;
/** The part of a shape that a log line shows, in characters. */
const MAX_SHOWN = 200;

/** Sixteen hex digits, the same for queries that differ only in constants, white space, comments and case. */
export function fingerprint(query: string): string {
  return createHash('sha256')
    .update(shapeOf(query.slice(0, MAX_READ)).toLowerCase())
    .digest('hex')
    .slice(0, 16);
}

/** The query on one line, without comments, with `?` for each constant or list of them; cut at 200 characters. */
export function masked(query: string): string {
  const shape = shapeOf(query.slice(0, MAX_READ));
  return shape.length > MAX_SHOWN || query.length > MAX_READ ? `${shape.slice(0, MAX_SHOWN)}…` : shape;
}

/** A quoted name as people choose them. A longer one, or one with quotes in it, may be a value in the wrong quotes. */
// oxlint-disable-next-line no-control-regex
const NAME = /^"[^"'\0-\x1f]{1,63}"$/;

function shapeOf(sql: string): string {
  const scanner = new Scanner(sql);
  let shape = '';
  let last: Token = Token.Space;
  while (scanner.next()) {
    const { kind } = scanner;
    if (kind === Token.Space || kind === Token.Comment) {
      if (last !== Token.Space) shape += ' ';
      last = Token.Space;
      continue;
    }
    if (isConstant(kind) || kind === Token.Parameter) shape += '?';
    else if (kind === Token.QuotedName) shape += NAME.test(scanner.text) ? scanner.text : '?';
    // letters that belong to a number are a mistake, and may be data
    else if (kind !== Token.Word || last !== Token.Number) shape += scanner.text;
    last = kind;
  }
  return shape.trim().replaceAll(/\?(?: ?, ?\?)+/g, '?, ...');
}
