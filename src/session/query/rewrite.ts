/** Puts the text of a rewrite into a message. */
import { message } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';

/** The comment that pgbouncer-fast-switchover puts before each rewritten query (tag_rewritten in rewrite_query.c). */
const REWRITTEN_TAG = `/* rewritten: pid=${String(process.pid).padStart(5, '0')} */ `;

/**
 * A Query or Parse with another text. The name and the parameter types of a Parse stay.
 * @param query the other text; null: the functions have not changed it
 * @returns null: unchanged
 */
export function rewrite(
  client: LoggedInClient,
  type: number,
  bytes: Buffer,
  query: string | null,
): Buffer | null {
  if (query === null) return null;
  client.transcript.noteRewritten(query);
  if (type === Frontend.Query) return message(Frontend.Query, rewrittenText(client, query));
  const bodyStart = bytes.indexOf(0, HEADER_BYTES) + 1;
  const body = rewriteBody(client, bytes.subarray(bodyStart), query);
  return message(Frontend.Parse, bytes.subarray(HEADER_BYTES, bodyStart), body);
}

/** @param body the part of a Parse after its statement's name: query text, zero byte and parameter types */
export function rewriteBody(client: LoggedInClient, body: Buffer, query: string): Buffer {
  return Buffer.concat([rewrittenText(client, query), body.subarray(body.indexOf(0) + 1)]);
}

function rewrittenText(client: LoggedInClient, query: string): Buffer {
  const { settings } = client.context.config;
  const tagged = settings.rewritten_tag ? `${REWRITTEN_TAG}${query}` : query;
  return Buffer.from(`${tagged}\0`, client.question.isInBytes ? 'latin1' : 'utf8');
}
