/** Makes the next message of a client wait until the server has answered everything that was sent before it. */
import { FLUSH } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { Handled } from '../state/handled.ts';

/** The relay of the server's answers continues with this message (server-bytes.ts). */
export function waitForAnswers(client: LoggedInClient): Handled {
  // without it the answers of a pipeline may not arrive before its Sync
  if (client.outstanding.unsynced) client.forward(FLUSH);
  client.gate.close('answers');
  return Handled.Later;
}
