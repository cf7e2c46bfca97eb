import { createHash } from 'node:crypto';

/** What a query looks like without its constants: it may stand in a log, where the query itself may not. */

/** Only this much of a longer query is looked at, in characters. */
const MAX_LOOKED_AT = 10_000;
/** A log line shows this much of a shape, in characters. */
const MAX_SHOWN = 200;

/**
 * A piece of SQL at a time (PostgreSQL's manual, 4.1 Lexical Structure): space, a comment to the end of its line, the
 * start of one that is closed, the start of a constant (escape, Unicode, bit and national strings included), that of a
 * dollar-quoted one, a number or a parameter, a name or keyword.
 */
const PIECES =
  /(?<space>\s+|--[^\n\r]*)|(?<comment>\/\*)|(?<text>(?:[eEbBxXnN]|[uU]&)?')|(?<dollar>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)|(?<number>\$\d+|\.?\d[\w.\u0080-\uffff]*)|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|[^]/gy;

/** Sixteen hex digits that are the same for queries that differ only in their constants, spaces, comments and case. */
export function fingerprint(query: string): string {
  return createHash('sha256')
    .update(shapeOf(query.slice(0, MAX_LOOKED_AT)).toLowerCase())
    .digest('hex')
    .slice(0, 16);
}

/** The query on one line, `?` for each constant and list of constants, without comments; cut at 200 characters. */
export function queryShape(query: string): string {
  const shape = shapeOf(query.slice(0, MAX_LOOKED_AT));
  return shape.length > MAX_SHOWN || query.length > MAX_LOOKED_AT ? `${shape.slice(0, MAX_SHOWN)}…` : shape;
}

function shapeOf(sql: string): string {
  let shape = '';
  PIECES.lastIndex = 0;
  for (let piece = PIECES.exec(sql); piece !== null; piece = PIECES.exec(sql)) {
    const { space, comment, text, dollar, number } = piece.groups!;
    if (comment !== undefined) PIECES.lastIndex = endOfComment(sql, PIECES.lastIndex);
    if (text !== undefined) PIECES.lastIndex = endOfText(sql, PIECES.lastIndex, /^e/i.test(text));
    if (dollar !== undefined) PIECES.lastIndex = endOf(dollar, sql, PIECES.lastIndex);
    const isSpace = space !== undefined || comment !== undefined;
    const isConstant = text !== undefined || dollar !== undefined || number !== undefined;
    const word = isSpace ? ' ' : isConstant ? '?' : piece[0];
    // two pieces of one constant, with a quote in it, are one
    if (!((isSpace && shape.endsWith(' ')) || (text !== undefined && shape.endsWith('?')))) shape += word;
  }
  return shape.trim().replaceAll(/\?(?: ?, ?\?)+/g, '?, ...');
}

/** What is not closed goes on to the end. */
function endOf(closing: string, sql: string, from: number): number {
  const at = sql.indexOf(closing, from);
  return at < 0 ? sql.length : at + closing.length;
}

/** Comments may be nested. */
function endOfComment(sql: string, from: number): number {
  const borders = /\/\*|\*\//g;
  borders.lastIndex = from;
  for (let depth = 1; depth > 0;) {
    const border = borders.exec(sql);
    if (border === null) return sql.length;
    depth += border[0] === '/*' ? 1 : -1;
  }
  return borders.lastIndex;
}

/**
 * Behind the quote that ends a constant. Whether a backslash escapes a quote in an ordinary one depends on the server's
 * standard_conforming_strings: where that matters, all the rest of the query counts as the constant.
 * @param hasEscapes an escape string, E'...'
 */
function endOfText(sql: string, from: number, hasEscapes: boolean): number {
  for (let at = sql.indexOf("'", from); at >= 0; at = sql.indexOf("'", at + 1)) {
    let backslashes = 0;
    while (at - backslashes > from && sql.charCodeAt(at - backslashes - 1) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return at + 1;
    if (!hasEscapes) return sql.length;
  }
  return sql.length;
}
