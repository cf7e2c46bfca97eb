/** The end of a client's wait without a server. */
import type { ClientError } from '../../wire/errors.ts';
import { readyForQuery } from '../../wire/messages.ts';
import { Frontend, TxStatus } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { answerError } from './reject.ts';
import { dropHeld } from './requests.ts';
import { subjectOf } from './trace.ts';

/** A waiting client will not get a server: its query gets an error, and the client stays. */
export function refuseWaiting(client: LoggedInClient, error: ClientError): void {
  const type = client.intake.held[0];
  if (type === undefined || client.state !== 'waiting') return client.close(error.message, error);
  client.gate.endWait();
  client.question.forget();
  client.loss.endVerdict();
  dropHeld(client);
  if (type === Frontend.Sync) {
    client.clock.trace?.describe(subjectOf(client, null));
    client.clock.dropQuery(performance.now(), error.code);
    client.send(Buffer.concat([error.encode(), readyForQuery(TxStatus.Idle)]));
  } else answerError(client, type === Frontend.FunctionCall ? Frontend.Query : type, error);
  client.resume();
}
