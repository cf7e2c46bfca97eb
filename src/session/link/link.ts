/** The beginning of a loan: a client gets a server, and the server gets the client's settings. */
import { ControlError, runControl } from '../../pool/control.ts';
import type { Server } from '../../pool/server.ts';
import { clientErrors } from '../../wire/errors.ts';
import { parameterStatus } from '../../wire/messages.ts';
import type { LoggedInClient } from '../client.ts';
import { waitsWithServer } from './hold.ts';
import { moveTo, unlinkIfDone } from './unlink.ts';

/** How many servers in a row may be lost before they have the client's settings. */
const MAX_LOST_UNREADY = 3;

/** @returns the client's server; null: it has none yet, and the gate is closed until it has one */
export function link(client: LoggedInClient): Server | null {
  const { server: present } = client;
  if (present !== null) return waitsWithServer(client) ? null : present;
  if (client.alias !== null) follow(client, client.alias);
  const now = performance.now();
  client.clock.beginWait(now);
  client.clock.beginQuery(now, client.database.stats);
  const server = client.pool.acquire(client);
  if (server !== null) return attach(client, server) ? server : null;
  client.gate.close('server');
  return null;
}

/** Moves the client if its alias now stands for another database. */
function follow(client: LoggedInClient, alias: string): void {
  const target = client.context.directory.resolveAlias(alias, client.database);
  if (target !== null && target !== client.database) moveTo(client, target);
}

/** The pool lends the server that the client was waiting for. */
export function takeLent(client: LoggedInClient, server: Server): void {
  if (attach(client, server)) client.resume();
}

/** The node from which a waiting client was to get its server does not answer: `link` finds another one for the alias. */
export function leaveNode(client: LoggedInClient): void {
  const { alias, pool, database, context } = client;
  if (alias === null || client.state !== 'waiting') return;
  const target = context.directory.resolveAlias(alias, database);
  if (target === null || target === database) return;
  pool.cancelWait(client);
  client.gate.open('server');
  client.resume();
}

/** @returns false: the server gets the client's settings first, and then the client resumes by itself */
function attach(client: LoggedInClient, server: Server): boolean {
  const { stats } = client.database;
  const now = performance.now();
  stats.noteWait((now - client.clock.waitingSince) * 1000);
  server.noteRequest(now);
  client.loan.begin(server);
  client.statements.unnamed.displaced();
  client.clock.endWait(now);
  const sql = client.settings.difference(server.settings);
  if (sql === null) {
    beginUse(client, server);
    client.gate.open('server');
    return true;
  }
  client.gate.close('settings');
  applySettings(client, server, sql);
  return false;
}

/** The server has the client's settings: from now on its answers are for the client. */
function beginUse(client: LoggedInClient, server: Server): void {
  tellNews(client, server);
  client.loan.ready();
  server.attach(client);
}

/** @param sql sets the values that differ */
function applySettings(client: LoggedInClient, server: Server, sql: string): void {
  const { log } = client.context;
  log.debug({ client: client.id, server: server.id }, `${server.label} varcache_apply: ${sql}`);
  runControl(server, sql).then(
    () => settingsApplied(client, server),
    (error: Error) => {
      log.error(
        { client: client.id, server: server.id },
        `${server.label} varcache_apply failed: ERROR: ${error.message}`,
      );
      server.close('invalid server parameter', { notify: false });
      if (client.server !== server) return;
      if (error instanceof ControlError && error.isLoss) return linkAgain(client, error.message);
      client.loan.end();
      client.close('invalid server parameter', clientErrors.invalidServerParameter());
    },
  );
}

function settingsApplied(client: LoggedInClient, server: Server): void {
  if (client.isClosed || client.server !== server) return;
  // the server has answered, and announced its end in the same read
  if (server.state === 'closed') return linkAgain(client, 'server conn crashed?');
  noteApplied(client, server);
  beginUse(client, server);
  client.gate.open('settings');
  const { isCanceled } = client.question;
  client.resume();
  // no message may have been sent whose answer would end the loan
  if (isCanceled && client.server === server) unlinkIfDone(client);
}

/** The client now has the server's spelling of its settings. */
function noteApplied(client: LoggedInClient, server: Server): void {
  for (const { name, from, to } of client.settings.applied(server.settings)) {
    client.context.log.debug(
      { client: client.id },
      `${client.label} varcache_set_canonical: setting ${name} to its canonical version ${from} -> ${to}`,
    );
  }
}

/** Tells the client where this server's settings differ from those that it was told before. */
function tellNews(client: LoggedInClient, server: Server): void {
  const news = client.settings.news(server.settings);
  if (news === null || client.replies.isCut) return;
  // not an answer: the client's bytes can still be resent
  client.write(Buffer.concat(news.map(([name, value]) => parameterStatus(name, value))));
}

/** The server was lost before it got any of the client's bytes: any other server will do. */
function linkAgain(client: LoggedInClient, reason: string): void {
  // in a cluster, the next server belongs to the node that turns out to be the writer
  if (client.database.watch !== null) client.loan.end();
  else if (client.loan.endUnready() === MAX_LOST_UNREADY)
    return client.close(reason, clientErrors.serverLost(reason));
  client.gate.close('server');
  const server = client.pool.acquire(client);
  if (server !== null && attach(client, server)) client.resume();
}
