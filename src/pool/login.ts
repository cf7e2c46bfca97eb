import type { ServerAuth } from '../auth/server-auth.ts';
import { FrameReader } from '../wire/frame.ts';
import { message, parseErrorFields, parseParameterStatus, startupMessage } from '../wire/messages.ts';
import { Backend, Frontend, HEADER_BYTES, StartupCode } from '../wire/protocol.ts';
import type { Server, ServerUser } from './server.ts';
import { ConnectError } from './socket.ts';

/** A server refused the login, or what it said made no sense. `fields` are its ErrorResponse's, where there was one. */
export class LoginError extends Error {
  readonly fields: ReadonlyMap<string, string> | null;
  constructor(message: string, fields: ReadonlyMap<string, string> | null = null) {
    super(message);
    this.fields = fields;
  }

  /** FATAL, as a rule */
  get severity(): string {
    return this.fields?.get('S') ?? 'FATAL';
  }
}

/** PostgreSQL limits what it sends before authentication too; a length beyond reason is another protocol. */
const MAX_LOGIN_BYTES = 1 << 20;
/** int32 pid and a secret, which has 4 bytes in protocol 3.0 */
const MIN_KEY_DATA = 8;

/** The settings that a server reported at login: what clients are welcomed with. */
export type Welcome = ReadonlyMap<string, string>;

/**
 * Sends the StartupMessage and goes through authentication until the first ReadyForQuery ("Start-up" in the manual's
 * "Message Flow").
 * @throws LoginError, or ConnectError when the connection was closed meanwhile
 */
export function logIn(
  server: Server,
  auth: ServerAuth,
  parameters: Iterable<readonly [string, string]>,
): Promise<Welcome> {
  return new Promise((resolve, reject) => {
    const welcome = new Map<string, string>();
    const reader = new FrameReader(MAX_LOGIN_BYTES);
    let isDone = false;
    let failed: Error | null = null;
    // Authentication can take a turn (key derivation); messages behind it wait for it.
    let queue: Promise<void> = Promise.resolve();

    const fail = (error: Error): void => {
      failed ??= error;
      if (server.user === user) server.detach();
      reject(failed);
    };

    const handle = async (frame: Buffer): Promise<void> => {
      if (failed) return;
      // behind the login a server may say that it is going away
      if (isDone) return server.receive(frame);
      const payload = frame.subarray(HEADER_BYTES);
      switch (frame[0]!) {
        case Backend.Authentication: {
          const answer = await auth.receive(payload);
          if (answer) server.write(message(Frontend.Password, answer));
          return;
        }
        case Backend.ParameterStatus: {
          const parameter = parseParameterStatus(payload);
          if (!parameter) return;
          welcome.set(parameter.name, parameter.value);
          server.settings.note(parameter.name, parameter.value);
          return;
        }
        case Backend.BackendKeyData:
          if (payload.length < MIN_KEY_DATA) throw new LoginError('bad cancel key');
          server.noteKey(payload.readInt32BE(0), Buffer.from(payload.subarray(4)));
          return;
        case Backend.ReadyForQuery:
          if (!auth.done) throw new LoginError('server sent ReadyForQuery before AuthenticationOk');
          if (server.user === user) server.detach();
          isDone = true;
          resolve(welcome);
          return;
        case Backend.ErrorResponse: {
          const fields = parseErrorFields(payload);
          throw new LoginError(`${fields.get('S') ?? 'FATAL'}: ${fields.get('M') ?? 'no message'}`, fields);
        }
        case Backend.NoticeResponse:
        case Backend.NegotiateProtocolVersion:
          return;
        default:
          throw new LoginError('unknown pkt from server');
      }
    };

    const user: ServerUser = {
      onServerBytes(_server, chunk) {
        // the messages wait for their turn, and the read buffer is used again
        reader.push(Buffer.from(chunk));
        for (let frame = reader.next(); frame !== null; frame = reader.next()) {
          const whole = frame;
          queue = queue
            .then(() => handle(whole))
            .catch((error: unknown) =>
              fail(error instanceof LoginError ? error : new LoginError((error as Error).message)),
            );
        }
        if (reader.isBroken) fail(new LoginError('bad pkt header'));
      },
      onServerClosed(_server, reason) {
        void queue.then(() => fail(new ConnectError(reason)));
      },
      onServerDrain() {},
    };
    server.attach(user);
    server.write(startupMessage(StartupCode.V3, parameters));
  });
}
