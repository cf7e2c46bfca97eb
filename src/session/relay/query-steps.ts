/**
 * The steps of one Query or Parse:
 *
 *     lost? -> allowed? -> too large? -> decide -> route -> decide again -> link -> rewrite -> track -> send
 *
 * The relay takes the first step, for every kind of message (client-messages.ts). Each step lets the message continue or
 * returns its outcome. A message that must wait, for user functions, for a server or for the answers to earlier messages, is
 * held and goes through all the steps again: `client.question` keeps the decisions.
 */
import { mayDeallocate } from '../../sql/deallocate.ts';
import { clientErrors } from '../../wire/errors.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { isJudged } from '../query/judges.ts';
import { link } from '../link/link.ts';
import { Handled } from '../state/handled.ts';
import { Request } from '../state/entry.ts';
import { forwardRequest, sendInstead } from '../send/requests.ts';
import { deallocate } from '../statements/deallocate.ts';
import { noteQuery } from '../statements/discard.ts';
import { parse } from '../statements/parse.ts';
import { isTracked, mayBeTracked } from '../statements/tracking.ts';
import { isKept } from '../state/unnamed.ts';
import { decideAtOrigin, decideAtTarget, isPastFunctions, tooLongForFunctions } from '../query/decide.ts';
import { refuse } from '../send/reject.ts';
import { rewrite } from '../query/rewrite.ts';
import { route } from '../query/route.ts';
import { textOf } from '../query/text.ts';
import { UNJUDGED, type Judged, type Approval } from '../state/approval.ts';

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
  // decide, route, decide again, link
  const approval = judge(client, type, { tooLong, text: () => textOf(type, bytes) });
  if (typeof approval === 'number') return approval;
  // rewrite
  const rewritten = rewrite(client, type, bytes, approval.query);
  // track, send
  return type === Frontend.Parse
    ? parse(client, bytes, rewritten, approval)
    : sendQuery(client, bytes, rewritten);
}

/**
 * Judges a text. The functions of the database that the client logged in to may move the client. Then the functions of the
 * database that it is in judge the text that the first ones have made. They can't move it on, so that two databases never
 * send it round in circles.
 * @param stays the text was routed before, and is only judged
 * @returns an approval if the client is where the text is to go, and linked if there are functions; otherwise the outcome for
 *   the message
 */
export function judge(
  client: LoggedInClient,
  type: number,
  judged: Judged,
  stays = false,
): Handled | Approval {
  // decide
  const origin = decideAtOrigin(client, judged);
  if (origin === null) return UNJUDGED;
  if (typeof origin === 'number') return origin;
  if (origin.kind !== 'go') return refuse(client, type, origin);
  // route
  if (!stays) {
    const elsewhere = route(client, type, origin.dbkey);
    if (elsewhere !== null) return elsewhere;
  }
  // decide again
  const target = decideAtTarget(client, origin, judged);
  if (typeof target === 'number') return target;
  if (target !== null && target.kind !== 'go') return refuse(client, type, target);
  // link: only after that is the decision used up, because a message that waits for a server comes back here
  if (link(client) === null) return Handled.Later;
  const { originGeneration, targetGeneration } = client.question.take();
  return { query: target?.query ?? origin.query, originGeneration, targetGeneration };
}

/** Whether the client must not send such a message, and is being disconnected. */
function isBarred(client: LoggedInClient, type: number): boolean {
  if (type === Frontend.Query && client.context.config.settings.disable_pqexec) {
    client.close('PQexec disallowed', clientErrors.pqexecDisallowed());
    return true;
  }
  if (client.replication === 'none' || !isPastFunctions(client, 'replication')) return false;
  // functions apply that did not when it logged in
  const error = clientErrors.replicationRefused(client.entry);
  client.close(error.message, error);
  return true;
}

/**
 * Whether a message can only be handled whole, because its text is judged, or kept, or may be DEALLOCATE. Others, and those
 * that are too large to be judged, pass in pieces.
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

/** @param rewritten the message that the server is to get; null: the same */
function sendQuery(client: LoggedInClient, bytes: Buffer, rewritten: Buffer | null): Handled {
  const freed = deallocate(client, rewritten ?? bytes);
  if (freed !== null) return freed;
  noteQuery(client, rewritten ?? bytes);
  return rewritten === null
    ? forwardRequest(client, Request.Query)
    : sendInstead(client, Request.Query, rewritten);
}
