/** The steps of a login: the limits, the method, the secret, the dialogue of the method, and the entry. */
import {
  asksNothing,
  asksPassword,
  authDialogue,
  type AuthDialogue,
  type AuthStep,
} from '../../auth/client-auth.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { authentication } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import { isTerminate, mayBeTerminate } from '../../wire/startup.ts';
import type { Client, Reader } from '../client.ts';
import { admit } from './admission.ts';
import { findSecret, type FoundSecret } from './auth-query.ts';
import { identityOf, isOwnProcess, loginMethod, type LoginMethod } from './methods.ts';

/** The longest PasswordMessage, in bytes: pgbouncer takes passwords of up to 65530 bytes. */
const MAX_PASSWORD_MESSAGE = 65_600;

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

async function run(client: Client): Promise<void> {
  const { context } = client;
  const { directory } = context;
  const { settings } = context.config;
  const isAdmin = client.isConsole;
  if (settings.log_connections) {
    const tls = client.connection.tls ? ` tls=${client.connection.tls}` : ' tls=no';
    context.log.info(
      { client: client.id, event: 'client_login_attempt' },
      `${client.label} login attempt: db=${client.databaseName} user=${client.user}${tls} replication=${REPLICATION[client.replication]}`,
    );
  }
  if (context.lifecycle.refusesNewcomers && !isAdmin)
    return client.close('pooler is shut down', clientErrors.shutDown());
  if (!isAdmin && context.connectionCount > settings.max_client_conn) {
    return client.close('no more connections allowed (max_client_conn)', clientErrors.tooManyClients());
  }

  const database = isAdmin ? null : directory.find(client.databaseName);
  if (isAdmin && (await isOwnProcess(client))) {
    if (isClosed(client)) return;
    client.login.proveOwnProcess();
    if (settings.log_connections)
      context.log.info({ client: client.id }, `${client.label} pgbouncer access from unix socket`);
    return context.enterConsole(client);
  }
  if (isClosed(client)) return;
  const login = loginMethod(client, database?.entry ?? client.databaseName);
  if (login === null)
    return client.close('no authentication method is found', clientErrors.noAuthenticationMethod());
  const { method } = login;
  if (method === 'any' && !isAdmin && (database === null || database.config.user === null)) {
    context.log.error({ client: client.id }, `${client.label} auth_type=any requires forced user`);
    return client.close('bouncer config error', clientErrors.configError());
  }
  const found = await findSecret(client, database, method);
  if (isClosed(client)) return;
  if (found instanceof Error) return client.close(found.message, found);
  if (!found.exists) context.log.info({ client: client.id }, `${client.label} no such user: ${client.user}`);
  if (found.isUnknown === true && asksNothing(method))
    return client.close('no such user', clientErrors.noSuchUser());
  if (!(await authenticate(client, login, found))) return;
  if (isClosed(client)) return;
  if (isAdmin) return context.enterConsole(client);

  // only an authenticated client is told whether a database exists
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
  admit(client, database, found);
}

/** Goes through the dialogue of the method. False: the client was refused. */
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
    // for the log only: the client is told the same as for a wrong password
    const reason = found.isUnknown === true ? 'no such user' : step.reason;
    const error = asksPassword(login.method)
      ? clientErrors.passwordFailed(step.reason)
      : clientErrors.authenticationFailed(step.reason);
    client.close(reason, error);
    return false;
  }
  if (step.final !== null) client.send(authentication(step.final));
  client.login.learn(step.keys);
  return true;
}

/** The payload of the client's next PasswordMessage; null: the client left, or sent something else. */
function nextPassword(client: Client): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const read = (): void => {
      const payload = takePassword(client);
      if (payload !== undefined) resolve(payload);
    };
    client.readWith({
      onBytes(_client, chunk) {
        client.intake.hold(chunk);
        read();
      },
      resume() {},
    });
    client.errand.onLeft(() => resolve(null));
    if (!client.context.lifecycle.isSuspended) client.socket.resume();
    read();
  });
}

/** Undefined: the message has not arrived in full. */
function takePassword(client: Client): Buffer | null | undefined {
  const { held } = client.intake;
  if (client.isClosed) return null;
  if (isTerminate(held)) return refuse(client, 'client close request', null);
  if (mayBeTerminate(held)) return undefined;
  if (held.length > 0 && held[0] !== Frontend.Password) {
    const reason = 'unexpected message during login';
    return refuse(client, reason, clientErrors.protocolViolation(reason));
  }
  const size = frameSize(held, 0, MAX_PASSWORD_MESSAGE);
  if (size === BAD_HEADER) {
    const reason = 'bad password packet';
    return refuse(client, reason, clientErrors.protocolViolation(reason));
  }
  if (size === INCOMPLETE || held.length < size) return undefined;
  client.intake.drop(size);
  client.readWith(HOLDING);
  return held.subarray(HEADER_BYTES, size);
}

function refuse(client: Client, reason: string, error: ClientError | null): null {
  client.close(reason, error);
  return null;
}

const HOLDING: Reader = { onBytes: hold, resume() {} };

/** Keeps the bytes that a client sends ahead while its login is under way. */
function hold(client: Client, chunk: Buffer): void {
  client.intake.hold(chunk);
  // the client does not wait for the end of its login
  if (isTerminate(client.intake.held)) client.close('client close request');
  else if (client.intake.held.length > MAX_PASSWORD_MESSAGE) client.socket.pause();
}

/** A client may leave during each await. */
function isClosed(client: Client): boolean {
  return client.isClosed;
}
