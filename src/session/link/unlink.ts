/**
 * The end of a loan. In transaction and statement mode the server goes back with the ReadyForQuery that says idle and leaves
 * nothing outstanding; in session mode with the end of the client.
 */
import type { Database } from '../../pool/database.ts';
import { NOT_THE_WRITER } from '../../pool/relocation.ts';
import type { LoggedInClient } from '../client.ts';
import { askReadOnly } from './read-only.ts';

/** A query cycle has ended: the server goes back, unless the client still needs it. */
export function unlinkIfDone(client: LoggedInClient): void {
  const { server, replies } = client;
  if (server === null || client.inTransaction) return;
  // the rest of a CopyData whose COPY has failed: this function is called again once it has arrived
  if (client.intake.isCut) return;
  if (client.poolMode === 'session') {
    // server_fast_close: a session may end with its transaction
    const { server_fast_close: isFast } = client.context.config.settings;
    const { closeReason } = server;
    if (closeReason === NOT_THE_WRITER || (closeReason !== null && isFast)) server.close(closeReason);
    return;
  }
  if (replies.isUnsent) replies.unlinkWhenFlushed();
  else unlink(client);
}

/** Gives the server back. The client must be between transactions. */
function unlink(client: LoggedInClient): void {
  const { server, outstanding } = client;
  if (server === null) return;
  client.loan.end();
  client.clock.beginIdle(performance.now());
  server.detach();
  // the client may have been paused until the server's drain event, which it will no longer get
  if (client.gate.isOpen && client.socket.isPaused()) client.readOn();
  const { tainted, mixed } = outstanding;
  if (tainted || mixed) {
    outstanding.clear();
    if (tainted) server.markInDoubt();
    if (mixed && server.closeReason === null) server.closeWhenFree('query in the middle of a pipeline');
  }
  if (client.settings.isReadOnlyInDoubt) askReadOnly(client, server);
  else client.pool.give(server);
}

/**
 * Moves a client that is between transactions to another database. In session mode this ends the session on the old server, as
 * if the client had left.
 */
export function moveTo(client: LoggedInClient, database: Database): void {
  const { server, replies } = client;
  if (server !== null) {
    if (client.pool.mode === 'session') server.markForReset();
    replies.unlinkNow();
    // the unsent bytes are in this server's read buffer, which its next client would overwrite
    if (replies.isUnsent) server.close('client moved with an answer unsent', { notify: false });
    unlink(client);
  }
  const pool = client.context.directory.pool(database, client.user);
  // a forced user's server must neither see the client's password nor refuse the client because of it
  if (pool.credentials.user === client.user) pool.credentials.learnFirst(client.login.learned);
  client.enter(database, pool);
}
