/** A client loses its server and keeps its connection: the errors for its unanswered queries. */
import type { SessionWatch } from '../../pool/watch.ts';
import type { Server } from '../../pool/server.ts';
import type { ClientError } from '../../wire/errors.ts';
import { parameterStatus, readyForQuery } from '../../wire/messages.ts';
import { TxStatus } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { Request } from '../state/entry.ts';

/** The answers that a client still waits for, after the loss of its server. */
export interface Owed {
  /** ReadyForQuery messages that are still to come */
  readonly readies: number;
  /** messages are outstanding that no Sync has closed */
  readonly isUnsynced: boolean;
  /** only Sync messages are outstanding, before which nothing was executed */
  readonly isSyncOnly: boolean;
  /** the client already has an error, and its Sync is still to come */
  readonly isSkipping: boolean;
  readonly inTransaction: boolean;
  /** the open transaction had already failed */
  readonly hasFailed: boolean;
}

/** Takes the server away from its client, whose settings go back to those from before the transaction. */
export function detach(client: LoggedInClient, server: Server, watch: SessionWatch): Owed {
  const { outstanding, transcript } = client;
  const owed: Owed = {
    readies: outstanding.readies,
    isUnsynced: outstanding.unsynced,
    isSyncOnly: transcript.answered === 0 && outstanding.requests.every((each) => each === Request.Sync),
    isSkipping: outstanding.skipping,
    inTransaction: server.txStatus !== TxStatus.Idle,
    hasFailed: server.txStatus === TxStatus.Failed,
  };
  client.loan.end();
  watch.stopWaiting(client);
  server.detach();
  outstanding.clear();
  client.clock.loseServer(performance.now());
  client.replies.loseServer();
  transcript.loseServer();
  rollBackSettings(client);
  // no drain event will come from the detached server
  if (client.gate.isOpen && client.socket.isPaused()) client.readOn();
  return owed;
}

/**
 * Undoes the settings that the lost transaction changed, and reports them to the client, as a server would after a ROLLBACK.
 */
function rollBackSettings(client: LoggedInClient): void {
  const mayTell = client.state !== 'closed' && !client.replies.isCut;
  for (const [name, value] of client.settings.rollBack(client.pool.welcome, mayTell))
    client.send(parameterStatus(name, value));
}

/**
 * Answers every unanswered query with an error. A client that waits for nothing, but has lost a transaction, gets the error at
 * its next message.
 * @param errors for the first queries, one each
 * @param otherError for all others
 */
export function tellLoss(
  client: LoggedInClient,
  watch: SessionWatch,
  owed: Owed,
  errors: readonly ClientError[],
  otherError: ClientError,
): void {
  const first = errors[0] ?? otherError;
  if (client.replies.isCut) return client.close(first.message);
  client.replies.endBody();
  if (owed.inTransaction || owed.readies > 0 || owed.isUnsynced) watch.transactionBroken();
  const replies = repliesTo(owed, errors, otherError);
  // makes the relay look at the next message
  if (owed.isUnsynced || (replies.length === 0 && owed.inTransaction)) client.intake.skipToSync();
  client.transcript.forget();
  if (replies.length > 0) client.send(Buffer.concat(replies));
  else if (owed.inTransaction) client.loss.noteTransaction(first, owed.hasFailed);
}

function repliesTo(owed: Owed, errors: readonly ClientError[], otherError: ClientError): Buffer[] {
  const encoded = new Map<ClientError, Buffer>();
  const encode = (error: ClientError): Buffer => {
    const bytes = encoded.get(error) ?? error.encode();
    encoded.set(error, bytes);
    return bytes;
  };
  const replies: Buffer[] = [];
  const ready = readyForQuery(TxStatus.Idle);
  for (let i = 0; i < owed.readies; i++) {
    // nothing was executed before a lone Sync, so nothing is lost
    if (!owed.isSyncOnly || owed.inTransaction) replies.push(encode(errors[i] ?? otherError));
    replies.push(ready);
  }
  if (owed.isUnsynced && !owed.isSkipping) replies.push(encode(errors[owed.readies] ?? otherError));
  return replies;
}
