/**
 * The steps of one Query or Parse:
 * lost? -> allowed? -> too large? -> decide -> route -> decide again -> link -> rewrite -> track -> send
 * The relay takes the first step, for every kind of message (client-messages.ts). Each step lets the message continue or
 * returns its outcome. A message that must wait, for user functions, a server or the answers to earlier messages, is held and
 * goes through all the steps again; `client.question` keeps the decisions.
 */
import { mayDeallocate } from '../../sql/deallocate.ts';
import { clientErrors } from '../../wire/errors.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { isJudged } from '../query/judges.ts';
import { Handled } from '../state/handled.ts';
import { Request } from '../state/entry.ts';
import { forwardRequest, sendInstead } from '../send/requests.ts';
import { deallocate } from '../statements/deallocate.ts';
import { noteQuery } from '../statements/discard.ts';
import { parse } from '../statements/parse.ts';
import { isTracked, mayBeTracked } from '../statements/tracking.ts';
import { isKept } from '../state/unnamed.ts';
import { isPastFunctions, tooLongForFunctions } from '../query/decide.ts';
import { judge } from '../query/judge.ts';
import { rewrite } from '../query/rewrite.ts';
import { textOf } from '../query/text.ts';

/**
 * @param type Query or Parse
 * @param size of the whole message
 * @param bytes the part that has arrived
 */
export function takeQuery(client: LoggedInClient, type: number, size: number, bytes: Buffer): Handled {
  // allowed?
  if (isBarred(client, type)) return Handled.Later;
  // too large?
  const tooLong = tooLongForFunctions(client, type, size, bytes);
  if (bytes.length < size && needsAll(client, type, size, bytes, tooLong)) return Handled.NeedsAll;
  // decide, route, decide again, link (query/judge.ts)
  const approval = judge(client, type, { tooLong, text: tooLong === 0 ? textOf(type, bytes) : null });
  if (typeof approval === 'number') return approval;
  // rewrite
  const rewritten = rewrite(client, type, bytes, approval.query);
  // track, send
  return type === Frontend.Parse
    ? parse(client, bytes, rewritten, approval)
    : sendQuery(client, bytes, rewritten);
}

/** Whether the client must not send such a message. If so, it is being disconnected. */
function isBarred(client: LoggedInClient, type: number): boolean {
  if (type === Frontend.Query && client.context.config.settings.disable_pqexec) {
    client.close('PQexec disallowed', clientErrors.pqexecDisallowed());
    return true;
  }
  if (client.replication === 'none' || !isPastFunctions(client, 'replication')) return false;
  // functions apply that did not exist when the client logged in
  const error = clientErrors.replicationRefused(client.entry);
  client.close(error.message, error);
  return true;
}

/**
 * Whether a message can only be handled whole, because its text is judged or kept, or may be DEALLOCATE. Other messages, and
 * those that are too large to be judged, pass in pieces.
 */
function needsAll(
  client: LoggedInClient,
  type: number,
  size: number,
  bytes: Buffer,
  tooLong: number,
): boolean {
  if (isJudged(client) && tooLong === 0) return true;
  if (type === Frontend.Query)
    return client.statements.named.isUsed && mayDeallocate(bytes, HEADER_BYTES, size);
  return mayBeTracked(client) && (isKept(size) || (bytes[HEADER_BYTES] !== 0 && isTracked(client)));
}

/** @param rewritten the message for the server; null: the same */
function sendQuery(client: LoggedInClient, bytes: Buffer, rewritten: Buffer | null): Handled {
  const freed = deallocate(client, rewritten ?? bytes);
  if (freed !== null) return freed;
  noteQuery(client, rewritten ?? bytes);
  return rewritten === null
    ? forwardRequest(client, Request.Query)
    : sendInstead(client, Request.Query, rewritten);
}
