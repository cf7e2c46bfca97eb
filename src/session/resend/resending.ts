/** How bytes that a client has sent before are handled once more, for another server. */
import type { LoggedInClient } from '../client.ts';
import { parsedNames } from '../state/resendable.ts';

/** Puts these bytes before the gate again: they are handled as if they had just arrived, once it opens. */
export function handleAgain(client: LoggedInClient, bytes: Buffer): void {
  client.intake.restart(bytes);
  // the decision was about a message that comes later, or that is judged anew
  client.question.drop();
}

/** Drops the statements that these bytes create: their Parse is handled once more. */
export function forgetParsed(client: LoggedInClient, bytes: Buffer): void {
  for (const name of parsedNames(bytes)) client.statements.named.remove(name);
}

/** The text of a client's prepared statement, as servers know it, '' for the unnamed one. Null: there is none. */
export function textOf({ statements }: LoggedInClient, name: string): string | null {
  const body = name === '' ? statements.unnamed.body : statements.named.find(name)?.shared.body;
  return body === undefined ? null : body.toString('latin1', 0, body.indexOf(0));
}
