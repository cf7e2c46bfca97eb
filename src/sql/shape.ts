/**
 * The shape of a query: its text with `$1`, `$2` … in place of its constants, without comments, and with single spaces. A rule
 * that sees shapes learns no data, and gives one answer for all queries of a shape. Constants are numbered from after the
 * highest parameter of the client's own.
 */
import { isA, NAME } from './characters.ts';
import { scannable, type Lexing } from './lexing.ts';
import { isConstant, Scanner, Token } from './scanner.ts';

/** PostgreSQL refuses parameters with a higher number: it is never that of a constant. */
export const MAX_PARAMETER = 2 ** 31 - 1;

/** A part of a query that its shape has something else for: a constant, or white space and comments. */
interface Piece {
  readonly start: number;
  end: number;
  readonly isConstant: boolean;
}

export class Shape {
  readonly #query: string;
  readonly #constants: readonly Piece[];
  /** the settings by which the query's constants were found */
  readonly lexing: Lexing;
  readonly text: string;
  /** the highest number of a parameter in the query; 0: none */
  readonly parameters: number;
  /**
   * false: the last constant is the rest of the query, which has no end: a constant, a comment or a name in quotes. PostgreSQL
   * refuses such a query.
   */
  readonly isFinished: boolean;

  constructor(query: string, lexing: Lexing, { pieces, parameters, isFinished }: Cut) {
    this.#query = query;
    this.#constants = pieces.filter((piece) => piece.isConstant);
    this.lexing = lexing;
    this.text = build(query, pieces, parameters);
    this.parameters = parameters;
    this.isFinished = isFinished;
  }

  /** The highest number of a constant, or of a parameter if there is no constant. */
  get last(): number {
    return this.parameters + this.#constants.length;
  }

  /** The text of a constant in the query. @param number from `parameters + 1` to `last` */
  constant(number: number): string {
    const { start, end } = this.#constants[number - this.parameters - 1]!;
    return this.#query.slice(start, end);
  }
}

/**
 * The shape of a query; null: it can only be seen as it is, because it is not certain where its constants end. That is so with
 * standard_conforming_strings = off. If the client's settings are not known, it is so for a query to which they matter.
 * @param query as UTF-16, or one character for each byte
 */
export function shapeOf(query: string, lexing: Lexing): Shape | null {
  if (lexing.standardStrings === 'off') return null;
  const cut = new Cutter(query, lexing).cut();
  return cut === null ? null : new Shape(query, lexing, cut);
}

interface Cut {
  readonly pieces: readonly Piece[];
  readonly parameters: number;
  readonly isFinished: boolean;
}

class Cutter {
  readonly #query: string;
  readonly #scanner: Scanner;
  readonly #isCertain: boolean;
  readonly #pieces: Piece[] = [];
  #parameters = 0;
  /** the part of `U&'…' UESCAPE '…'` or `U&"…" UESCAPE '…'` that the last tokens were */
  #escaped: 'constant' | 'name' | null = null;
  #isUescape = false;

  constructor(query: string, lexing: Lexing) {
    this.#query = query;
    this.#isCertain = lexing.standardStrings === 'on';
    this.#scanner = new Scanner(scannable(query, lexing), this.#isCertain ? 'plain' : 'unknown');
  }

  /** @returns null: it is not certain where a token ends */
  cut(): Cut | null {
    const scanner = this.#scanner;
    let isFinished = true;
    let gap = -1;
    while (scanner.next()) {
      const { kind, start, end } = scanner;
      if (!scanner.isClosed) {
        if (scanner.isAmbiguous) return null;
        isFinished = false;
      }
      if (isFinished && (kind === Token.Space || kind === Token.Comment)) {
        if (gap < 0) gap = start;
        continue;
      }
      if (gap >= 0) this.#gap(gap, start);
      gap = -1;
      if (!isFinished) this.#pieces.push({ start, end, isConstant: true });
      else if (kind === Token.Symbol && !this.#isCertain && this.#mayBelongToName(start)) return null;
      else this.#token(kind, start, end);
    }
    if (gap >= 0) this.#gap(gap, this.#query.length);
    return { pieces: this.#pieces, parameters: this.#parameters, isFinished };
  }

  /** White space and comments. */
  #gap(start: number, end: number): void {
    const isOneSpace = end - start === 1 && this.#query.charCodeAt(start) === 0x20;
    if (!isOneSpace || start === 0 || end === this.#query.length)
      this.#pieces.push({ start, end, isConstant: false });
  }

  #token(kind: Token, start: number, end: number): void {
    const escaped = this.#escaped;
    const isUescape = this.#isUescape;
    this.#escaped = null;
    this.#isUescape = false;
    if (kind === Token.Word) {
      if (escaped === null || isUescape || !this.#scanner.is('uescape')) return;
      this.#escaped = escaped;
      this.#isUescape = true;
    } else if (kind === Token.QuotedName) {
      if (this.#isUnicode(start)) this.#escaped = 'name';
    } else if (kind === Token.Parameter) {
      const number = Number(this.#query.slice(start + 1, end));
      if (number <= MAX_PARAMETER && number > this.#parameters) this.#parameters = number;
    } else if (isConstant(kind)) {
      // one character in quotes, which is no data
      if (isUescape && escaped === 'name' && end - start === 3) return;
      if (isUescape && escaped === 'constant' && kind === Token.Text) return this.#extend(end);
      this.#pieces.push({ start, end, isConstant: true });
      if (kind === Token.Text && this.#isUnicode(start)) this.#escaped = 'constant';
    }
  }

  /** The last constant goes on to here. */
  #extend(end: number): void {
    while (!this.#pieces.at(-1)!.isConstant) this.#pieces.pop();
    this.#pieces.at(-1)!.end = end;
  }

  #isUnicode(start: number): boolean {
    return this.#query.charCodeAt(start + 1) === 0x26;
  }

  /** In some encodings the second byte of a character looks like an operator. */
  #mayBelongToName(start: number): boolean {
    return start > 0 && this.#query.charCodeAt(start) >= 0x30 && this.#query.charCodeAt(start - 1) >= 0x80;
  }
}

function build(query: string, pieces: readonly Piece[], parameters: number): string {
  let text = '';
  let copied = 0;
  let number = parameters;
  let isAfterNumber = false;
  for (const { start, end, isConstant: isNumbered } of pieces) {
    const isAdjacent = start === copied;
    // $1a and a$1 would be other tokens
    if (isAfterNumber && (isAdjacent ? isNumbered : isA(NAME, query.charCodeAt(copied)))) text += ' ';
    text += query.slice(copied, start);
    copied = end;
    if (isNumbered) {
      if (!isAdjacent && isA(NAME, query.charCodeAt(start - 1))) text += ' ';
      text += `$${++number}`;
    } else if (start > 0 && end < query.length) text += ' ';
    isAfterNumber = isNumbered;
  }
  if (isAfterNumber && isA(NAME, query.charCodeAt(copied))) text += ' ';
  return text + query.slice(copied);
}
