/** A client's activity, in the console's words. */
import type { ClientPhase } from '../telemetry/snapshots/sessions.ts';
import type { Client } from './client.ts';

export function clientPhase(client: Client): ClientPhase {
  const { cancelRequest } = client.login;
  if (cancelRequest !== null) return cancelRequest.isSent ? 'active_cancel_req' : 'waiting_cancel_req';
  // the first client of a pool waits for a server before it is welcomed
  if (client.state === 'login') return client.pool === null ? 'login' : 'waiting';
  if (client.state === 'waiting') return 'waiting';
  return client.server === null ? 'idle' : 'active';
}

/** How long a client has waited for the end of its query, or for a server, in ms. @param now ms of performance.now() */
export function waitOf(client: Client, now: number): number {
  const { queryStart, waitingSince } = client.clock;
  const since = clientPhase(client) === 'waiting' && queryStart === 0 ? waitingSince : queryStart;
  return since === 0 ? 0 : now - since;
}
