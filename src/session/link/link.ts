import type { Database } from '../../pool/database.ts';
import { ControlError, runControl } from '../../pool/control.ts';
import { NOT_THE_WRITER } from '../../pool/relocation.ts';
import type { Server } from '../../pool/server.ts';
import { clientErrors } from '../../wire/errors.ts';
import { parameterStatus } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { askReadOnly } from './read-only.ts';
import { waitsWithServer } from './hold.ts';

/**
 * Link and unlink: when a client has a server, and when it goes back. In transaction and statement mode the link ends
 * with the ReadyForQuery that says idle and leaves nothing outstanding; in session mode with the client.
 */

/** Another node has taken over what the client asked for. */
function follow(client: LoggedInClient, alias: string): void {
  const target = client.context.directory.resolveAlias(alias, client.database);
  if (target !== null && target !== client.database) moveTo(client, target);
}

/** Whether the client is linked now. False: it will be later, and the gate is closed until then. */
export function link(client: LoggedInClient): boolean {
  if (client.server !== null) return !waitsWithServer(client);
  if (client.alias !== null) follow(client, client.alias);
  const now = performance.now();
  client.clock.beginWait(now);
  client.clock.beginQuery(now, client.database.stats);
  const server = client.pool.acquire(client);
  if (server !== null) return attach(client, server);
  client.gate.close('server');
  return false;
}

/**
 * Gives a client its server. False: the server has to be brought to the client's settings first; reading goes on by
 * itself when that is done.
 */
function attach(client: LoggedInClient, server: Server): boolean {
  const stats = client.database.stats;
  const now = performance.now();
  stats.serverAssignmentCount++;
  stats.waitTime += (now - client.clock.waitingSince) * 1000;
  server.noteRequest(now);
  client.server = server;
  client.links++;
  client.statements.unnamed.displaced();
  client.clock.endWait();
  const sql = client.settings.difference(server);
  if (sql === null) {
    tellNews(client, server);
    client.lostWhileSet = 0;
    server.attach(client);
    client.gate.open('server');
    return true;
  }
  client.gate.close('settings');
  applyParameters(client, server, sql);
  return false;
}

/** The pool lends the server that the client was waiting for. */
export function takeLent(client: LoggedInClient, server: Server): void {
  if (attach(client, server)) client.resume();
}

/** The node that a waiting client would get a server of does not answer: `link` finds another that the alias stands for. */
export function leaveNode(client: LoggedInClient): void {
  const { alias, pool, database, context } = client;
  if (alias === null || client.state !== 'waiting') return;
  const target = context.directory.resolveAlias(alias, database);
  if (target === null || target === database) return;
  pool.cancelWait(client);
  client.gate.open('server');
  client.resume();
}

function applyParameters(client: LoggedInClient, server: Server, sql: string): void {
  const { log } = client.context;
  log.debug({ client: client.id, server: server.id }, `${server.label} varcache_apply: ${sql}`);
  runControl(server, sql).then(
    () => {
      if (client.state === 'closed' || client.server !== server) return;
      // it has answered, and said in the same breath that it is going away
      if (server.state === 'closed') return linkAgain(client, 'server conn crashed?');
      client.lostWhileSet = 0;
      noteApplied(client, server);
      tellNews(client, server);
      server.attach(client);
      client.gate.open('settings');
      const { isCanceled } = client.question;
      client.resume();
      // nothing may have been sent that an answer would come for
      if (isCanceled && client.server === server) unlinkIfDone(client);
    },
    (error: Error) => {
      log.error(
        { client: client.id, server: server.id },
        `${server.label} varcache_apply failed: ERROR: ${error.message}`,
      );
      server.close('invalid server parameter', { notify: false });
      if (client.server !== server) return;
      if (error instanceof ControlError && error.isLoss) return linkAgain(client, error.message);
      client.server = null;
      client.close('invalid server parameter', clientErrors.invalidServerParameter());
    },
  );
}

/** The server has the client's settings now, and the client has the server's spelling of them. */
function noteApplied(client: LoggedInClient, server: Server): void {
  for (const { name, from, to } of client.settings.applied(server)) {
    client.context.log.debug(
      { client: client.id },
      `${client.label} varcache_set_canonical: setting ${name} to its canonical version ${from} -> ${to}`,
    );
  }
}

/** What it should know of its server, which is not the one that it had before. */
function tellNews(client: LoggedInClient, server: Server): void {
  const news = client.settings.news(server);
  if (news === null || client.replies.isCut) return;
  // not an answer: what the client has sent can still be sent again
  client.write(Buffer.concat(news.map(([name, value]) => parameterStatus(name, value))));
}
/** How many servers in a row may be lost before they had the client's settings. */
const MAX_LOST = 3;

/** Nothing of the client's has been sent yet: any other server does as well. */
function linkAgain(client: LoggedInClient, reason: string): void {
  client.server = null;
  // In a cluster the next one comes from the node that is found to be the writer.
  if (client.database.watch === null && ++client.lostWhileSet === MAX_LOST)
    return client.close(reason, clientErrors.serverLost(reason));
  client.gate.close('server');
  const server = client.pool.acquire(client);
  if (server !== null && attach(client, server)) client.resume();
}

/** Gives the server back, if nothing speaks against it. Called at each end of a query cycle. */
export function unlinkIfDone(client: LoggedInClient): void {
  const { server } = client;
  if (server === null || client.inTransaction) return;
  // the rest of a CopyData whose COPY has failed; looked at again when it has come
  if (client.intake.isCut) return;
  if (client.poolMode === 'session') {
    // server_fast_close: the end of the transaction is as good as that of the session
    const { server_fast_close: isFast } = client.context.config.settings;
    const { closeReason } = server;
    if (closeReason === NOT_THE_WRITER || (closeReason !== null && isFast)) server.close(closeReason);
    return;
  }
  if (client.replies.isUnsent) client.replies.unlinkWhenFlushed();
  else unlink(client);
}

/** Gives the server back. The client must be between transactions. */
export function unlink(client: LoggedInClient): void {
  const server = client.server;
  if (server === null) return;
  client.server = null;
  client.clock.beginIdle(performance.now());
  server.detach();
  // The server's drain is no longer told to this client, which may have been paused for it.
  if (client.gate.isOpen && client.socket.isPaused()) client.readOn();
  const { tainted, mixed } = client.outstanding;
  if (tainted || mixed) {
    client.outstanding.clear();
    if (tainted) server.markInDoubt();
    if (mixed && server.closeReason === null) server.closeWhenFree('query in the middle of a pipeline');
  }
  if (client.settings.isReadOnlyInDoubt) askReadOnly(client, server);
  else client.pool.give(server);
}

/**
 * Moves a client that is between transactions to another database's pool. In session mode that ends the session on the
 * old server, as if the client had left.
 */
export function moveTo(client: LoggedInClient, database: Database): void {
  if (client.server !== null) {
    if (client.pool.mode === 'session') client.server.markForReset();
    client.replies.unlinkNow();
    // What it has still to get is in this server's read buffer, which the next client would write over.
    if (client.replies.isUnsent) client.server.close('client moved with an answer unsent', { notify: false });
    unlink(client);
  }
  const pool = client.context.directory.pool(database, client.user);
  // a forced user's server must not be shown the client's password, nor be refused because of it
  if (pool.credentials.user === client.user) pool.credentials.learnFirst(client.learned);
  client.enter(database, pool);
}
