import {
  asksNothing,
  asksPassword,
  authDialogue,
  type AuthDialogue,
  type AuthStep,
} from '../../auth/client-auth.ts';
import type { Server } from '../../pool/server.ts';
import type { Database } from '../../pool/database.ts';
import { clientLimitReached } from '../../pool/limits.ts';
import type { Welcome } from '../../pool/login.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import {
  AUTHENTICATION_OK,
  authentication,
  backendKeyData,
  noticeResponse,
  parameterStatus,
  readyForQuery,
} from '../../wire/messages.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { Frontend, HEADER_BYTES, TxStatus } from '../../wire/protocol.ts';
import { isTerminate, mayBeTerminate } from '../../wire/startup.ts';
import { findSecret, type FoundSecret } from './auth-query.ts';
import type { Client, LoggedInClient, Reader } from '../client.ts';
import { identityOf, isOwnProcess, loginMethod, type LoginMethod } from './methods.ts';
import { relayClientBytes, resumeClient } from '../relay/client-bytes.ts';
import { isPastFunctions } from '../query/decide.ts';
import { enterReplication } from './replication.ts';
import { ADMIN_DATABASE } from '../names.ts';
import { issueCancelKey } from '../link/cancel.ts';
import { readFast } from './startup.ts';

/** Who are you? The dialogue, the checks behind it, and the welcome. */

/** pgbouncer takes passwords of up to 65530 bytes */
const MAX_PASSWORD_MESSAGE = 65_600;
/** length of the secret in a cancel key: protocol 3.0 has 4 bytes, 3.2 up to 252; PostgreSQL 18 uses 32 */
const CANCEL_SECRET = { 0: 4, 2: 32 } as const;

/** pgbouncer's words for the log */
const REPLICATION = { none: 'no', logical: 'database', physical: 'yes' } as const;

/** The StartupMessage is there and understood: authentication begins. */
export function logInClient(client: Client): void {
  client.readWith(HOLDING);
  if (isTerminate(client.intake.held)) return client.close('client close request');
  run(client).catch((error: unknown) => {
    client.crash(error as Error);
  });
}

async function run(client: Client): Promise<void> {
  const { context } = client;
  const { directory } = context;
  const { settings } = context.config;
  const isAdmin = client.databaseName === ADMIN_DATABASE;
  if (settings.log_connections) {
    const tls = client.tls ? ` tls=${client.tls}` : ' tls=no';
    context.log.info(
      { client: client.id, event: 'client_login_attempt' },
      `${client.label} login attempt: db=${client.databaseName} user=${client.user}${tls} replication=${REPLICATION[client.replication]}`,
    );
  }
  if (context.draining && !isAdmin) return client.close('pooler is shut down', clientErrors.shutDown());
  if (!isAdmin && context.connectionCount > settings.max_client_conn) {
    return client.close('no more connections allowed (max_client_conn)', clientErrors.tooManyClients());
  }

  const database = isAdmin ? null : directory.find(client.databaseName);
  if (isAdmin && (await isOwnProcess(client))) {
    if (isClosed(client)) return;
    client.isOwnProcess = true;
    if (settings.log_connections)
      context.log.info({ client: client.id }, `${client.label} pgbouncer access from unix socket`);
    return context.enterConsole(client);
  }
  if (isClosed(client)) return;
  const login = loginMethod(client, database?.entry ?? client.databaseName);
  if (login === null)
    return fail(client, 'no authentication method is found', clientErrors.noAuthenticationMethod());
  const { method } = login;
  if (method === 'any' && !isAdmin && (database === null || database.config.user === null)) {
    context.log.error({ client: client.id }, `${client.label} auth_type=any requires forced user`);
    return fail(client, 'bouncer config error', clientErrors.configError());
  }
  const found = await findSecret(client, database, method);
  if (isClosed(client)) return;
  if (found instanceof Error) return client.close(found.message, found);
  if (!found.exists) context.log.info({ client: client.id }, `${client.label} no such user: ${client.user}`);
  if (found.isUnknown === true && asksNothing(method))
    return fail(client, 'no such user', clientErrors.noSuchUser());
  if (!(await authenticate(client, login, found))) return;
  if (isClosed(client)) return;
  if (isAdmin) return context.enterConsole(client);

  // Only who has proved who he is hears whether a database exists.
  if (database === null) {
    if (settings.log_connections)
      context.log.info(
        { client: client.id },
        `${client.label} login failed: db=${client.databaseName} user=${client.user}`,
      );
    return client.close(
      `no such database: ${client.databaseName}`,
      clientErrors.noSuchDatabase(client.databaseName),
    );
  }
  enter(client, database, found);
}

/** Goes through the method's dialogue. False: the client was refused. */
async function authenticate(client: Client, login: LoginMethod, found: FoundSecret): Promise<boolean> {
  const { scram_iterations: scramIterations } = client.context.config.settings;
  const dialogue: AuthDialogue = authDialogue(
    login.method,
    { ...identityOf(client, login), secret: found.secret, exists: found.exists },
    { scramIterations },
  );
  let step: AuthStep = await dialogue.begin();
  while (step.kind === 'continue') {
    client.send(authentication(step.authentication));
    const payload = await nextPassword(client);
    if (payload === null) return false;
    step = await dialogue.receive(payload);
  }
  if (step.kind === 'failed') {
    if (step.detail !== undefined) {
      client.context.log.warn({ client: client.id }, `${client.label} login failed: ${step.detail}`);
    }
    // for the log only: the client hears the same as with a wrong password
    const reason = found.isUnknown === true ? 'no such user' : step.reason;
    const error = asksPassword(login.method)
      ? clientErrors.passwordFailed(step.reason)
      : clientErrors.authenticationFailed(step.reason);
    fail(client, reason, error);
    return false;
  }
  if (step.final !== null) client.send(authentication(step.final));
  client.learned = step.keys;
  return true;
}

