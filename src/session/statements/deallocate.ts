/**
 * SQL's DEALLOCATE of a statement that was prepared with the protocol (psycopg, Rails). Servers know the statement by another
 * name and keep it for other clients, so the proxy itself answers a Query. A Parse (psycopg's pipeline mode) is replaced by
 * the DEALLOCATE of an empty statement, which is prepared just before the Execute.
 */
import { deallocatedName, mayDeallocate } from '../../sql/deallocate.ts';
import { closeStatement, message, readyForQuery } from '../../wire/messages.ts';
import { Backend, Frontend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { link } from '../link/link.ts';
import { unlinkIfDone } from '../link/unlink.ts';
import { Handled } from '../state/handled.ts';
import { Request, type Effect } from '../state/entry.ts';
import { forwardRequest, noteRequest } from '../send/requests.ts';
import { waitForAnswers } from '../send/wait.ts';
import { dropNamed } from './close.ts';
import { isTracked } from './tracking.ts';

const DEALLOCATED = message(Backend.CommandComplete, 'DEALLOCATE');
/** Name on every server of the empty statement that a client's DEALLOCATE drops. */
const FREED = 'PGSWITCHYARD_FREED';
const CLOSE_FREED = closeStatement(FREED);
const PARSE_FREED = message(Frontend.Parse, FREED, '', Buffer.alloc(2));
const NO_EFFECT: Effect = {};

/**
 * Answers a Query that deallocates one of the client's statements.
 * @param bytes the whole message
 * @returns null: the Query is another one, or the server must report an error
 */
export function deallocate(client: LoggedInClient, bytes: Buffer): Handled | null {
  const { outstanding, statements } = client;
  if (!statements.named.isUsed || outstanding.skipping) return null;
  if (!mayDeallocate(bytes, HEADER_BYTES, bytes.length)) return null;
  const name = deallocatedName(bytes.toString('latin1', HEADER_BYTES, bytes.length - 1));
  const statement = name === null ? undefined : statements.named.find(name);
  if (name === null || statement === undefined) return null;
  if (outstanding.inCopy || outstanding.unsynced) return null;
  if (!outstanding.empty) return waitForAnswers(client);
  if (client.txStatus === TxStatus.Failed || statement.isUnmade) return null;
  statements.named.remove(name);
  statements.unnamed.dropped();
  client.send(Buffer.concat([DEALLOCATED, readyForQuery(client.txStatus)]));
  if (client.txStatus === TxStatus.Idle) client.clock.dropQuery(performance.now(), null);
  // it may have been linked for this
  if (client.server !== null) unlinkIfDone(client);
  return Handled.Done;
}

/** The client's statement that an unnamed Parse deallocates; null: the Parse is another one. @param parse the whole message */
export function deallocated(client: LoggedInClient, parse: Buffer): string | null {
  const start = HEADER_BYTES + 1;
  const { named } = client.statements;
  if (!named.isUsed || !mayDeallocate(parse, start, parse.length) || client.outstanding.skipping) return null;
  const name = deallocatedName(parse.toString('latin1', start, parse.indexOf(0, start)));
  return name !== null && isTracked(client) && named.find(name)?.isUnmade === false ? name : null;
}

/**
 * The Parse that the server gets instead: its answers look like the original's, and other clients keep the shared statement.
 */
export function freeingParse(parse: Buffer): Buffer {
  const types = parse.subarray(parse.indexOf(0, HEADER_BYTES + 1) + 1);
  return message(Frontend.Parse, '', `DEALLOCATE "${FREED}"`, types);
}

/**
 * A Bind is sent to the server.
 * @param nameStart where the name of its statement begins, after the name of the portal
 * @param frees the client's statement that its statement deallocates; null: none
 */
export function noteBound(
  client: LoggedInClient,
  bytes: Buffer,
  nameStart: number,
  frees: string | null,
): void {
  const { freeing } = client.statements;
  if (frees === null && !freeing.isOpen) return;
  freeing.bound(bytes.toString('latin1', HEADER_BYTES, nameStart - 1), frees);
}

/** A whole Execute, while there is a portal whose Execute drops a statement. */
export function executeFreeing(client: LoggedInClient, bytes: Buffer): Handled {
  const { outstanding, statements } = client;
  const portalEnd = Math.max(HEADER_BYTES, bytes.indexOf(0, HEADER_BYTES));
  const name = statements.freeing.nameFor(bytes.toString('latin1', HEADER_BYTES, portalEnd));
  if (name === null || outstanding.skipping || outstanding.inCopy)
    return forwardRequest(client, Request.Execute);
  if (link(client) === null) return Handled.Later;
  if (statements.unanswered.isInDoubt(name)) return waitForAnswers(client);
  statements.freeing.done();
  noteRequest(client, Request.Execute);
  outstanding.sentClose(NO_EFFECT);
  client.forward(CLOSE_FREED);
  // it was already dropped, which the server reports
  if (statements.named.find(name) === undefined) return forwardRequest(client, Request.Execute);
  outstanding.sentParse(true, NO_EFFECT);
  client.forward(PARSE_FREED);
  outstanding.sentExecute(dropNamed(client, name));
  return Handled.Forward;
}
