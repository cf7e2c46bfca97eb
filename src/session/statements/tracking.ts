/** Whether the named prepared statements of a client are tracked (pgbouncer's max_prepared_statements). */
import type { LoggedInClient } from '../client.ts';
import { ownFunctions } from '../query/judges.ts';

/**
 * Whether named statements are prepared under shared names on the servers that need them. A client in session mode keeps its
 * server, so this is unnecessary, unless a routing function or a switchover may move it. Functions come and go; statements
 * that the session already tracks stay tracked.
 */
export function isTracked(client: LoggedInClient): boolean {
  if (!mayBeTracked(client)) return false;
  if (client.login.isInCluster || client.pool.mode !== 'session') return true;
  return client.statements.isSessionTracked(ownFunctions(client) !== null);
}

/** Whether statements can be tracked, now or once user functions apply: their texts are kept. */
export function mayBeTracked(client: LoggedInClient): boolean {
  return client.replication === 'none' && client.context.config.settings.max_prepared_statements !== 0;
}
