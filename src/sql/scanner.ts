/**
 * Splits SQL text into tokens by PostgreSQL's lexical rules ("Lexical Structure" in its manual, scan.l in its source). All
 * other files of src/sql read text through it. It takes text as UTF-16 or as one character for each byte of the client's
 * encoding: in both, every character from U+0080 on belongs to a name.
 */

/** The kinds of tokens. */
export const Token = {
  /** white space */
  Space: 0,
  /** to the end of its line, or in brackets, which may be nested */
  Comment: 1,
  /** a constant in quotes, with its prefix: 'a', E'a', B'1', X'1f', N'a', U&'a' */
  Text: 2,
  /** a constant between dollar signs: $$a$$, $tag$a$tag$ */
  DollarText: 3,
  /** a number, or a parameter as $1 */
  Number: 4,
  /** a name in quotes: "a", U&"a" */
  QuotedName: 5,
  /** a key word, or a name without quotes */
  Word: 6,
  /** one character of anything else */
  Symbol: 7,
} as const;
export type Token = (typeof Token)[keyof typeof Token];

const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const BACKSLASH = 0x5c;
const DOLLAR = 0x24;
const AMPERSAND = 0x26;
const DOT = 0x2e;
const DASH = 0x2d;
const SLASH = 0x2f;
const STAR = 0x2a;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
/** Both cases of an ASCII letter differ in this bit. */
const LOWER = 0x20;
const LETTER_E = 0x65;
const LETTER_U = 0x75;

/**
 * A position in a text, at one token after the other. Each character is looked at a few times at most.
 *
 * for (const scanner = new Scanner(sql); scanner.next();) if (scanner.kind === Token.Word) ...
 */
export class Scanner {
  readonly #text: string;
  /** of the current token */
  kind: Token = Token.Space;
  /** where the current token begins and ends */
  start = 0;
  end = 0;
  /**
   * false: the rest of the text is one token. Its end is missing; or it is a constant in which a backslash precedes a quote,
   * and only the server's standard_conforming_strings tells whether it ends there
   */
  isClosed = true;

  constructor(text: string) {
    this.#text = text;
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
      if ((this.#text.charCodeAt(this.start + i) | LOWER) !== word.charCodeAt(i)) return false;
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
    const second = this.#text.charCodeAt(this.start + 1);
    if (isSpace(code)) this.#run(Token.Space, isSpace);
    else if (code === DASH && second === DASH) this.#run(Token.Comment, isOnLine);
    else if (code === SLASH && second === STAR) this.#comment();
    else if (code === QUOTE) this.#constant(1, false);
    else if (code === DOUBLE_QUOTE) this.#quotedName(1);
    else if (code === DOLLAR) this.#dollar(second);
    else if (isDigit(code) || (code === DOT && isDigit(second))) this.#run(Token.Number, isInNumber);
    else if (!startsName(code)) this.#take(Token.Symbol, this.start + 1);
    else if (second === QUOTE && isPrefix(code)) this.#constant(2, (code | LOWER) === LETTER_E);
    else if (second === AMPERSAND && (code | LOWER) === LETTER_U) this.#unicode();
    else this.#run(Token.Word, isInName);
  }

  #take(kind: Token, end: number, isClosed = true): void {
    this.kind = kind;
    this.end = end;
    this.isClosed = isClosed;
  }

  /** The first character, and all after it that belong to the same token. */
  #run(kind: Token, belongs: (code: number) => boolean): void {
    let at = this.start + 1;
    while (at < this.#text.length && belongs(this.#text.charCodeAt(at))) at++;
    this.#take(kind, at);
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

  /** @param offset from the token's start to the character after the quote */
  #constant(offset: number, hasEscapes: boolean): void {
    let isEscaped = false;
    for (let at = this.start + offset; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === BACKSLASH) {
        isEscaped = !isEscaped;
        continue;
      }
      if (code === QUOTE && isEscaped && !hasEscapes) break;
      if (code === QUOTE && !isEscaped) {
        if (this.#text.charCodeAt(at + 1) !== QUOTE) return this.#take(Token.Text, at + 1);
        at++;
      }
      isEscaped = false;
    }
    this.#take(Token.Text, this.#text.length, false);
  }

  #quotedName(offset: number): void {
    for (let at = this.start + offset; at < this.#text.length; at++) {
      if (this.#text.charCodeAt(at) !== DOUBLE_QUOTE) continue;
      if (this.#text.charCodeAt(at + 1) !== DOUBLE_QUOTE) return this.#take(Token.QuotedName, at + 1);
      at++;
    }
    this.#take(Token.QuotedName, this.#text.length, false);
  }

  /** U& before a quote; or a name u, and an operator after it. */
  #unicode(): void {
    const third = this.#text.charCodeAt(this.start + 2);
    if (third === QUOTE) this.#constant(3, false);
    else if (third === DOUBLE_QUOTE) this.#quotedName(3);
    else this.#take(Token.Word, this.start + 1);
  }

  #dollar(second: number): void {
    if (isDigit(second)) return this.#run(Token.Number, isDigit);
    let at = this.start + 1;
    if (startsName(second)) while (at < this.#text.length && isInTag(this.#text.charCodeAt(at))) at++;
    if (this.#text.charCodeAt(at) !== DOLLAR) return this.#take(Token.Symbol, this.start + 1);
    const tag = this.#text.slice(this.start, at + 1);
    const end = this.#text.indexOf(tag, at + 1);
    if (end < 0) this.#take(Token.DollarText, this.#text.length, false);
    else this.#take(Token.DollarText, end + tag.length);
  }
}

/** Space, \t, \n, \v, \f and \r. */
function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 9 && code <= 13);
}

function isOnLine(code: number): boolean {
  return code !== LINE_FEED && code !== CARRIAGE_RETURN;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function startsName(code: number): boolean {
  const lower = code | LOWER;
  return (lower >= 0x61 && lower <= 0x7a && code < 0x80) || code === 0x5f || code >= 0x80;
}

/** Characters of a tag between dollar signs. */
function isInTag(code: number): boolean {
  return startsName(code) || isDigit(code);
}

function isInName(code: number): boolean {
  return isInTag(code) || code === DOLLAR;
}

/** Digits, and what is written in numbers: 0x1F, 1_000, 1.5e3. */
function isInNumber(code: number): boolean {
  return isInTag(code) || code === DOT;
}

/** E, B, X and N before a quote, in either case. */
function isPrefix(code: number): boolean {
  const lower = code | LOWER;
  return lower === LETTER_E || lower === 0x62 || lower === 0x78 || lower === 0x6e;
}
