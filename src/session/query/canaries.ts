/** What servers answer to the clients of a tenant whose candidate is compared with its serving version. */
import { sqlstateClass } from '../../functions/functions.ts';
import type { LoggedInClient } from '../client.ts';
import { ownFunctions, targetFunctions } from './judges.ts';

/** A server has answered a query of the client to the end. */
export function noteAnswered(client: LoggedInClient): void {
  note(client, 0);
}

/**
 * A server has answered with an error.
 * @param start of the fields of the ErrorResponse
 * @param end of what has arrived of them
 */
export function noteServerError(client: LoggedInClient, bytes: Buffer, start: number, end: number): void {
  const errorClass = sqlstateClass(bytes, start, end);
  if (errorClass !== 0) note(client, errorClass);
}

function note(client: LoggedInClient, errorClass: number): void {
  ownFunctions(client)?.rollout.noteAnswer(client.id, errorClass);
  targetFunctions(client)?.rollout.noteAnswer(client.id, errorClass);
}
