import type { ClientError } from '../wire/errors.ts';
import type { Client } from './client.ts';

/** The end of a client: what is told to whom, and what becomes of its server. */

/**
 * How long the socket of a client that is gone stays open for what it has not taken yet: the rest of a result, or an error.
 * A client that reads nothing gets no more than that; in ms.
 */
export const LINGER_MS = 2000;

/** `Client.close`, which says what the parameters are. */
export function leave(
  client: Client,
  reason: string,
  error: ClientError | null,
  serverReason: string | null,
): void {
  const wasUnknown =
    client.gate.reason === 'login' && client.user === '' && client.login.cancelRequest === null;
  client.context.forget(client);
  // who says nothing at all is a health check
  if (client.context.config.settings.log_disconnections && !(wasUnknown && error === null)) {
    client.context.log.info(
      { client: client.id, event: 'client_close', reason },
      `${client.label} closing because: ${reason} (age=${client.connection.ageSeconds}s)`,
    );
  }
  if (error !== null) client.logPoolerError(error);
  client.pool?.cancelWait(client);
  client.database?.watch?.letGo(client);
  client.errand.left();
  abandonServer(client, serverReason);
  client.statements.releaseAll();
  client.intake.clear();
  client.transcript.forget();
  if (client.socket.destroyed) return;
  // In the middle of a server's message an error of ours would be taken for its rest.
  if (error === null || client.replies.isCut) client.socket.destroySoon();
  else sayLast(client, error);
  if (!client.socket.destroyed) linger(client);
}

function sayLast({ socket }: Client, error: ClientError): void {
  socket.end(error.encode());
  // closed with something unread, the kernel would send a reset, and the client would not see the error
  socket.resume();
}

/** The socket goes when everything has been taken and the other side has closed, or else when its time is over. */
function linger({ socket, context }: Client): void {
  // it still has a descriptor, and counts in max_client_conn
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
  // or else its settings are just being applied
  const isLinked = server.user === client;
  const { inTransaction } = client;
  client.loan.end();
  server.detach();
  // what it sends now would be written over what the client has still to take
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

/** Why nobody else can have its server, in pgbouncer's words. */
function leftBehind({ outstanding }: Client, inTransaction: boolean): string {
  if (!outstanding.empty) return 'client disconnected with query in progress';
  if (inTransaction) return 'client disconnect while server was not ready';
  return 'client disconnect before everything was sent to the server';
}
