/** The connection to a linked server has ended without an error. */
import type { Server } from '../../pool/server.ts';
import type { SessionWatch } from '../../pool/watch.ts';
import { clientErrors } from '../../wire/errors.ts';
import { TxStatus } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { planAfterCrash } from './crash.ts';
import { detach, tellLoss } from './owed.ts';
import { forgetParsed, handleAgain, textOf } from './resending.ts';

/** Ends the client, unless its database is watched: then the client stays, and gets an error about its loss. */
export function serverLost(client: LoggedInClient, server: Server, reason: string): void {
  if (client.server !== server) return;
  const watch = client.database.watch;
  if (watch !== null && client.replication === 'none') return lostInCluster(client, server, watch);
  client.loan.end();
  client.outstanding.clear();
  client.close(reason, clientErrors.serverLost(reason));
}

function lostInCluster(client: LoggedInClient, server: Server, watch: SessionWatch): void {
  client.gate.endWait();
  const { errors, otherError, again } = planAfterCrash(client.transcript, client.outstanding, {
    inTransaction: server.txStatus !== TxStatus.Idle,
    sendFailed: server.sendFailed,
    isCut: client.intake.isCut,
    mayRetry: watch.mayRetry,
    textOf: (name) => textOf(client, name),
  });
  const owed = detach(client, server, watch);
  client.gate.open('answers');
  if (again === null) tellLoss(client, watch, owed, errors, otherError);
  else {
    forgetParsed(client, again);
    handleAgain(client, again);
    client.gate.open('decision');
    tellLoss(client, watch, { ...owed, readies: errors.length, isUnsynced: false }, errors, otherError);
    client.transcript.restart(again);
  }
  client.resume();
}
