/** Moves a client to the database that its routing function has chosen. */
import { givesAwayStore } from '../../config/fleet-store.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import type { LoggedInClient } from '../client.ts';
import { ownFunctions } from './judges.ts';
import { moveTo } from '../link/unlink.ts';
import { Handled } from '../state/handled.ts';
import { waitForAnswers } from '../send/wait.ts';
import { answerError } from '../send/reject.ts';

/**
 * Moving a client inside a transaction or pipeline would break it. Such a move is refused, and routing_in_transaction says
 * whether the client is told. Earlier messages that end by themselves, with a Sync or as a Query, are waited for: only after
 * them is it known whether a transaction is open.
 * @param type of the held message
 * @param dbkey name of the database; null: the client stays
 * @returns null: the message continues; otherwise its outcome
 */
export function route(client: LoggedInClient, type: number, dbkey: string | null): Handled | null {
  const from = client.database;
  if (dbkey === null || dbkey === from.name) return null;
  const target = client.context.directory.find(dbkey, from);
  if (target === null) return null;
  const alias = target.name === dbkey ? null : dbkey;
  if (target !== from) {
    if (client.inTransaction) return stayInTransaction(client, type, from.name, dbkey);
    if (target.disabled) return refuseMove(client, type, clientErrors.targetDisabled(dbkey));
    if (givesAwayStore(target.entry, target.config.user, client.context.config.settings.fleet_store))
      return refuseMove(client, type, clientErrors.targetIsStoreOfFleet(dbkey));
    moveTo(client, target);
  }
  client.addressBy(alias);
  return null;
}

/** @returns null: the message continues where the client is */
function stayInTransaction(
  client: LoggedInClient,
  type: number,
  from: string,
  dbkey: string,
): Handled | null {
  const { config, log } = client.context;
  const { readies, unsynced, inCopy } = client.outstanding;
  if (readies > 0 && !unsynced && !inCopy) return waitForAnswers(client);
  if (ownFunctions(client)?.noteRefusedMove() ?? true) {
    log.warn(
      { client: client.id, event: 'move_refused' },
      `${client.label} routing to ${dbkey} refused inside a transaction`,
    );
  }
  if (config.settings.routing_in_transaction !== 'error') return null;
  return refuseMove(client, type, clientErrors.moveInTransaction(from, dbkey));
}

function refuseMove(client: LoggedInClient, type: number, error: ClientError): Handled {
  client.question.forget();
  answerError(client, type, error);
  return Handled.Done;
}
