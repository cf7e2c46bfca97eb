/** Puts a query's constants back into a text that a rule has made from the query's shape. */
import { isA, NAME } from './characters.ts';
import { scannable } from './lexing.ts';
import { Scanner, Token } from './scanner.ts';
import { MAX_PARAMETER, type Shape } from './shape.ts';

/** A text; or the reason why there is none, as in `the rule returned a query with $7, …`. */
export type Restored =
  | { readonly text: string }
  | { readonly complaint: string; readonly isTooLong: boolean };

const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const DOT = 0x2e;
const DASH = 0x2d;
const AMPERSAND = 0x26;

/**
 * Replaces each parameter whose number is that of a constant. Each constant is a token of its own in the result. Dollar signs
 * in constants, comments and quoted names of the text are left alone, as are the client's own parameters.
 * @param text as UTF-16, or one character for each byte, as the shape's query is
 * @param maxLength of the result, in characters
 */
export function restored(text: string, shape: Shape, maxLength: number): Restored {
  const restorer = new Restorer(text, shape, maxLength);
  const complaint = restorer.run();
  if (restorer.isTooLong)
    return {
      complaint: `returned a query of more than ${maxLength} characters, with its constants`,
      isTooLong: true,
    };
  return complaint === null ? { text: restorer.out } : { complaint, isTooLong: false };
}

class Restorer {
  readonly #text: string;
  readonly #shape: Shape;
  readonly #maxLength: number;
  readonly #scanner: Scanner;
  out = '';
  isTooLong = false;
  /** the part of the text that `out` has */
  #copied = 0;
  /**
   * A constant in quotes has ended, and only white space and comments to the end of a line have followed: another quote could
   * continue it. `ours`: it is one of the text.
   */
  #afterQuote: 'ours' | 'restored' | null = null;

  constructor(text: string, shape: Shape, maxLength: number) {
    this.#text = text;
    this.#shape = shape;
    this.#maxLength = maxLength;
    const backslashes = shape.lexing.standardStrings === 'on' ? 'plain' : 'unknown';
    this.#scanner = new Scanner(scannable(text, shape.lexing), backslashes);
  }

  /** @returns a complaint; null: none */
  run(): string | null {
    const [text, scanner] = [this.#text, this.#scanner];
    const { parameters, last } = this.#shape;
    while (scanner.next() && !this.isTooLong) {
      const { kind, start, end } = scanner;
      if (kind === Token.Space || (kind === Token.Comment && text.charCodeAt(start) === DASH)) continue;
      const number = kind === Token.Parameter ? Number(text.slice(start + 1, end)) : 0;
      if (number > last && number <= MAX_PARAMETER) return unknownNumber(number, this.#shape);
      if (number > parameters && number <= last) {
        if (!this.#shape.isFinished && number === last && end < text.length)
          return `returned a query in which text follows $${number}, a constant without an end`;
        this.#put(this.#shape.constant(number), start, end);
      } else if (scanner.isClosed || !scanner.isAmbiguous) this.#keep(kind, start);
      else if (/\$\d/.test(scanner.text))
        return 'returned a query with a backslash before a quote, so that it is not certain where its parameters are';
    }
    this.#append(text.slice(this.#copied));
    return null;
  }

  /** A token of the text stays. */
  #keep(kind: Token, start: number): void {
    if (this.#afterQuote === 'restored' && this.#text.charCodeAt(start) === QUOTE) this.#separate(start);
    this.#afterQuote = kind === Token.Text ? 'ours' : null;
  }

  /** A constant takes the place of the token between these positions. */
  #put(constant: string, start: number, end: number): void {
    const text = this.#text;
    if (this.#afterQuote !== null && constant.charCodeAt(0) === QUOTE) this.#separate(start);
    else this.#append(text.slice(this.#copied, start));
    const before = text.charCodeAt(start - 1);
    if (start > this.#copied && (before === AMPERSAND || wouldJoin(before))) this.#append(' ');
    this.#append(constant);
    if (wouldJoin(text.charCodeAt(end))) this.#append(' ');
    this.#copied = end;
    this.#afterQuote = constant.endsWith("'") ? 'restored' : null;
  }

  /** Keeps the constants before and after this position from becoming one, as those on two lines would. */
  #separate(start: number): void {
    this.#append(`${this.#text.slice(this.#copied, start)}/**/`);
    this.#copied = start;
  }

  #append(text: string): void {
    this.isTooLong ||= this.out.length + text.length > this.#maxLength;
    if (!this.isTooLong) this.out += text;
  }
}

/** Whether a constant could be one token with what this character belongs to, before or after it. */
function wouldJoin(code: number): boolean {
  return isA(NAME, code) || code === DOT || code === QUOTE || code === DOUBLE_QUOTE;
}

function unknownNumber(number: number, { last }: Shape): string {
  return `returned a query with $${number}, but the shape ${last === 0 ? 'has no numbers' : `ends with $${last}`}`;
}
