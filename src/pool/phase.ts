/** A server's activity, in the console's words. */
import type { ServerPhase } from '../telemetry/snapshots/sessions.ts';
import type { Server } from './server.ts';

/** @param now ms of performance.now() */
export function serverPhase(server: Server, now: number): ServerPhase {
  if (server.state === 'login') return 'new';
  if (server.state === 'active') return 'active';
  if (server.cancelsInFlight > 0) return 'being_canceled';
  if (server.state === 'tested' || server.state === 'parked') return 'tested';
  const { server_check_query: query, server_check_delay: delay } = server.pool.context.settings;
  return query !== '' && now - server.releasedAt >= delay ? 'used' : 'idle';
}
