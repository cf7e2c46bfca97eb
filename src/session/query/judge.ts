/**
 * The middle steps of a query: decide -> route -> decide again -> link (relay/query-steps.ts). A prepared statement that is
 * judged again takes them, too.
 */
import type { LoggedInClient } from '../client.ts';
import { link } from '../link/link.ts';
import { refuse } from '../send/reject.ts';
import { UNJUDGED, type Approval, type TextToJudge } from '../state/approval.ts';
import { Handled } from '../state/handled.ts';
import { decideAtOrigin, decideAtTarget } from './decide.ts';
import { route } from './route.ts';

/**
 * Judges a text. The functions of the database that the client logged in to may move the client. Then the functions of the
 * database that it is in judge the text as the first ones rewrote it. They can't move the client on, so two databases never
 * send it round in circles.
 * @param stays the text was routed before, and is only judged
 * @returns an approval if the client is where the text belongs, and linked if there are functions; otherwise the outcome for
 * the message
 */
export function judge(
  client: LoggedInClient,
  type: number,
  subject: TextToJudge,
  stays = false,
): Handled | Approval {
  // decide
  const origin = decideAtOrigin(client, subject);
  if (origin === null) return UNJUDGED;
  if (typeof origin === 'number') return origin;
  if (origin.kind !== 'go') return refuse(client, type, origin);
  // route
  if (!stays) {
    const elsewhere = route(client, type, origin.dbkey);
    if (elsewhere !== null) return elsewhere;
  }
  // decide again
  const target = decideAtTarget(client, origin, subject);
  if (typeof target === 'number') return target;
  if (target !== null && target.kind !== 'go') return refuse(client, type, target);
  // link: the decision is used up only after this step, because a message that waits for a server comes back here
  if (link(client) === null) return Handled.Later;
  return client.question.approve(target?.query ?? origin.query);
}
