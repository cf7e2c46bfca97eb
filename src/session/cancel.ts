/**
 * CancelRequests ("Canceling Requests in Progress"). Each arrives on a connection of its own, carries the key of the client
 * whose query it cancels, and gets no answer, whether it succeeds or not.
 */
import { sendCancel } from '../pool/connect.ts';
import { poolSize } from '../pool/limits.ts';
import { markKey, nextHop, peerOf } from '../pool/peers.ts';
import type { Pool } from '../pool/pool.ts';
import { clientErrors } from '../wire/errors.ts';
import { Frontend } from '../wire/protocol.ts';
import type { Client, LoggedInClient } from './client.ts';
import type { CancelRequest } from './state/login.ts';
import type { CancelKey } from './state/cancel-keys.ts';
import { answerError } from './send/reject.ts';
import { dropHeld } from './send/requests.ts';

/** Delivers a request to the server of the client that has this key, or to the peer that issued the key. */
export function forwardCancel(requester: Client, pid: number, secret: Buffer): void {
  const { config, peers, cancelKeys } = requester.context;
  const { cancel_wait_timeout: timeout } = config.settings;
  const { ownId } = peers;
  const key = Buffer.allocUnsafe(4 + secret.length);
  key.writeInt32BE(pid, 0);
  secret.copy(key, 4);
  const request = requester.login.beginCancelRequest();
  const signal = AbortSignal.timeout(Math.max(1, timeout || 2 ** 31 - 1));

  // a key from before the process had its id looks like anybody's
  const isOwn = cancelKeys.find(key.toString('latin1')) !== undefined;
  const peer = isOwn || ownId === 0 ? undefined : peers.find(peerOf(key));
  if (peer !== undefined) {
    const next = nextHop(key);
    if (next === null) return requester.close('failed cancel request: too many hops between peers');
    return report(
      requester,
      peers
        .forward(peer, next, signal, requester.id, () => request.noteSent())
        .then(() => 'successfully sent cancel request'),
      signal,
    );
  }
  // a peer that passed the request on has changed the last bits
  if (!isOwn) markKey(key, ownId);
  const target = cancelKeys.find(key.toString('latin1'));
  if (target === undefined) return requester.close('failed cancel request');
  report(requester, cancel(requester, request, target, signal), signal);
}

/** The key in BackendKeyData. @param secretBytes length of the secret: 4 in protocol 3.0 */
export function issueCancelKey(client: Client, secretBytes: number): CancelKey {
  const { cancelKeys, peers } = client.context;
  const key = cancelKeys.issue(client, secretBytes, peers.ownId);
  client.login.noteCancelKey(key.text);
  return key;
}

/** Logs the outcome. The requester's connection stays open until then. */
function report(requester: Client, outcome: Promise<string>, signal: AbortSignal): void {
  outcome.then(
    (reason) => requester.close(reason),
    (error: Error) => {
      requester.context.log.warn(
        { client: requester.id },
        `${requester.label} cancel request failed: ${error.message}`,
      );
      requester.close(signal.aborted ? 'cancel_wait_timeout' : 'failed cancel request');
    },
  );
}

async function cancel(
  requester: Client,
  request: CancelRequest,
  target: Client,
  signal: AbortSignal,
): Promise<string> {
  if (target.errand.cancel()) return 'cancel request for console client';
  if (target.loss.hasNothingToCancel) return 'cancel request for a query that has ended';
  if (!target.isLoggedIn()) return cancelHeld(target);
  if (target.state === 'waiting') {
    target.pool.cancelWait(target);
    target.database.watch?.stopWaiting(target);
    target.loss.endVerdict();
    target.gate.endWait();
    takeBack(target);
    target.resume();
    return 'cancel request for a waiting client';
  }
  const { pool } = target;
  if (!isRunning(target)) return cancelHeld(target);
  request.aimAt(pool);
  return await pool.cancels.inTurn(limit(pool), signal, async () => {
    const { server } = target;
    // with nothing outstanding, the request would cancel the next query, or another client's
    if (server === null || !isRunning(target)) return cancelHeld(target);
    server.cancelBegins();
    try {
      await pool.cancels.deliver(pool.context.ids, requester.id, (delivery) =>
        sendCancel(server, signal, () => {
          delivery.noteSent();
          request.noteSent();
        }),
      );
    } finally {
      server.cancelEnds();
    }
    return 'successfully sent cancel request';
  });
}

/** Cancels a query that is held while the server gets the client's settings, or while user functions are asked. */
function cancelHeld(target: Client): string {
  const { gate } = target;
  const isHeld = !gate.isOpen && gate.reason !== 'answers' && target.intake.held.length > 0;
  if (!isHeld || target.state === 'closed') return 'cancel request for an idle client';
  target.question.cancel();
  if (gate.reason === 'decision') {
    // the decision may take long
    target.question.drop();
    gate.open('decision');
    target.resume();
  }
  return 'cancel request for a query that was not sent yet';
}

function isRunning(target: LoggedInClient): boolean {
  return target.server !== null && target.server.user === target && !target.outstanding.empty;
}

/** pgbouncer delivers at most twice as many cancel requests at a time as the pool may have servers. */
function limit(pool: Pool): number {
  return 2 * poolSize(pool);
}

/** Answers the held message with an error. No server sees it. */
export function takeBack(client: LoggedInClient): void {
  client.question.takeCancel();
  const type = client.intake.held[0];
  // a Sync can't be cancelled: nothing is running by the time it is answered
  if (type === undefined || type === Frontend.Sync) return;
  dropHeld(client);
  const error = clientErrors.canceled();
  const isSimple = type === Frontend.Query || type === Frontend.FunctionCall;
  answerError(client, isSimple ? Frontend.Query : Frontend.Parse, error);
}
