/**
 * The result columns of a prepared statement after a change of the schema, or of the user functions that rewrite it. A server
 * that prepared the statement later would send other columns than the client expects, without any error. So the client gets the
 * error that its first server would have reported.
 */
import { hash } from 'node:crypto';
import type { Server } from '../../pool/server.ts';
import { clientErrors } from '../../wire/errors.ts';
import { describeStatement, resultShape } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { answerError } from '../send/reject.ts';
import { Handled } from '../state/handled.ts';
import type { Effect } from '../state/entry.ts';
import { waitForAnswers } from '../send/wait.ts';
import type { NamedStatement } from '../state/named.ts';
import type { UnnamedStatement } from '../state/unnamed.ts';
import { SharedStatement } from '../state/shared.ts';

/** "cached plan must not change result type", in any language: the SQLSTATE and the routine that raises it. */
const STALE = [Buffer.from('\0C0A000\0'), Buffer.from('\0RRevalidateCachedQuery\0')];
/** "bind message has 3 result formats but query has 4 columns" */
const OTHER_COLUMNS = [Buffer.from('\0C08P01\0'), Buffer.from('\0RPortalSetResultFormat\0')];
const STALE_ERROR = clientErrors.staleStatement().encode();

/**
 * Compares the columns that the client was told for a statement with those on its server. If the server's are unknown, it is
 * asked first.
 * @returns null: they are the same, or the client was told none; otherwise the outcome for the Bind
 */
export function checkShape(
  client: LoggedInClient,
  type: number,
  server: Server,
  { shape, shared }: NamedStatement,
): Handled | null {
  const { outstanding } = client;
  if (shape === null || outstanding.inCopy) return null;
  const known = server.prepared.shapeOf(shared);
  if (shape === known) return null;
  if (known !== undefined) {
    client.context.statements.retire(shared);
    answerError(client, type, clientErrors.staleStatement());
    // the server may get a failing Parse, which drops its unnamed statement
    client.statements.unnamed.displaced();
    return Handled.Done;
  }
  outstanding.sentDescribe(true, describing(server, shared, null), shared);
  client.forward(describeStatement(shared.serverName));
  return waitForAnswers(client);
}

/**
 * Takes the result columns from the answer to a Describe.
 * @param statement of the client that asked; null: the proxy asked
 */
export function describing(
  server: Server,
  shared: SharedStatement,
  statement: NamedStatement | null,
): Effect {
  return {
    described(columns: Buffer): void {
      // each client remembers them for each of its statements
      const shape = hashOf(columns);
      server.prepared.described(shared, shape);
      // a statement without a result has none on any server, so servers need not be asked
      if (statement?.shared === shared) statement.described(shape, columns.length > 0);
    },
  };
}

/**
 * User functions have replaced the text of the unnamed statement, and its result has other columns than the client was told.
 * @returns null: as far as is known, it has not; otherwise the outcome for the Bind
 */
export function refuseOtherColumns(client: LoggedInClient, type: number): Handled | null {
  const { unnamed } = client.statements;
  if (unnamed.columns?.differ !== true || client.outstanding.inCopy) return null;
  answerError(client, type, clientErrors.staleStatement());
  // the server may get a failing Parse, which drops its unnamed statement
  unnamed.displaced();
  return Handled.Done;
}

/**
 * Asks the server, which has the unnamed statement, for its result columns, if they may be others than the client was told.
 * @returns null: that is not necessary; otherwise the outcome for the Bind
 */
export function findColumns(client: LoggedInClient): Handled | null {
  const { outstanding, statements } = client;
  const { columns } = statements.unnamed;
  if (columns === null || columns.differ !== null || outstanding.inCopy) return null;
  const { text } = columns;
  const effect = { described: (found: Buffer) => columns.found(hashOf(found), text) };
  outstanding.sentDescribe(true, effect, statements.unnamed);
  client.forward(describeStatement(''));
  return waitForAnswers(client);
}

/** Takes the result columns of the unnamed statement from the answer to the client's Describe. */
export function describingUnnamed(unnamed: UnnamedStatement): Effect {
  const columns = unnamed.described();
  const { text } = columns;
  return { described: (told: Buffer) => columns.told(hashOf(told), text) };
}

function hashOf(columns: Buffer): string {
  return hash('sha256', resultShape(columns), 'base64');
}

/**
 * Looks at an error: after a change of the schema a statement may keep failing until it is prepared again. Drivers do prepare
 * it again, and must then not get the statement that other clients prepared before.
 * @param subject of the message that the error answers, as the ledger has it
 * @param error the whole ErrorResponse
 * @returns the error that replaces it for the client; null: the error is passed on. A server that prepared the statement after
 * the change rejects the Bind, where the client's first server would report that the result has changed.
 */
export function retireStale(client: LoggedInClient, subject: object, error: Buffer): Buffer | null {
  if (!(subject instanceof SharedStatement)) return null;
  const isElsewhere = OTHER_COLUMNS.every((field) => error.includes(field));
  if (!isElsewhere && !STALE.every((field) => error.includes(field))) return null;
  client.context.statements.retire(subject);
  return isElsewhere ? STALE_ERROR : null;
}
