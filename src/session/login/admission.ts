/** The entry of an authenticated client: its place in a database and a pool, within the limits. */
import { givesAwayStore } from '../../config/fleet-store.ts';
import type { Database } from '../../pool/database.ts';
import { clientLimitReached } from '../../pool/limits.ts';
import type { Server } from '../../pool/server.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import type { Client, LoggedInClient } from '../client.ts';
import { isPastFunctions } from '../query/decide.ts';
import type { FoundSecret } from './auth-query.ts';
import { enterReplication } from './replication.ts';
import { welcome } from './welcome.ts';

/** Lets the client in and welcomes it, at once or when a server is available; or refuses it. */
export function admit(client: Client, database: Database, found: FoundSecret): void {
  const { directory } = client.context;
  const refusal = refusalOf(client, database);
  if (refusal !== null) return client.close(refusal.message, refusal);
  client.login.enter(database.entry, database.cluster !== null);
  if (client.replication !== 'none' && isPastFunctions(client, 'replication')) {
    const error = clientErrors.replicationRefused(client.entry);
    return client.close(error.message, error);
  }
  const pool = directory.pool(database, client.user);
  if (pool.credentials.user === client.user) {
    pool.credentials.learn(client.login.learned);
    // servers will ask for the secret that auth_query has just returned
    if (database.config.password === null) pool.credentials.renew(found.secret);
  }
  client.enter(database, pool);
  client.addressBy(database.name === client.databaseName ? null : client.databaseName);
  directory.users.get(client.user).enter();
  if (client.replication !== 'none') return enterReplication(client);
  if (pool.welcome !== null) return welcome(client, pool.welcome);
  waitForWelcome(client);
}

function refusalOf(client: Client, database: Database): ClientError | null {
  const { directory, config } = client.context;
  const { settings } = config;
  if (database.disabled) return clientErrors.databaseDisabled(database.name);
  if (givesAwayStore(database.entry, database.config.user, settings.fleet_store))
    return clientErrors.storeOfFleet(database.name);
  const limit = database.config.max_db_client_connections || settings.max_db_client_connections;
  const user = directory.users.lookUp(client.user);
  return clientLimitReached(user, { count: database.clientCount, limit }, settings);
}

/** The first client of a pool waits for a server, which reports the settings that clients are welcomed with. */
function waitForWelcome(client: LoggedInClient): void {
  const { pool } = client;
  client.clock.beginWait(performance.now());
  const waiter = {
    waitingSince: client.clock.waitingSince,
    label: client.label,
    onServer(server: Server): void {
      pool.give(server, true);
      if (!client.isClosed && pool.welcome !== null) welcome(client, pool.welcome);
    },
    onNoServer(error: ClientError): void {
      client.close(error.message, error);
    },
  };
  client.errand.onLeft(() => pool.cancelWait(waiter));
  const server = pool.acquire(waiter);
  if (server !== null) waiter.onServer(server);
}
