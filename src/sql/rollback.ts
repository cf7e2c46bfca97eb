/** Recognizes a plain ROLLBACK. */
import { Scanner, Token } from './scanner.ts';

/**
 * Whether a query is ROLLBACK or ABORT and nothing else: no comment, no second statement, no savepoint. It keeps nothing of
 * its transaction. Refusing it would trap its client in a failed transaction.
 */
export function isRollback(query: string): boolean {
  const scanner = new Scanner(query);
  if (!nextOf(scanner) || !(scanner.is('rollback') || scanner.is('abort'))) return false;
  let isMore = nextOf(scanner);
  if (isMore && (scanner.is('work') || scanner.is('transaction'))) isMore = nextOf(scanner);
  if (isMore && scanner.isSymbol(';')) isMore = nextOf(scanner);
  return !isMore;
}

/** Skips white space. A comment is a token like any other. */
function nextOf(scanner: Scanner): boolean {
  while (scanner.next()) if (scanner.kind !== Token.Space) return true;
  return false;
}
