/** Bytes of a client are handled once more, for another server. */
import type { LoggedInClient } from '../client.ts';
import { parsedNames } from '../state/resendable.ts';

/** Puts these bytes before the gate again: once it opens they are handled as if they had just arrived. */
export function handleAgain(client: LoggedInClient, bytes: Buffer): void {
  client.intake.restart(bytes);
  // the decision was about a later message, or about one that will be judged again
  client.question.drop();
}

/** Drops the statements that these bytes create, because their Parse is handled once more. */
export function forgetParsed(client: LoggedInClient, bytes: Buffer): void {
  for (const name of parsedNames(bytes)) client.statements.named.remove(name);
}

/** The text of a client's prepared statement, as servers know it, '' for the unnamed one. Null: none. */
export function textOf({ statements }: LoggedInClient, name: string): string | null {
  const body = name === '' ? statements.unnamed.body : statements.named.find(name)?.shared.body;
  return body === undefined ? null : body.toString('latin1', 0, body.indexOf(0));
}
