/**
 * The shape of a query: its text with `$1`, `$2` … in place of its constants, without comments, and with single spaces. A rule
 * that sees shapes learns no data, and gives one answer for all queries of a shape. Constants are numbered from after the
 * highest parameter of the client's own.
 */
import { isA, NAME } from './characters.ts';
import { scannable, type Lexing } from './lexing.ts';
import { isConstant, Scanner, Token, type Backslashes } from './scanner.ts';

const SPACE_CODE = 0x20;
const AMPERSAND = 0x26;

/** PostgreSQL refuses parameters with a higher number: it is never that of a constant. */
export const MAX_PARAMETER = 2 ** 31 - 1;

export class Shape {
  readonly #query: string;
  /** where each constant of the query begins and ends */
  readonly #places: readonly number[];
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

  constructor(query: string, lexing: Lexing, { text, places, parameters, isFinished }: Parts) {
    this.#query = query;
    this.#places = places;
    this.lexing = lexing;
    this.text = text;
    this.parameters = parameters;
    this.isFinished = isFinished;
  }

  /** The highest number of a constant, or of a parameter if there is no constant. */
  get last(): number {
    return this.parameters + this.#places.length / 2;
  }

  /** The text of a constant in the query. @param number from `parameters + 1` to `last` */
  constant(number: number): string {
    const at = 2 * (number - this.parameters - 1);
    return this.#query.slice(this.#places[at], this.#places[at + 1]);
  }
}

/**
 * The shape of a query; null: it can only be seen as it is, because it is not certain where its constants end. That is so with
 * standard_conforming_strings = off. If the client's settings are not known, it is so for a query to which they matter.
 * @param query as UTF-16, or one character for each byte
 */
export function shapeOf(query: string, lexing: Lexing): Shape | null {
  if (lexing.standardStrings === 'off') return null;
  const scanned = scannable(query, lexing);
  const backslashes = lexing.standardStrings === 'on' ? 'plain' : 'unknown';
  const builder = new Builder(query, highestParameter(scanned, backslashes));
  return builder.run(new Scanner(scanned, backslashes), backslashes === 'plain')
    ? new Shape(query, lexing, builder)
    : null;
}

function highestParameter(query: string, backslashes: Backslashes): number {
  let highest = 0;
  if (!query.includes('$')) return highest;
  for (const scanner = new Scanner(query, backslashes); scanner.next();) {
    if (scanner.kind !== Token.Parameter) continue;
    const number = Number(query.slice(scanner.start + 1, scanner.end));
    if (number <= MAX_PARAMETER && number > highest) highest = number;
  }
  return highest;
}

interface Parts {
  readonly text: string;
  readonly places: readonly number[];
  readonly parameters: number;
  readonly isFinished: boolean;
}

/** Makes the text of a shape, token by token. */
class Builder implements Parts {
  readonly #query: string;
  readonly parameters: number;
  readonly places: number[] = [];
  text = '';
  isFinished = true;
  /** the part of the query that the text stands for */
  #copied = 0;
  /** the text ends with the number of a constant */
  #isAfterNumber = false;
  /** the part of `U&'…' UESCAPE '…'` or `U&"…" UESCAPE '…'` that the last tokens were */
  #escaped: 'constant' | 'name' | null = null;
  #isUescape = false;
  /** the text up to and with the number of the last constant */
  #textToNumber = '';

  constructor(query: string, parameters: number) {
    this.#query = query;
    this.parameters = parameters;
  }

  /** @returns false: it is not certain where a token ends */
  run(scanner: Scanner, isCertain: boolean): boolean {
    let gap = -1;
    while (scanner.next()) {
      const { kind, start, end, isClosed } = scanner;
      if (isClosed && (kind === Token.Space || kind === Token.Comment)) {
        if (gap < 0) gap = start;
        continue;
      }
      if (gap >= 0) this.#space(gap, start);
      gap = -1;
      if (kind === Token.Symbol) {
        if (!isCertain && this.#mayBelongToName(start)) return false;
        this.#escaped = null;
      } else if (isClosed) this.#token(scanner, kind, start, end);
      else {
        this.isFinished = false;
        this.#number(start, end);
        return !scanner.isAmbiguous;
      }
    }
    this.#copy(gap < 0 ? this.#query.length : gap);
    return true;
  }

  #token(scanner: Scanner, kind: Token, start: number, end: number): void {
    const escaped = this.#escaped;
    const isUescape = this.#isUescape;
    this.#escaped = null;
    this.#isUescape = false;
    if (isConstant(kind)) {
      // one character in quotes, which is no data
      if (isUescape && escaped === 'name' && end - start === 3) return;
      if (isUescape && escaped === 'constant' && kind === Token.Text) return this.#extend(end);
      this.#number(start, end);
      if (kind === Token.Text && this.#isUnicode(start)) this.#escaped = 'constant';
    } else if (kind === Token.QuotedName && this.#isUnicode(start)) this.#escaped = 'name';
    else if (kind === Token.Word && escaped !== null && !isUescape && scanner.is('uescape')) {
      this.#escaped = escaped;
      this.#isUescape = true;
    }
  }

  /** White space and comments. */
  #space(start: number, end: number): void {
    if (start > 0 && end - start === 1 && this.#query.charCodeAt(start) === SPACE_CODE) return;
    this.#copy(start);
    if (start > 0) this.text += ' ';
    this.#copied = end;
    this.#isAfterNumber = false;
  }

  /** A constant. */
  #number(start: number, end: number): void {
    const isAdjacent = start === this.#copied;
    this.#copy(start);
    // $1$2 and a$1 would be other tokens
    const isGlued = isAdjacent ? this.#isAfterNumber : isA(NAME, this.#query.charCodeAt(start - 1));
    this.places.push(start, end);
    this.text += `${isGlued ? ' $' : '$'}${this.parameters + this.places.length / 2}`;
    this.#copied = end;
    this.#isAfterNumber = true;
    this.#textToNumber = this.text;
  }

  /** The last constant goes on to here. */
  #extend(end: number): void {
    this.places[this.places.length - 1] = end;
    this.text = this.#textToNumber;
    this.#copied = end;
    this.#isAfterNumber = true;
  }

  /** Copies the query up to here. */
  #copy(end: number): void {
    if (end === this.#copied) return;
    // $1a would be another token
    if (this.#isAfterNumber && isA(NAME, this.#query.charCodeAt(this.#copied))) this.text += ' ';
    this.text += this.#query.slice(this.#copied, end);
    this.#isAfterNumber = false;
  }

  #isUnicode(start: number): boolean {
    return this.#query.charCodeAt(start + 1) === AMPERSAND;
  }

  /** In some encodings the second byte of a character looks like an operator. */
  #mayBelongToName(start: number): boolean {
    return start > 0 && this.#query.charCodeAt(start) >= 0x30 && this.#query.charCodeAt(start - 1) >= 0x80;
  }
}
