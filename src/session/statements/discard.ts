/** Queries that drop prepared statements: DISCARD ALL, DEALLOCATE ALL, and any Query, which drops the unnamed statement. */
import { dropsAll } from '../../sql/deallocate.ts';
import { HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';

/** A Query is sent. It has no effect if the server skips it, up to a Sync. */
export function noteQuery(client: LoggedInClient, bytes: Buffer, at = 0, size = bytes.length): void {
  if (client.outstanding.skipping) return;
  client.statements.unnamed.dropped();
  noteDiscard(client, bytes, at + HEADER_BYTES, at + size);
}

/**
 * A text is sent that may drop all prepared statements. One that is not recognized (after a comment, or among several
 * statements) is noticed after it has run. Until then, only a pipelined use of an earlier statement goes wrong.
 */
export function noteDiscard(client: LoggedInClient, chunk: Buffer, start: number, end: number): void {
  if (dropsAll(chunk, start, end)) client.statements.discards.expect();
}

/** DISCARD ALL or DEALLOCATE ALL has run on the client's server: only statements prepared after it survive. */
export function dropAllStatements(client: LoggedInClient): void {
  const before = client.outstanding.position;
  client.statements.dropBefore(before);
  client.server?.prepared.dropBefore(before);
}
