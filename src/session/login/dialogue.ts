/** The dialogue of an authentication method with a client. */
import { asksPassword, authDialogue, type AuthDialogue, type AuthStep } from '../../auth/client-auth.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../../wire/frame.ts';
import { authentication } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import { isTerminate, mayBeTerminate } from '../../wire/startup.ts';
import type { Client, Reader } from '../client.ts';
import type { FoundSecret } from './auth-query.ts';
import { identityOf, type LoginMethod } from './methods.ts';

/** The longest PasswordMessage, in bytes: pgbouncer takes passwords of up to 65530 bytes. */
const MAX_PASSWORD_MESSAGE = 65_600;

/** Runs the method's dialogue. False: the client was refused. */
export async function authenticate(client: Client, login: LoginMethod, found: FoundSecret): Promise<boolean> {
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
    // for the log only: the client gets the same error as for a wrong password
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

/** Undefined: the message has not arrived whole. */
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

/** Keeps the bytes that a client sends before its login is complete. */
export const HOLDING: Reader = { onBytes: hold, resume() {} };

function hold(client: Client, chunk: Buffer): void {
  client.intake.hold(chunk);
  // the client does not wait for the end of its login
  if (isTerminate(client.intake.held)) client.close('client close request');
  else if (client.intake.held.length > MAX_PASSWORD_MESSAGE) client.socket.pause();
}
