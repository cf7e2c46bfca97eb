/** Sends messages that a server answers. A client without a server gets one first, and may have to wait for it. */
import type { LoggedInClient } from '../client.ts';
import { link } from '../link/link.ts';
import { Handled } from '../state/handled.ts';
import type { Request } from '../state/entry.ts';

/** Passes the message on: links the client, and enters the expected answer in the ledger. */
export function forwardRequest(client: LoggedInClient, request: Request): Handled {
  if ((client.server === null || client.database.watch !== null) && link(client) === null)
    return Handled.Later;
  noteRequest(client, request);
  client.outstanding.sent(request);
  return Handled.Forward;
}

/** A message goes to the server, and the client waits for its answer: it counts in the statistics. */
export function noteRequest(client: LoggedInClient, request: Request): void {
  client.clock.noteRequest(request, client.outstanding, client.database.stats);
}

/** Another message goes to the client's server instead of the client's own. */
export function sendInstead(client: LoggedInClient, request: Request, bytes: Buffer): Handled {
  noteRequest(client, request);
  client.outstanding.sent(request);
  client.forward(bytes);
  return Handled.Done;
}

/** The first held message goes to no server. The rest of it is thrown away as it arrives. */
export function dropHeld(client: LoggedInClient): void {
  client.question.drop();
  client.intake.dropMessage();
}
