import { appended } from '../../wire/carry.ts';
import { sizeOf } from '../../wire/frame.ts';
import { HEADER_BYTES } from '../../wire/protocol.ts';
import type { Client } from '../client.ts';
import { cycleEnd, REPLAY_BYTES } from './resendable.ts';

/**
 * What a client of a watched cluster has sent since its transaction began, for as long as no answer to it has reached the
 * client: what is needed to send it again, or to say what has become of it.
 */

/** Pieces that are kept as they came. */
const MAX_PIECES = 64;

/** Bytes have come from the client. */
export function keepForReplay(client: Client, chunk: Buffer): void {
  const isStart =
    !client.blocked &&
    client.held.length === 0 &&
    client.bodyLeft === 0 &&
    client.collecting === null &&
    !client.inTransaction;
  if (isStart) keepOnly(client, chunk);
  else if (client.keepsAll && client.kept !== null) keepMore(client, client.kept, chunk);
  else client.keptWhole = false;
}

/** These bytes are all that the client has sent and is not answered. */
export function keepOnly(client: Client, bytes: Buffer): void {
  client.kept = bytes;
  client.keptMore = null;
  client.keptAnswered = 0;
  client.keptCycles = 0;
  client.keptIsRewritten = false;
  client.keepsAll = true;
  client.keptWhole = true;
}

function keepMore(client: Client, first: Buffer, chunk: Buffer): void {
  const more = (client.keptMore ??= []);
  more.push(chunk);
  let size = first.length;
  for (const piece of more) size += piece.length;
  if (size > REPLAY_BYTES) {
    client.keepsAll = false;
    client.keptWhole = false;
  } else if (more.length > MAX_PIECES) client.kept = appended(first, more, REPLAY_BYTES);
  else return;
  client.keptMore = null;
}

/**
 * The transaction has ended: what the client has sent after it is all that is kept.
 * @returns the pieces after `kept`, to be put back when the answer has been sent; null: nothing is kept
 */
export function keepRest(client: Client): Buffer[] | null {
  const pieces = client.keptMore ?? [];
  let rest = client.keptWhole ? client.kept : null;
  for (let cycles = client.keptCycles + 1; rest !== null && cycles > 0; cycles--) {
    let end = cycleEnd(rest);
    while (end < 0 && pieces.length > 0) {
      rest = Buffer.concat([rest, pieces.shift()!]);
      end = cycleEnd(rest);
    }
    rest = end < 0 ? null : rest.subarray(end);
  }
  if (rest !== null && rest.length === 0) rest = pieces.shift() ?? null;
  if (rest === null) {
    forgetKept(client);
    return null;
  }
  const { keptIsRewritten } = client;
  keepOnly(client, rest);
  client.keptIsRewritten = keptIsRewritten;
  return pieces;
}

/** What the client has sent can't be told from what was answered any more. */
export function forgetKept(client: Client): void {
  client.kept = null;
  client.keptMore = null;
  client.keepsAll = false;
  client.keptWhole = false;
}

/** Sends what the proxy itself answers to the first messages of a pipeline: those after them can still be sent again. */
export function answerAhead(client: Client, reply: Buffer): void {
  const { keepsAll, keptMore, keptWhole } = client;
  client.send(reply);
  if (!keepsAll) return;
  client.keptAnswered++;
  client.keepsAll = true;
  client.keptMore = keptMore;
  client.keptWhole = keptWhole;
}

/** What was kept and is not answered; null: nothing was kept. */
export function keptBytes({ kept, keptMore, keptAnswered }: Client): Buffer | null {
  if (kept === null) return null;
  let bytes = keptMore === null ? kept : Buffer.concat([kept, ...keptMore]);
  for (let i = 0; i < keptAnswered && bytes.length >= HEADER_BYTES; i++)
    bytes = bytes.subarray(sizeOf(bytes));
  return bytes;
}
