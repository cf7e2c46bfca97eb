/** Recognizes statements that drop prepared statements: DEALLOCATE and DISCARD. */
import { Scanner, Token } from './scanner.ts';

/** Both cases of an ASCII letter differ in this bit. */
const LOWER = 0x20;
const LETTER_A = 0x61;
const LETTER_D = 0x64;

/** The longest text that is read for DISCARD ALL and DEALLOCATE ALL, in bytes. */
const DROP_ALL_BYTES = 64;
/** The longest message that is read for DEALLOCATE of one statement, in bytes. */
const DEALLOCATE_BYTES = 200;

/**
 * Whether the text in these bytes begins with a statement that drops all prepared statements. One after a comment or another
 * statement is not recognized.
 * @param end may be past the end of the text or of the bytes
 */
export function dropsAll(bytes: Buffer, start: number, end: number): boolean {
  if ((bytes[start]! | LOWER) !== LETTER_D || end - start > DROP_ALL_BYTES) return false;
  const scanner = new Scanner(bytes.toString('latin1', start, end));
  if (!scanner.nextWord()) return false;
  const isDeallocate = scanner.is('deallocate');
  if (!isDeallocate && !scanner.is('discard')) return false;
  if (!scanner.nextWord()) return false;
  if (isDeallocate && scanner.is('prepare') && !scanner.nextWord()) return false;
  return scanner.is('all');
}

/**
 * Whether a text could be DEALLOCATE of one statement, by the size of its message and by its first and third letter, which
 * distinguish it from DELETE, DECLARE and others. Letters that have not arrived count as right.
 * @param start of the text in the bytes
 * @param size of the message, in bytes
 */
export function mayDeallocate(bytes: Buffer, start: number, size: number): boolean {
  if (size > DEALLOCATE_BYTES) return false;
  if (start + 2 >= bytes.length) return true;
  return (bytes[start]! | LOWER) === LETTER_D && (bytes[start + 2]! | LOWER) === LETTER_A;
}

/**
 * The name of the one statement that a text deallocates, as a Parse message would have it.
 * @param text one character for each byte of the client's encoding
 * @returns null: the text is something else, or deallocates all statements
 */
export function deallocatedName(text: string): string | null {
  const scanner = new Scanner(text);
  if (!scanner.nextWord() || !scanner.is('deallocate') || !scanner.nextWord()) return null;
  const isPrepare = scanner.is('prepare');
  let name = nameIn(scanner);
  let isMore = scanner.nextWord();
  if (isPrepare && isMore && !scanner.isSymbol(';')) {
    name = nameIn(scanner);
    isMore = scanner.nextWord();
  }
  if (isMore && scanner.isSymbol(';')) isMore = scanner.nextWord();
  // a comment without an end is an error, which the server reports
  return isMore || !scanner.isClosed ? null : name;
}

/** The name in the current token; null: not a name, or the key word ALL. */
function nameIn(scanner: Scanner): string | null {
  const { kind, text } = scanner;
  if (kind === Token.Word) return scanner.is('all') ? null : text.replaceAll(/[A-Z]/g, lower);
  if (kind !== Token.QuotedName || !scanner.isClosed || text.length < 3 || !text.startsWith('"')) return null;
  return text.slice(1, -1).replaceAll('""', '"');
}

/** PostgreSQL folds ASCII letters only: others are bytes of a longer character. */
function lower(letter: string): string {
  return letter.toLowerCase();
}
