/**
 * Splits SQL text into tokens by PostgreSQL's lexical rules ("Lexical Structure" in its manual, scan.l in its source). All
 * other files of src/sql read text through it. It takes text as UTF-16 or as one character for each byte of the client's
 * encoding: in both, every character from U+0080 on belongs to a name. test/sql/scanner-differential.test.ts compares it with
 * PostgreSQL's own scanner.
 */
import { DIGIT, HEX, isA, isLetter, lowered, NAME, NAME_START, SPACE } from './characters.ts';

/** The kinds of tokens. */
export const Token = {
  /** white space */
  Space: 0,
  /** to the end of its line, or in brackets, which may be nested */
  Comment: 1,
  /** a constant in quotes, with its prefix and its continuation on other lines: 'a', E'a', B'1', X'1f', N'a', U&'a' */
  Text: 2,
  /** a constant between dollar signs: $$a$$, $tag$a$tag$ */
  DollarText: 3,
  /** a number without a sign: 1, 1., .5, 1e-5, 1_000, 0x1F */
  Number: 4,
  /** a name in quotes: "a", U&"a" */
  QuotedName: 5,
  /** a key word, or a name without quotes */
  Word: 6,
  /** one character of anything else, or two dots: an operator of several characters is several tokens */
  Symbol: 7,
  /** $1 */
  Parameter: 8,
} as const;
export type Token = (typeof Token)[keyof typeof Token];

export function isConstant(kind: Token): boolean {
  return kind === Token.Text || kind === Token.DollarText || kind === Token.Number;
}

/**
 * The meaning of a backslash in a constant. `plain`: itself, or in E'' the beginning of an escape (standard_conforming_strings =
 * on). `unknown`: an escape everywhere, perhaps; after a character beyond ASCII it may even belong to that character, by an
 * encoding that is not known.
 */
export type Backslashes = 'plain' | 'unknown';

/** Kinds of constants in quotes. */
const Quoted = {
  Plain: 0,
  /** E'': a backslash begins an escape */
  Escapes: 1,
  /** B'', X'': a second quote begins another constant */
  Bits: 2,
  /** U&'': a backslash never concerns a quote */
  Unicode: 3,
} as const;
type Quoted = (typeof Quoted)[keyof typeof Quoted];

const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const BACKSLASH = 0x5c;
const DOLLAR = 0x24;
const AMPERSAND = 0x26;
const PLUS = 0x2b;
const DOT = 0x2e;
const DASH = 0x2d;
const SLASH = 0x2f;
const STAR = 0x2a;
const ZERO = 0x30;
const UNDERSCORE = 0x5f;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const LETTER_B = 0x62;
const LETTER_E = 0x65;
const LETTER_N = 0x6e;
const LETTER_O = 0x6f;
const LETTER_U = 0x75;
const LETTER_X = 0x78;

/**
 * A position in a text, at one token after the other. Each character is looked at a few times at most.
 *
 * for (const scanner = new Scanner(sql); scanner.next();) if (scanner.kind === Token.Word) ...
 */
export class Scanner {
  readonly #text: string;
  readonly #isPlain: boolean;
  /** of the current token */
  kind: Token = Token.Space;
  /** where the current token begins and ends */
  start = 0;
  end = 0;
  /** false: the rest of the text is one token, because its end is missing or not certain */
  isClosed = true;
  /** The rest of the text is one token: a constant with a backslash, by whose meaning it ends at one quote or at another. */
  isAmbiguous = false;

  constructor(text: string, backslashes: Backslashes = 'unknown') {
    this.#text = text;
    this.#isPlain = backslashes === 'plain';
  }

