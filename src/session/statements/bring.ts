/** Brings a client's statements to its linked server, which may not have them. */
import type { PreparedStatement } from '../../pool/prepared.ts';
import type { Server } from '../../pool/server.ts';
import { closeStatement } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import type { Effect } from '../state/entry.ts';
import { parseMessage, type SharedStatement } from '../state/shared.ts';

/** Called once it is known whether a message was carried out. */
export type Outcome = Required<Pick<Effect, 'undo' | 'done'>>;

/** How many statements are examined to find one that can be closed. */
const MAX_CANDIDATES = 16;

/**
 * Prepares a shared statement on a server, and closes others if that makes too many.
 * @param own outcome of the client's own Parse; null: the proxy adds the Parse
 */
export function prepareOn(
  client: LoggedInClient,
  server: Server,
  shared: SharedStatement,
  own: Outcome | null = null,
): void {
  const { max_prepared_statements: limit } = client.context.config.settings;
  const pending = client.statements.unanswered.add(shared);
  const sentAt = client.outstanding.nextPosition;
  client.outstanding.sentParse(own === null, {
    undo: () => {
      pending.settle();
      server.prepared.remove(shared);
      own?.undo();
    },
    done: () => {
      pending.settle();
      server.prepared.answered(shared, sentAt);
      own?.done();
    },
  });
  client.database.stats.serverParseCount++;
  client.forward(parseMessage(shared));
  server.prepared.add(shared, sentAt);
  while (server.prepared.size > limit) {
    const oldest = oldestOf(client, server);
    if (oldest === null || oldest === shared) break;
    closeOn(client, server, oldest);
  }
}

function closeOn(client: LoggedInClient, server: Server, statement: PreparedStatement): void {
  const { discards, unanswered } = client.statements;
  const droppedBefore = discards.before;
  const sentAt = server.prepared.remove(statement);
  const pending = unanswered.add(statement);
  client.outstanding.sentClose({
    undo: () => {
      pending.settle();
      // the server still has it, unless all its statements were dropped since
      const isDropped = discards.before !== droppedBefore && discards.isDropped(sentAt);
      if (!isDropped) server.prepared.restore(statement);
    },
    done: () => pending.settle(),
  });
  client.forward(closeStatement(statement.serverName));
}

/** The least recently used statement of a server, except those whose Parse is unanswered; null: no candidate. */
function oldestOf(client: LoggedInClient, server: Server): PreparedStatement | null {
  let left = MAX_CANDIDATES;
  for (const statement of server.prepared.inOrderOfUse()) {
    if (!client.statements.unanswered.isInDoubt(statement)) return statement;
    if (--left === 0) break;
  }
  return null;
}

/**
 * Brings the unnamed statement to the client's server, which may have another client's. If the client has none, the server's
 * is closed, so that the server reports the error.
 * @returns false: it is not yet known which one the server has; ask again when everything sent has been answered
 */
export function bringUnnamed(client: LoggedInClient): boolean {
  const { outstanding } = client;
  const { unanswered, unnamed } = client.statements;
  if (unnamed.isHere || outstanding.inCopy) return true;
  if (unanswered.has(unnamed)) return !unanswered.isInDoubt(unnamed);
  const pending = unanswered.add(unnamed);
  const done = (): void => {
    pending.settle();
    unnamed.arrived();
  };
  const { parse } = unnamed;
  if (parse === null) {
    outstanding.sentClose({ undo: () => pending.settle(), done });
    client.forward(closeStatement(''));
  } else {
    client.database.stats.serverParseCount++;
    outstanding.sentParse(true, { undo: () => pending.settle(), done });
    client.forward(parse);
  }
  return true;
}
