import { clientIdleTimeout, queryWaitTimeout, serverTimeout } from '../pool/limits.ts';
import type { Server } from '../pool/server.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import { noticeResponse } from '../wire/messages.ts';
import { TxStatus } from '../wire/protocol.ts';
import type { Client } from './client.ts';
import type { Sessions } from './sessions.ts';

/** One round over all clients (three times a second): whoever has taken too long is told so and disconnected. */
export function maintainClients(sessions: Sessions, now: number): void {
  for (const client of [...sessions.clients]) {
    // the first client of a pool waits for a server before it is welcomed
    if (client.state === 'login' && client.pool === null) checkLogin(client, now);
    else if (client.state === 'login') checkWelcome(client, now);
    else if (client.state === 'waiting') checkWaiting(client, now);
    else if (client.server !== null) checkLinked(client, now);
    else checkIdle(client, now);
  }
}

function checkLogin(client: Client, now: number): void {
  const { client_login_timeout: limit } = client.sessions.registry.config.settings;
  if (limit > 0 && now - client.connectedAt > limit && !client.isCancelRequest) {
    client.close('client_login_timeout', clientErrors.loginTimeout());
  }
}

/** It waits for the first server of its pool, which tells what clients are welcomed with. */
function checkWelcome(client: Client, now: number): void {
  const { client_login_timeout: limit } = client.sessions.registry.config.settings;
  checkWaiting(client, now);
  if (client.pool!.database.cluster?.held) return;
  if (limit > 0 && now - client.connectedAt > limit)
    client.close('client_login_timeout (server down)', clientErrors.loginTimeoutServerDown());
}

function checkWaiting(client: Client, now: number): void {
  const waited = now - client.waitingSince;
  const { registry } = client.sessions;
  if (client.sessions.endsWaiting)
    return client.close('server shutting down', clientErrors.serverShuttingDown());
  const user = registry.user(client.user);
  const { query_timeout: queryLimit } = client.sessions.registry.config.settings;
  if (queryLimit > 0 && waited > queryLimit)
    return client.close('query_timeout', clientErrors.queryTimeoutWaiting());
  const limit = queryWaitTimeout(user, client.pool!);
  if (limit > 0 && waited > limit)
    return client.close('query_wait_timeout', clientErrors.queryWaitTimeout(client.pool!.opener.lastFailure));
  const { query_wait_notify: notifyAfter } = client.sessions.registry.config.settings;
  if (client.state === 'waiting' && notifyAfter > 0 && waited > notifyAfter * 1000 && !client.noticedWait) {
    client.noticedWait = true;
    client.send(
      noticeResponse({
        severity: 'NOTICE',
        code: '00000',
        message: 'No server connection available in postgres backend, client being queued',
      }),
    );
  }
}

function checkLinked(client: Client, now: number): void {
  const pool = client.pool!;
  const server = client.server!;
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
  if (transactionLimit > 0 && client.xactStart !== 0 && now - client.xactStart > transactionLimit) {
    end(client, clientErrors.transactionTimeout());
  }
}

/**
 * query_timeout counts from the last that the client has sent, as in pgbouncer: a COPY whose data keeps coming and a
 * replication connection that keeps answering go on. While a server is brought to the client's settings it counts from
 * when the client got it; now: nothing runs.
 */
function lastRequest(client: Client, server: Server, now: number): number {
  if (server.user !== client) return server.requestedAt;
  if (client.queryStart === 0) return now;
  if (client.hasSentMore) {
    client.hasSentMore = false;
    client.heardAt = now;
  }
  return Math.max(client.queryStart, client.heardAt);
}

/**
 * Since when a client with an open transaction has done nothing, in ms; `now`: it has none, or something runs. In a pipeline
 * the server says nothing of its state, so it counts from when all was first seen to be answered.
 */
function idleInTransactionSince(client: Client, server: Server, now: number): number {
  const { outstanding } = client;
  if (client.queryStart === 0) return server.txStatus === TxStatus.Idle ? now : client.idleSince;
  const isIdle = outstanding.unsynced && outstanding.empty && !client.blocked && client.bodyLeft === 0;
  if (!isIdle || client.held.length > 0 || client.collecting !== null) {
    client.idlePosition = -1;
    return now;
  }
  if (client.idlePosition !== outstanding.position) {
    client.idlePosition = outstanding.position;
    client.idleInPipelineSince = now;
  }
  return client.idleInPipelineSince;
}

/** Its server goes for the same reason. */
function end(client: Client, error: ClientError): void {
  client.close(error.message, error, error.message);
}

/**
 * A replication connection may never come to an end by itself, so its server goes at once. server_fast_close: a session's
 * server may go between two transactions, and the client with it.
 */
function isFreeToClose(client: Client): boolean {
  if (client.replication !== 'none') return true;
  if (!client.sessions.registry.config.settings.server_fast_close || client.poolMode !== 'session')
    return false;
  return !client.inTransaction && client.queryStart === 0;
}

function checkIdle(client: Client, now: number): void {
  if (client.pool === null) return;
  const limit = clientIdleTimeout(client.sessions.registry.user(client.user), client.pool);
  if (limit > 0 && client.state === 'idle' && now - client.idleSince > limit) {
    client.close('client_idle_timeout', clientErrors.idleTimeout());
  }
}