  /** Goes to the next token. @returns false at the end of the text */
  next(): boolean {
    this.start = this.end;
    if (this.start === this.#text.length) return false;
    this.#read(this.#text.charCodeAt(this.start));
    return true;
  }

  /** The same, past white space and comments. */
  nextWord(): boolean {
    while (this.next()) if (this.kind !== Token.Space && this.kind !== Token.Comment) return true;
    return false;
  }

  /** Whether the current token is this key word, in any case. @param word in lower case */
  is(word: string): boolean {
    if (this.kind !== Token.Word || this.end - this.start !== word.length) return false;
    for (let i = 0; i < word.length; i++)
      if (lowered(this.#text.charCodeAt(this.start + i)) !== word.charCodeAt(i)) return false;
    return true;
  }

  /** Whether the current token is this one character. */
  isSymbol(symbol: string): boolean {
    return this.kind === Token.Symbol && this.#text.charCodeAt(this.start) === symbol.charCodeAt(0);
  }

  /** The text of the current token. */
  get text(): string {
    return this.#text.slice(this.start, this.end);
  }

  #read(code: number): void {
    const { start } = this;
    const second = this.#text.charCodeAt(start + 1);
    if (isA(SPACE, code)) this.#take(Token.Space, this.#endOf(SPACE, start + 1));
    else if (isA(NAME_START, code)) this.#word(code, second);
    else if (isA(DIGIT, code) || (code === DOT && isA(DIGIT, second))) this.#number(code, second);
    else if (code === QUOTE) this.#constant(start + 1, Quoted.Plain);
    else if (code === DOUBLE_QUOTE) this.#quotedName(start + 1);
    else if (code === DOLLAR) this.#dollar(second);
    else if (code === DASH && second === DASH) this.#take(Token.Comment, this.#endOfLine(start + 2));
    else if (code === SLASH && second === STAR) this.#comment();
    // between two dots and a digit there is no number
    else this.#take(Token.Symbol, code === DOT && second === DOT ? start + 2 : start + 1);
  }

  #take(kind: Token, end: number, isClosed = true): void {
    this.kind = kind;
    this.end = end;
    this.isClosed = isClosed;
  }

  /** The first position from `at` on whose character does not belong to the class. */
  #endOf(what: number, at: number): number {
    while (at < this.#text.length && isA(what, this.#text.charCodeAt(at))) at++;
    return at;
  }

  #endOfLine(at: number): number {
    for (; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === LINE_FEED || code === CARRIAGE_RETURN) break;
    }
    return at;
  }

  #comment(): void {
    let depth = 1;
    let at = this.start + 2;
    for (; depth > 0 && at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code !== SLASH && code !== STAR) continue;
      if (this.#text.charCodeAt(at + 1) !== (code === SLASH ? STAR : SLASH)) continue;
      depth += code === SLASH ? 1 : -1;
      at++;
    }
    this.#take(Token.Comment, at, depth === 0);
  }

  // --- words, and constants with a prefix ---------------------------------------------------------------------------------

  #word(code: number, second: number): void {
    const { start } = this;
    const letter = lowered(code);
    if (second === QUOTE) {
      if (letter === LETTER_E) return this.#constant(start + 2, Quoted.Escapes);
      if (letter === LETTER_B || letter === LETTER_X) return this.#constant(start + 2, Quoted.Bits);
      if (letter === LETTER_N) return this.#constant(start + 2, Quoted.Plain);
    } else if (second === AMPERSAND && letter === LETTER_U) {
      const third = this.#text.charCodeAt(start + 2);
      if (third === QUOTE) return this.#constant(start + 3, Quoted.Unicode);
      if (third === DOUBLE_QUOTE) return this.#quotedName(start + 3);
    }
    this.#take(Token.Word, this.#endOf(NAME, start + 1));
  }

  /** @param at after the first quote */
  #constant(at: number, quoted: Quoted): void {
    this.isAmbiguous = false;
    for (let from = at; from >= 0;) {
      const end = this.#endOfQuoted(from, quoted);
      if (end < 0) return this.#take(Token.Text, this.#text.length, false);
      const next = this.#continuation(end);
      if (next < 0) return this.#take(Token.Text, end);
      from = next;
    }
  }

  /** @returns after the quote that ends a piece of a constant; -1: there is none, or it is not certain */
  #endOfQuoted(at: number, quoted: Quoted): number {
    const isUncertain = !this.#isPlain && (quoted === Quoted.Plain || quoted === Quoted.Escapes);
    let isEscaped = false;
    for (; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === BACKSLASH) {
        if (isUncertain && this.#text.charCodeAt(at - 1) >= 0x80) return this.#giveUp();
        isEscaped = !isEscaped;
      } else if (code !== QUOTE) isEscaped = false;
      else if (isEscaped && quoted === Quoted.Escapes) isEscaped = false;
      else if (isEscaped && quoted === Quoted.Plain && isUncertain) return this.#giveUp();
      else {
        if (quoted === Quoted.Bits || this.#text.charCodeAt(at + 1) !== QUOTE) return at + 1;
        isEscaped = false;
        at++;
      }
    }
    return -1;
  }

  #giveUp(): -1 {
    this.isAmbiguous = true;
    return -1;
  }

  /**
   * A constant goes on with a quote on another line. Only white space and comments to the end of a line may be in between.
   * @param at after the quote that ends a piece
   * @returns after the quote that begins the next piece; -1: there is none
   */
  #continuation(at: number): number {
    let isOnNextLine = false;
    for (; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === LINE_FEED || code === CARRIAGE_RETURN) isOnNextLine = true;
      else if (code === DASH && this.#text.charCodeAt(at + 1) === DASH) at = this.#endOfLine(at) - 1;
      else if (!isA(SPACE, code)) return code === QUOTE && isOnNextLine ? at + 1 : -1;
    }
    return -1;
  }

  #quotedName(at: number): void {
    for (; at < this.#text.length; at++) {
      if (this.#text.charCodeAt(at) !== DOUBLE_QUOTE) continue;
      if (this.#text.charCodeAt(at + 1) !== DOUBLE_QUOTE) return this.#take(Token.QuotedName, at + 1);
      at++;
    }
    this.#take(Token.QuotedName, this.#text.length, false);
  }

  // --- numbers and dollar signs --------------------------------------------------------------------------------------------

  /** Letters directly after a number are a token of their own: PostgreSQL 15 and later refuse them, earlier ones don't. */
  #number(code: number, second: number): void {
    const { start } = this;
    if (code === ZERO && isLetter(second)) {
      const end = this.#integerOf(lowered(second), start + 2);
      if (end > start + 2) return this.#take(Token.Number, end);
    }
    let at = this.#digits(DIGIT, start);
    // 1..10 is a range in PL/pgSQL
    const isRange = at > start && this.#text.charCodeAt(at + 1) === DOT;
    if (this.#text.charCodeAt(at) === DOT && !isRange) at = this.#digits(DIGIT, at + 1);
    if (lowered(this.#text.charCodeAt(at)) === LETTER_E) {
      const sign = this.#text.charCodeAt(at + 1);
      const exponent = sign === PLUS || sign === DASH ? at + 2 : at + 1;
      const end = this.#digits(DIGIT, exponent);
      if (end > exponent) at = end;
    }
    this.#take(Token.Number, at);
  }

  /** The end of the digits after 0x, 0o or 0b. They may begin with an underscore. */
  #integerOf(letter: number, at: number): number {
    if (letter !== LETTER_X && letter !== LETTER_O && letter !== LETTER_B) return at;
    const largest = letter === LETTER_O ? ZERO + 7 : letter === LETTER_B ? ZERO + 1 : Infinity;
    let end = at;
    for (;;) {
      const from = this.#text.charCodeAt(end) === UNDERSCORE ? end + 1 : end;
      const code = this.#text.charCodeAt(from);
      if (!isA(HEX, code) || code > largest) return end;
      end = from + 1;
    }
  }

  /** The end of digits, between which single underscores may be. */
  #digits(what: number, at: number): number {
    let end = this.#endOf(what, at);
    while (end > at && this.#text.charCodeAt(end) === UNDERSCORE && isA(what, this.#text.charCodeAt(end + 1)))
      end = this.#endOf(what, end + 1);
    return end;
  }

  #dollar(second: number): void {
    const { start } = this;
    if (isA(DIGIT, second)) return this.#take(Token.Parameter, this.#endOf(DIGIT, start + 1));
    let at = start + 1;
    if (isA(NAME_START, second))
      while (
        at < this.#text.length &&
        this.#text.charCodeAt(at) !== DOLLAR &&
        isA(NAME, this.#text.charCodeAt(at))
      )
        at++;
    if (this.#text.charCodeAt(at) !== DOLLAR) return this.#take(Token.Symbol, start + 1);
    const tag = this.#text.slice(start, at + 1);
    const end = this.#text.indexOf(tag, at + 1);
    if (end < 0) this.#take(Token.DollarText, this.#text.length, false);
    else this.#take(Token.DollarText, end + tag.length);
  }
}
