/** The steps of a login: the limits, the method, the secret, the method's dialogue, and admission. */
import { asksNothing, type ClientMethod } from '../../auth/client-auth.ts';
import type { Database } from '../../pool/database.ts';
import { clientErrors } from '../../wire/errors.ts';
import { isTerminate } from '../../wire/startup.ts';
import type { Client } from '../client.ts';
import { admit } from './admission.ts';
import { findSecret, type FoundSecret } from './auth-query.ts';
import { authenticate, HOLDING } from './dialogue.ts';
import { isOwnProcess, loginMethod, type LoginMethod } from './methods.ts';

/** The kinds of replication in pgbouncer's log. */
const REPLICATION = { none: 'no', logical: 'database', physical: 'yes' } as const;

/** Authenticates a client whose StartupMessage has been taken, and lets it in. */
export function logInClient(client: Client): void {
  client.readWith(HOLDING);
  if (isTerminate(client.intake.held)) return client.close('client close request');
  run(client).catch((error: unknown) => {
    client.crash(error as Error);
  });
}

/** A step that returns nothing has refused the client. */
async function run(client: Client): Promise<void> {
  const { context } = client;
  logAttempt(client);
  if (!isWithinLimits(client)) return;
  const database = client.isConsole ? null : context.directory.find(client.databaseName);
  if (client.isConsole && (await isOwnProcess(client))) return enterAsOwnProcess(client);
  if (isClosed(client)) return;
  const login = methodOf(client, database);
  if (login === null) return;
  const found = await secretOf(client, database, login.method);
  if (found === null || !(await authenticate(client, login, found)) || isClosed(client)) return;
  if (client.isConsole) return context.enterConsole(client);
  // only an authenticated client learns whether a database exists
  if (database === null) return refuseDatabase(client);
  admit(client, database, found);
}

function logAttempt(client: Client): void {
  const { config, log } = client.context;
  if (!config.settings.log_connections) return;
  const tls = client.connection.tls || 'no';
  log.info(
    { client: client.id, event: 'client_login_attempt' },
    `${client.label} login attempt: db=${client.databaseName} user=${client.user} tls=${tls} replication=${REPLICATION[client.replication]}`,
  );
}

function isWithinLimits(client: Client): boolean {
  const { config, lifecycle, connectionCount } = client.context;
  // the console stays open to operators
  if (client.isConsole) return true;
  if (lifecycle.refusesNewcomers) client.close('pooler is shut down', clientErrors.shutDown());
  else if (connectionCount > config.settings.max_client_conn)
    client.close('no more connections allowed (max_client_conn)', clientErrors.tooManyClients());
  return !isClosed(client);
}

function enterAsOwnProcess(client: Client): void {
  if (isClosed(client)) return;
  const { context } = client;
  client.login.proveOwnProcess();
  if (context.config.settings.log_connections)
    context.log.info({ client: client.id }, `${client.label} pgbouncer access from unix socket`);
  context.enterConsole(client);
}

function methodOf(client: Client, database: Database | null): LoginMethod | null {
  const login = loginMethod(client, database?.entry ?? client.databaseName);
  if (login === null) {
    client.close('no authentication method is found', clientErrors.noAuthenticationMethod());
    return null;
  }
  if (login.method !== 'any' || client.isConsole || (database !== null && database.config.user !== null))
    return login;
  client.context.log.error({ client: client.id }, `${client.label} auth_type=any requires forced user`);
  client.close('bouncer config error', clientErrors.configError());
  return null;
}

async function secretOf(
  client: Client,
  database: Database | null,
  method: ClientMethod,
): Promise<FoundSecret | null> {
  const found = await findSecret(client, database, method);
  if (isClosed(client)) return null;
  if (found instanceof Error) {
    client.close(found.message, found);
    return null;
  }
  if (!found.exists)
    client.context.log.info({ client: client.id }, `${client.label} no such user: ${client.user}`);
  if (found.isUnknown !== true || !asksNothing(method)) return found;
  client.close('no such user', clientErrors.noSuchUser());
  return null;
}

function refuseDatabase(client: Client): void {
  const { config, log } = client.context;
  const { databaseName } = client;
  if (config.settings.log_connections)
    log.info({ client: client.id }, `${client.label} login failed: db=${databaseName} user=${client.user}`);
  client.close(`no such database: ${databaseName}`, clientErrors.noSuchDatabase(databaseName));
}

/** A client may leave during each await. */
function isClosed(client: Client): boolean {
  return client.isClosed;
}
