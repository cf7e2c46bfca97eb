/**
 * The user functions that judge a client's queries. They are looked up for each query: a file may appear or go at any time.
 */
import type { Tenant } from '../../functions/functions.ts';
import type { LoggedInClient } from '../client.ts';

/** The functions of the database that the client logged in to, wherever it has been moved since; null: none. */
export function ownFunctions(client: LoggedInClient): Tenant | null {
  return client.replication === 'none' ? client.context.functions.tenantOf(client.entry) : null;
}

/**
 * The functions of the database that the client was moved to, which judge the queries of all its clients. Null: the client is
 * where it logged in, or that database has no functions or the client's own.
 */
export function targetFunctions(client: LoggedInClient): Tenant | null {
  const { entry } = client.database;
  if (entry === client.entry || client.replication !== 'none') return null;
  const tenant = client.context.functions.tenantOf(entry);
  return tenant === ownFunctions(client) ? null : tenant;
}

/** Functions apply that must be asked about the client's queries. */
export function isJudged(client: LoggedInClient): boolean {
  return ownFunctions(client) !== null || targetFunctions(client) !== null;
}
