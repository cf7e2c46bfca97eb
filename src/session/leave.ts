import type { ClientError } from '../wire/errors.ts';
import type { Client } from './client.ts';

/** The end of a client: what is told to whom, and what becomes of its server. */

const EMPTY = Buffer.alloc(0);
/** One who does not read his error must not keep the socket, in ms. */
const LINGER_MS = 2000;

/** `Client.close`, which says what the parameters are. */
export function leave(
  client: Client,
  reason: string,
  error: ClientError | null,
  serverReason: string | null,
): void {
  const wasUnknown = client.state === 'login' && client.user === '' && !client.isCancelRequest;
  client.state = 'closed';
  client.sessions.forget(client);
  // who says nothing at all is a health check
  if (client.sessions.registry.config.settings.log_disconnections && !(wasUnknown && error === null)) {
    client.sessions.log.info(
      { client: client.id, event: 'client_close', reason },
      `${client.label} closing because: ${reason} (age=${client.ageSeconds}s)`,
    );
  }
  if (error !== null) client.logPoolerError(error);
  client.pool?.cancelWait(client);
  client.database?.cluster?.letGo(client);
  client.onLeft?.();
  abandonServer(client, serverReason);
  releaseStatements(client);
  client.held = EMPTY;
  client.kept = null;
  client.collecting = null;
  const { socket } = client;
  if (socket.destroyed) return;
  // In the middle of a server's message an error of ours would be taken for its rest.
  if (error === null || (client.replyLeft > 0 && client.replyForwarded)) {
    socket.destroySoon();
  } else {
    socket.end(error.encode());
    socket.resume();
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
  }
}

function abandonServer(client: Client, reason: string | null): void {
  const { server, outstanding } = client;
  if (server === null) return;
  // or else its settings are just being applied
  const isLinked = server.user === client;
  const { inTransaction } = client;
  client.server = null;
  server.user = null;
  server.socket.resume();
  if (client.replication !== 'none') {
    server.close('replication client was closed');
    outstanding.clear();
    return;
  }
  const isClean = isLinked && !inTransaction && client.bodyLeft === 0 && !client.congested;
  if (isClean && client.replyLeft === 0 && client.replyCarry.length === 0) {
    server.needsReset = client.pool!.mode === 'session';
    server.inDoubt = outstanding.tainted;
    if (outstanding.mixed) server.closeReason ??= 'query in the middle of a pipeline';
    client.pool!.give(server);
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

function releaseStatements(client: Client): void {
  for (const { shared } of client.statements?.values() ?? []) client.sessions.statements.release(shared);
  client.statements = null;
}
