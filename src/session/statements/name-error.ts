/** PostgreSQL's errors about the name of a prepared statement. */
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import { Frontend } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { answerError } from '../send/reject.ts';
import { Handled } from '../state/handled.ts';
import { waitForAnswers } from '../send/wait.ts';

/** A Parse for a name that is in use. */
export function refuseDuplicate(client: LoggedInClient, name: string): Handled {
  return nameError(client, clientErrors.duplicateStatement(nameText(name)));
}

/** A message about a name without a statement; a statement that was never tracked must be prepared again. */
export function refuseUnknown(client: LoggedInClient, type: number, name: string): Handled {
  if (!client.statements.untracked.mayHave(name))
    return nameError(client, clientErrors.noSuchStatement(nameText(name)));
  answerError(client, type, clientErrors.mustBePrepared(name));
  return Handled.Done;
}

/** A name as its client wrote it. */
function nameText(name: string): string {
  return Buffer.from(name, 'latin1').toString();
}

/**
 * Answers with an error, once everything sent before has been answered: an earlier message may have failed. Then the server
 * skips this one too, and the name may mean another statement.
 */
function nameError(client: LoggedInClient, error: ClientError): Handled {
  const { outstanding } = client;
  if (outstanding.inCopy) {
    const reason = 'unexpected message about a prepared statement during COPY from stdin';
    client.close(reason, clientErrors.protocolViolation(reason));
    return Handled.Later;
  }
  if (!outstanding.empty) return waitForAnswers(client);
  answerError(client, Frontend.Bind, error);
  // the server may get a failing Parse, which drops its unnamed statement
  client.statements.unnamed.displaced();
  return Handled.Done;
}
