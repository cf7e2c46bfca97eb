/** The timeouts of clients, and the closing of servers that clients still use. */
import { clientIdleTimeout, queryWaitTimeout, serverTimeout } from '../pool/limits.ts';
import type { Server } from '../pool/server.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import { noticeResponse } from '../wire/messages.ts';
import { TxStatus } from '../wire/protocol.ts';
import type { Client, LoggedInClient } from './client.ts';
import type { Sessions } from './sessions.ts';

/** One round over all clients, three times a second: those over a limit get an error and are disconnected. */
export function maintainClients(sessions: Sessions, now: number): void {
  for (const client of [...sessions.clients]) {
    const { state, server } = client;
    if (!client.isLoggedIn()) {
      // operators on the console may take as long as they like
      if (state === 'login') checkLogin(client, now);
    } else if (state === 'login') checkWelcome(client, now);
    else if (state === 'waiting') checkWaiting(client, now);
    else if (server !== null) checkLinked(client, server, now);
    else checkIdle(client, now);
  }
}

function checkLogin(client: Client, now: number): void {
  const { client_login_timeout: limit } = client.context.config.settings;
  if (limit > 0 && now - client.connection.since > limit && client.login.cancelRequest === null) {
    client.close('client_login_timeout', clientErrors.loginTimeout());
  }
}

/** The client waits for the first server of its pool, which reports the settings that clients are welcomed with. */
function checkWelcome(client: LoggedInClient, now: number): void {
  const { client_login_timeout: limit } = client.context.config.settings;
  checkWaiting(client, now);
  if (client.pool.database.watch?.held) return;
  if (limit > 0 && now - client.connection.since > limit)
    client.close('client_login_timeout (server down)', clientErrors.loginTimeoutServerDown());
}

function checkWaiting(client: LoggedInClient, now: number): void {
  const waited = now - client.clock.waitingSince;
  if (client.context.lifecycle.endsWaiting)
    return client.close('server shutting down', clientErrors.serverShuttingDown());
  const user = client.context.directory.users.get(client.user);
  const { query_timeout: queryLimit } = client.context.config.settings;
  if (queryLimit > 0 && waited > queryLimit)
    return client.close('query_timeout', clientErrors.queryTimeoutWaiting());
  const limit = queryWaitTimeout(user, client.pool);
  if (limit > 0 && waited > limit)
    return client.close('query_wait_timeout', clientErrors.queryWaitTimeout(client.pool.opener.lastFailure));
  const { query_wait_notify: notifyAfter } = client.context.config.settings;
  if (
    client.state === 'waiting' &&
    notifyAfter > 0 &&
    waited > notifyAfter * 1000 &&
    client.clock.noticeWait()
  ) {
    // not an answer: the query that waits can still be sent again
    client.write(
      noticeResponse({
        severity: 'NOTICE',
        code: '00000',
        message: 'No server connection available in postgres backend, client being queued',
      }),
    );
  }
}

function checkLinked(client: LoggedInClient, server: Server, now: number): void {
  const { pool } = client;
  if (server.closeReason !== null && isFreeToClose(client)) return server.close(server.closeReason);
  const queryLimit = serverTimeout(pool, 'query_timeout');
  if (queryLimit > 0 && now - lastRequest(client, server, now) > queryLimit) {
    return end(client, clientErrors.queryTimeout());
  }
  const idleLimit = serverTimeout(pool, 'idle_transaction_timeout');
  if (idleLimit > 0 && now - idleInTransactionSince(client, server, now) > idleLimit) {
    return end(client, clientErrors.idleTransactionTimeout());
  }
  const transactionLimit = serverTimeout(pool, 'transaction_timeout');
  if (
    transactionLimit > 0 &&
    client.clock.xactStart !== 0 &&
    now - client.clock.xactStart > transactionLimit
  ) {
    end(client, clientErrors.transactionTimeout());
  }
}

/** While a server is getting the client's settings, query_timeout counts from the time at which the client got it. */
function lastRequest(client: Client, server: Server, now: number): number {
  return server.user === client ? client.clock.lastHeard(now) : server.requestedAt;
}

/**
 * The time since which a client with an open transaction has been idle; `now`: it has no transaction, or something is running.
 */
function idleInTransactionSince(client: Client, server: Server, now: number): number {
  const { clock, outstanding } = client;
  if (clock.queryStart === 0) return server.txStatus === TxStatus.Idle ? now : clock.idleSince;
  const isIdle = outstanding.unsynced && outstanding.empty && client.gate.isOpen && client.intake.isEmpty;
  return clock.idleInPipeline(now, isIdle, outstanding.position);
}

/** Ends the client, and its server for the same reason. */
function end(client: Client, error: ClientError): void {
  client.close(error.message, error, error.message);
}

/**
 * A replication connection may never end by itself, so its server is closed at once. With server_fast_close, a session's
 * server may be closed between two transactions, and the client with it.
 */
function isFreeToClose(client: Client): boolean {
  if (client.replication !== 'none') return true;
  if (!client.context.config.settings.server_fast_close || client.poolMode !== 'session') return false;
  return !client.inTransaction && client.clock.queryStart === 0;
}

function checkIdle(client: LoggedInClient, now: number): void {
  const limit = clientIdleTimeout(client.context.directory.users.get(client.user), client.pool);
  if (limit > 0 && client.state === 'idle' && now - client.clock.idleSince > limit) {
    client.close('client_idle_timeout', clientErrors.idleTimeout());
  }
}
