/** The secrets of users, from auth_file or by auth_query. */
import type { ClientMethod } from '../../auth/client-auth.ts';
import { ControlError, runControl, type Row } from '../../pool/control.ts';
import type { Database } from '../../pool/database.ts';
import type { Pool } from '../../pool/pool.ts';
import type { Server } from '../../pool/server.ts';
import { ClientError, clientErrors } from '../../wire/errors.ts';
import type { Client } from '../client.ts';
import { ADMIN_DATABASE } from '../state/names.ts';

/** A user's stored secret, looked up before authentication. */
export interface FoundSecret {
  /** plain text, `md5…` or `SCRAM-SHA-256$…`; null: none, or nothing may match it */
  readonly secret: string | null;
  readonly exists: boolean;
  /** auth_query returned no row for the user */
  readonly isUnknown?: boolean;
}

const NOBODY: FoundSecret = { secret: null, exists: false };

/**
 * Looks up a user's secret in auth_file, or else by auth_query, which runs as auth_user on a connection that the client
 * cannot influence (pgbouncer config.md, auth_query; CVE-2025-12819).
 * @returns an error if the query cannot be run
 */
export async function findSecret(
  client: Client,
  database: Database | null,
  method: ClientMethod,
): Promise<FoundSecret | ClientError> {
  const { directory, config } = client.context;
  const { userlist, settings } = config;
  const authUser = database?.config.auth_user ?? settings.auth_user;
  const { auth_type: type } = settings;
  if (authUser && !client.isConsole && (type === 'pam' || type === 'ldap'))
    return configError(client, `${type.toUpperCase()} can't be used together with database authentication`);
  const known = userlist.get(client.user);
  if (known !== undefined) return { secret: known, exists: true };
  if (method === 'any' || method === 'pam' || method === 'ldap') return { secret: null, exists: true };
  // the console's own user exists without configuration, and has no password
  if (client.user === ADMIN_DATABASE && (client.isConsole || !authUser))
    return { secret: null, exists: true };
  if (!authUser) return NOBODY;
  // neither the console nor an unknown database has servers for the query
  const ownName = database?.name ?? (client.isConsole ? ADMIN_DATABASE : null);
  const name = database?.config.auth_dbname ?? settings.auth_dbname ?? ownName;
  if (name === null) return NOBODY;
  if (name === ADMIN_DATABASE)
    return configError(client, `cannot use the reserved "${name}" database as an auth_dbname`);
  const authDatabase = name === database?.name ? database : directory.find(name);
  if (authDatabase === null)
    return configError(client, `authentication database "${name}" is not configured`);
  if (authDatabase.disabled) return clientErrors.authDatabaseDisabled(name);
  const sql = database?.config.auth_query ?? settings.auth_query;
  try {
    const rows = await lookUp(directory.poolOf(authDatabase, authUser), sql, [client.user], (cancel) => {
      client.errand.onLeft(cancel);
    });
    const row = rows[0];
    if (row === undefined) return { ...NOBODY, isUnknown: true };
    const columns = Object.keys(row).length;
    if (columns !== 2) return configError(client, `expected 2 columns from auth_query, not ${columns}`);
    const [user, secret] = [row[0], row[1]];
    if (user !== client.user) return { ...NOBODY, isUnknown: true };
    return { secret: secret ?? null, exists: true };
  } catch (error) {
    if (error instanceof ClientError) return error;
    // the result does not matter after the client has left
    if (client.isClosed) return NOBODY;
    return configError(client, `auth_query failed: ${(error as Error).message}`);
  }
}

function configError(client: Client, reason: string): ClientError {
  client.context.log.error({ client: client.id }, `${client.label} ${reason}`);
  return clientErrors.configError();
}

/** Attempts before the login fails. A switchover may interrupt all but the last. */
const ATTEMPTS = 3;

/** Runs a read-only query, and repeats it on the next writer if a switchover interrupts it. */
async function lookUp(...query: Parameters<typeof queryPool>): Promise<Row[]> {
  const [pool] = query;
  for (let attempt = 1; ; attempt++) {
    try {
      return await queryPool(...query);
    } catch (error) {
      const isLoss = error instanceof ControlError && error.isLoss;
      if (!isLoss || pool.database.watch === null || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Runs one of the proxy's own queries on a server of the pool, and waits for the server as a client would. */
function queryPool(
  pool: Pool,
  sql: string,
  values: readonly string[],
  onWait: (cancel: () => void) => void,
): Promise<Row[]> {
  return new Promise((resolve, reject) => {
    const waiter = {
      waitingSince: performance.now(),
      onServer(server: Parameters<Pool['give']>[0]): void {
        restoreDefaults(server)
          .then(() => runControl(server, sql, { values, byPosition: true }))
          .then(resolve, reject)
          .finally(() => {
            if (server.state !== 'closed') pool.give(server);
          });
      },
      onNoServer: reject,
    };
    onWait(() => {
      pool.cancelWait(waiter);
      reject(new Error('client left'));
    });
    const server = pool.acquire(waiter);
    if (server !== null) waiter.onServer(server);
  });
}

/** Undoes the settings of clients that are logged in as auth_user, since they use the same servers. */
async function restoreDefaults(server: Server): Promise<void> {
  const { tracked } = server.pool.context;
  const sql = tracked.difference(tracked.kept(server.settings.defaults), server.settings);
  if (sql === null) return;
  await runControl(server, sql);
  server.settings.noteReset([]);
}