/** The payload of the client's next PasswordMessage; null when it left or sent something else. */
function nextPassword(client: Client): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const read = (): void => {
      const { held } = client.intake;
      if (client.state === 'closed') return resolve(null);
      if (isTerminate(held)) {
        client.close('client close request');
        return resolve(null);
      }
      if (mayBeTerminate(held)) return;
      if (held.length > 0 && held[0] !== Frontend.Password) {
        client.close(
          'unexpected message during login',
          clientErrors.protocolViolation('unexpected message during login'),
        );
        return resolve(null);
      }
      const size = frameSize(held, 0, MAX_PASSWORD_MESSAGE);
      if (size === BAD_HEADER) {
        client.close('bad password packet', clientErrors.protocolViolation('bad password packet'));
        return resolve(null);
      }
      if (size === INCOMPLETE || held.length < size) return;
      client.intake.drop(size);
      client.readWith(HOLDING);
      resolve(held.subarray(HEADER_BYTES, size));
    };
    client.readWith({
      onBytes(_client, chunk) {
        client.intake.hold(chunk);
        read();
      },
      resume() {},
    });
    client.onLeft = () => resolve(null);
    if (!client.context.suspended) client.socket.resume();
    read();
  });
}

const HOLDING: Reader = { onBytes: hold, resume() {} };

/** What a client sends ahead while its login is being worked on. */
function hold(client: Client, chunk: Buffer): void {
  client.intake.hold(chunk);
  // nobody is there to hear what becomes of the login
  if (isTerminate(client.intake.held)) client.close('client close request');
  else if (client.intake.held.length > MAX_PASSWORD_MESSAGE) client.socket.pause();
}

/** It may go at any time, whatever is being awaited. */
function isClosed(client: Client): boolean {
  return client.state === 'closed';
}

function fail(client: Client, reason: string, error: ClientError): void {
  client.close(reason, error);
}

/** Authenticated: takes a place in the database and its pool, within the limits. */
function enter(client: Client, database: Database, found: FoundSecret): void {
  const { directory, config } = client.context;
  const { settings } = config;
  if (database.disabled)
    return client.close(
      `database "${database.name}" is disabled`,
      clientErrors.databaseDisabled(database.name),
    );
  const limit = database.config.max_db_client_connections || settings.max_db_client_connections;
  const user = directory.users.lookUp(client.user);
  const refusal = clientLimitReached(user, { count: database.clientCount, limit }, settings);
  if (refusal !== null) return client.close(refusal.message, refusal);

  client.entry = database.entry;
  if (client.replication !== 'none' && isPastFunctions(client, 'replication')) {
    const error = clientErrors.replicationRefused(client.entry);
    return fail(client, error.message, error);
  }
  const pool = directory.pool(database, client.user);
  if (pool.credentials.user === client.user) {
    pool.credentials.learn(client.learned);
    // what auth_query says now is what the server will want
    if (database.config.password === null) pool.credentials.renew(found.secret);
  }
  client.enter(database, pool);
  client.inCluster = database.cluster !== null;
  client.addressBy(database.name === client.databaseName ? null : client.databaseName);
  directory.users.get(client.user).enter();
  if (client.replication !== 'none') return enterReplication(client);
  if (pool.welcome !== null) return welcome(client, pool.welcome);

  // The first client of a pool waits for a server, which tells what clients are welcomed with.
  client.clock.beginWait(performance.now());
  const waiter = {
    waitingSince: client.clock.waitingSince,
    label: client.label,
    onServer(server: Server): void {
      pool.give(server, true);
      if (client.state !== 'closed') welcome(client, pool.welcome!);
    },
    onNoServer(error: ClientError): void {
      client.close(error.message, error);
    },
  };
  client.onLeft = () => pool.cancelWait(waiter);
  const server = pool.acquire(waiter);
  if (server !== null) waiter.onServer(server);
}

/** AuthenticationOk, the settings, the cancel key, and the first ReadyForQuery. */
export function welcome(client: LoggedInClient, settings: Welcome): void {
  const { config } = client.context;
  const parts = [AUTHENTICATION_OK];
  for (const [name, own] of settings) {
    parts.push(parameterStatus(name, client.settings.welcome(name, own)));
  }
  const key = issueCancelKey(client, client.minor >= 2 ? CANCEL_SECRET[2] : CANCEL_SECRET[0]);
  parts.push(backendKeyData(key.pid, key.secret));
  if (config.settings.login_notify_message !== '') {
    parts.push(
      noticeResponse({ severity: 'NOTICE', code: '00000', message: config.settings.login_notify_message }),
    );
  }
  parts.push(readyForQuery(TxStatus.Idle));
  client.send(Buffer.concat(parts));
  client.database.stats.clientLoginCount++;
  client.onLeft = null;
  client.clock.beginIdle(performance.now());
  startRelay(client);
}

const RELAY: Reader = { onBytes: relayClientBytes, resume: resumeClient };

/** From here on the relay has the client's bytes, beginning with those that were sent ahead. */
function startRelay(client: LoggedInClient): void {
  client.readWith(RELAY);
  readFast(client);
  client.gate.open('login');
  const held = client.intake.take();
  client.socket.resume();
  if (held.length > 0) relayClientBytes(client, held);
}
