/** The end of a client: its last error, its server, and its socket. */
import type { ClientError } from '../wire/errors.ts';
import type { Client } from './client.ts';
import { subjectOf } from './send/trace.ts';

/** How long (ms) the socket of a client that has gone stays open for unsent bytes: the rest of a result, or an error. */
const LINGER_MS = 2000;

/** The handler of Client.close, which documents the parameters. */
export function leave(
  client: Client,
  reason: string,
  error: ClientError | null,
  serverReason: string | null,
): void {
  const wasUnknown =
    client.gate.reason === 'login' && client.user === '' && client.login.cancelRequest === null;
  client.context.forget(client);
  // a connection that sent nothing is a health check
  if (client.context.config.settings.log_disconnections && !(wasUnknown && error === null)) {
    client.context.log.info(
      { client: client.id, event: 'client_close', reason },
      `${client.label} closing because: ${reason} (age=${client.connection.ageSeconds}s)`,
    );
  }
  if (error !== null) client.logPoolerError(error);
  client.pool?.cancelWait(client);
  client.database?.watch?.stopWaiting(client);
  client.errand.left();
  if (client.isLoggedIn()) client.clock.trace?.describe(subjectOf(client, null));
  client.clock.leave(performance.now(), error?.code ?? null);
  abandonServer(client, serverReason);
  client.question.drop();
  client.statements.releaseAll();
  client.intake.clear();
  client.transcript.forget();
  if (client.socket.destroyed) return;
  // in the middle of a server's message, the client would take an error for the rest of that message
  if (error === null || client.replies.isCut) client.socket.destroySoon();
  else sayLast(client, error);
  if (!client.socket.destroyed) linger(client);
}

function sayLast({ socket }: Client, error: ClientError): void {
  socket.end(error.encode());
  // closing a socket with unread bytes makes the kernel send a reset, and the client would not see the error
  socket.resume();
}

/** Destroys the socket once all bytes are sent and the other side has closed, at the latest after LINGER_MS. */
function linger({ socket, context }: Client): void {
  // the socket still has a descriptor, so it counts in max_client_conn
  if (socket.writableLength > 0) context.lingering.add(socket);
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  timer.unref();
  socket.once('close', () => {
    clearTimeout(timer);
    context.lingering.delete(socket);
  });
}

function abandonServer(client: Client, reason: string | null): void {
  const { server, outstanding } = client;
  if (server === null) return;
  // otherwise the server is still receiving the client's settings
  const isLinked = server.user === client;
  const { inTransaction } = client;
  client.loan.end();
  server.detach();
  // the client's unsent bytes are in the read buffer of the server
  if (!client.replies.isUnsent) server.socket.resume();
  if (client.replication !== 'none') {
    server.close('replication client was closed');
    outstanding.clear();
    return;
  }
  const isClean = isLinked && !inTransaction && client.intake.bodyLeft === 0 && !client.replies.isUnsent;
  if (isClean && client.replies.isEmpty) {
    if (server.pool.mode === 'session') server.markForReset();
    if (outstanding.tainted) server.markInDoubt();
    if (outstanding.mixed && server.closeReason === null)
      server.closeWhenFree('query in the middle of a pipeline');
    server.pool.give(server);
  } else {
    server.close(reason ?? leftBehind(client, inTransaction));
  }
  outstanding.clear();
}

/** Why the server can't be given to another client, in pgbouncer's words. */
function leftBehind({ outstanding }: Client, inTransaction: boolean): string {
  if (!outstanding.empty) return 'client disconnected with query in progress';
  if (inTransaction) return 'client disconnect while server was not ready';
  return 'client disconnect before everything was sent to the server';
}
