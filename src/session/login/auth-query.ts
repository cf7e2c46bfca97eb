import type { ClientMethod } from '../../auth/client-auth.ts';
import { ControlError, runControl, type Row } from '../../pool/control.ts';
import type { Database } from '../../pool/database.ts';
import type { Pool } from '../../pool/pool.ts';
import type { Server } from '../../pool/server.ts';
import { ClientError, clientErrors } from '../../wire/errors.ts';
import type { Client } from '../client.ts';
import { ADMIN_DATABASE } from '../names.ts';

/** What is known of a user before he says anything. */
export interface FoundSecret {
  /** plain text, `md5…` or `SCRAM-SHA-256$…`; null: there is none, or it must not match anything */
  readonly secret: string | null;
  readonly exists: boolean;
  /** auth_query was asked and does not know him */
  readonly isUnknown?: boolean;
}

const NOBODY: FoundSecret = { secret: null, exists: false };

/**
 * A user's secret: from auth_file, or else by auth_query, run as auth_user on a connection that the client has no
 * influence on (pgbouncer config.md, auth_query; CVE-2025-12819).
 * @returns an error where the query can't be run
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
  // the console's own user exists without being configured, and has no password
  if (client.user === ADMIN_DATABASE && (client.isConsole || !authUser))
    return { secret: null, exists: true };
  if (!authUser) return NOBODY;
  // the console has no servers that could be asked; a database that is unknown has none either
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
    // it left: nobody hears what the query says
    if (client.state === 'closed') return NOBODY;
    return configError(client, `auth_query failed: ${(error as Error).message}`);
  }
}

function configError(client: Client, reason: string): ClientError {
  client.context.log.error({ client: client.id }, `${client.label} ${reason}`);
  return clientErrors.configError();
}

/** How often a connection may be lost in a switchover before the login fails. */
const ATTEMPTS = 3;

/** A query that only looks something up: where the writer is being looked for, it is asked again of the next one. */
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

/** One query of the proxy's own on a pool's server, which it waits for as a client would. */
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

/** A client that logs in as auth_user uses the same servers: what it has set there is not for others. */
async function restoreDefaults(server: Server): Promise<void> {
  const { tracked } = server.pool.context;
  const sql = tracked.difference(tracked.kept(server.defaults), server);
  if (sql === null) return;
  await runControl(server, sql);
  tracked.noteReset([], server);
}
