/** Brings a client's statements to the server that it is linked to, which may never have had them. */
import type { Server } from '../../pool/server.ts';
import { closeStatement } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import type { Effect } from '../relay/outstanding.ts';
import { parseMessage, type SharedStatement } from './shared.ts';

/** What to do when it is known whether a message was carried out. */
export type Outcome = Required<Pick<Effect, 'undo' | 'done'>>;

/** In `Server.prepared`, in place of the position of a Parse that has been answered. */
const ANSWERED = -1;

/** Statements that are looked at for one that can be closed. */
const MAX_CANDIDATES = 16;

/** Marks a statement as the one that a server has used last (the last of `prepared`). @returns whether the server has it */
export function touch(server: Server, shared: SharedStatement): boolean {
  const since = server.prepared.get(shared);
  if (since === undefined) return false;
  server.prepared.delete(shared);
  server.prepared.set(shared, since);
  return true;
}

/**
 * Prepares a shared statement on a server, and closes others where that makes too many.
 * @param own outcome of the client's own Parse; null: the proxy adds the Parse
 */
export function prepareOn(
  client: LoggedInClient,
  server: Server,
  shared: SharedStatement,
  own: Outcome | null = null,
): void {
  const { max_prepared_statements: limit } = client.context.config.settings;
  const settled = client.statements.unanswered.add(shared);
  const sentAt = client.outstanding.nextPosition;
  client.outstanding.sentParse(own === null, {
    undo: () => {
      settled();
      server.prepared.delete(shared);
      own?.undo();
    },
    done: () => {
      settled();
      if (server.prepared.get(shared) === sentAt) server.prepared.set(shared, ANSWERED);
      own?.done();
    },
  });
  client.database.stats.serverParseCount++;
  server.shapes.delete(shared);
  client.forward(parseMessage(shared));
  server.prepared.set(shared, sentAt);
  while (server.prepared.size > limit) {
    const oldest = oldestOf(client, server);
    if (oldest === null || oldest === shared) break;
    closeOn(client, server, oldest);
  }
}

/** Sends the Close of a shared statement. */
function closeOn(client: LoggedInClient, server: Server, shared: SharedStatement): void {
  const { discards, unanswered } = client.statements;
  const sentAt = server.prepared.get(shared) ?? ANSWERED;
  const droppedBefore = discards.before;
  server.prepared.delete(shared);
  const settled = unanswered.add(shared);
  client.outstanding.sentClose({
    undo: () => {
      settled();
      // the server still has it, unless it has dropped all of them since
      const isDropped = discards.before !== droppedBefore && discards.isDropped(sentAt);
      if (!isDropped) server.prepared.set(shared, ANSWERED);
    },
    done: settled,
  });
  client.forward(closeStatement(shared.serverName));
}

/** The least recently used statement of a server, except those whose Parse is unanswered; null: no candidate. */
function oldestOf(client: LoggedInClient, server: Server): SharedStatement | null {
  let left = MAX_CANDIDATES;
  for (const each of server.prepared.keys()) {
    const shared = each as SharedStatement;
    if (!client.statements.unanswered.isInDoubt(shared)) return shared;
    if (--left === 0) break;
  }
  return null;
}

/**
 * Brings the unnamed statement to the client's server, which may have another client's. If the client has none, the server's
 * is closed, so that the server reports the error.
 * @returns false: it is not known yet what the server has; to be asked again when everything sent has been answered
 */
export function bringUnnamed(client: LoggedInClient): boolean {
  const { outstanding } = client;
  const { unanswered, unnamed } = client.statements;
  if (unnamed.isHere || outstanding.inCopy) return true;
  if (unanswered.has(unnamed)) return !unanswered.isInDoubt(unnamed);
  const settled = unanswered.add(unnamed);
  const done = (): void => {
    settled();
    unnamed.arrived();
  };
  const { parse } = unnamed;
  if (parse === null) {
    outstanding.sentClose({ undo: settled, done });
    client.forward(closeStatement(''));
  } else {
    client.database.stats.serverParseCount++;
    outstanding.sentParse(true, { undo: settled, done });
    client.forward(parse);
  }
  return true;
}
