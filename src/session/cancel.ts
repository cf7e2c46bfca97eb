import { sendCancel } from '../pool/connect.ts';
import { ClientError } from '../wire/errors.ts';
import { Frontend } from '../wire/protocol.ts';
import type { Client } from './client.ts';
import { answerError } from './query.ts';
import { resumeClient } from './relay-client.ts';

/**
 * A CancelRequest: a connection of its own that carries the key of the client whose query is to be cancelled. It gets no
 * answer ("Canceling Requests in Progress"), whatever becomes of it.
 */
export function forwardCancel(requester: Client, pid: number, secret: Buffer): void {
  const { sessions } = requester;
  const header = Buffer.allocUnsafe(4);
  header.writeInt32BE(pid, 0);
  const target = sessions.byCancelKey.get(Buffer.concat([header, secret]).toString('latin1'));
  const done = (why: string): void => requester.close(why);
  if (target === undefined) return done('failed cancel request');
  if (target.onCancel !== null) {
    target.onCancel();
    return done('cancel request for console client');
  }
  if (target.state === 'waiting') {
    cancelWaiting(target);
    return done('cancel request for a waiting client');
  }
  const { server } = target;
  // Without anything outstanding the cancel would hit the next query, or another client's.
  if (server === null || server.user !== target || target.outstanding.empty)
    return done('cancel request for an idle client');
  requester.isCancelRequest = true;
  server.cancelsInFlight++;
  const { settings } = sessions.registry.config;
  const signal = AbortSignal.timeout(Math.max(1, settings.cancel_wait_timeout || 2 ** 31 - 1));
  sendCancel(server, signal)
    .then(
      () => done('successfully sent cancel request'),
      (error: Error) => {
        sessions.log.warn(
          { client: requester.id, server: server.id },
          `${requester.label} cancel request failed: ${error.message}`,
        );
        done('cancel_wait_timeout');
      },
    )
    .finally(() => {
      server.cancelsInFlight--;
      server.pool.cancelDelivered(server);
    });
}

/** The query has not left the proxy yet: it is taken back. */
function cancelWaiting(client: Client): void {
  client.pool!.cancelWait(client);
  const type = client.held[0];
  if (type === undefined) return client.close('cancel request during login');
  client.state = 'idle';
  client.blocked = false;
  client.decision = null;
  const size = client.held.readInt32BE(1) + 1;
  const here = Math.min(size, client.held.length);
  client.held = client.held.subarray(here);
  client.bodyLeft = size - here;
  client.bodyForwarded = false;
  const error = new ClientError('ERROR', '57014', 'canceling statement due to user request');
  answerError(client, type === Frontend.Query ? Frontend.Query : Frontend.Parse, error);
  resumeClient(client);
}
