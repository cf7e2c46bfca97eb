/** The login at a server: StartupMessage and authentication, until the first ReadyForQuery. */
import type { ServerAuth } from '../auth/server-auth.ts';
import { FrameReader } from '../wire/frame.ts';
import { message, parseErrorFields, parseParameterStatus, startupMessage } from '../wire/messages.ts';
import { Backend, Frontend, HEADER_BYTES, StartupCode } from '../wire/protocol.ts';
import type { Server, ServerUser } from './server.ts';
import { ConnectError } from './socket.ts';

/** A server refused the login, or its answer made no sense. `fields` are those of its ErrorResponse; null: none. */
export class LoginError extends Error {
  readonly fields: ReadonlyMap<string, string> | null;
  constructor(message: string, fields: ReadonlyMap<string, string> | null = null) {
    super(message);
    this.fields = fields;
  }

  /** usually FATAL */
  get severity(): string {
    return this.fields?.get('S') ?? 'FATAL';
  }
}

/** PostgreSQL, too, limits messages before authentication; an unreasonable length means another protocol. */
const MAX_LOGIN_BYTES = 1 << 20;
/** int32 pid and a secret, which has 4 bytes in protocol 3.0 */
const MIN_KEY_DATA = 8;

/** The settings that a server reported at login, with which clients are welcomed. */
export type Welcome = ReadonlyMap<string, string>;

/**
 * Sends the StartupMessage and goes through authentication until the first ReadyForQuery ("Start-up" in the manual's "Message
 * Flow").
 * @throws LoginError, or ConnectError if the connection was closed meanwhile
 */
export function logIn(
  server: Server,
  auth: ServerAuth,
  parameters: Iterable<readonly [string, string]>,
): Promise<Welcome> {
  return new Promise((resolve, reject) => {
    new Login(server, auth, resolve, reject).begin(parameters);
  });
}

class Login implements ServerUser {
  readonly #server: Server;
  readonly #auth: ServerAuth;
  readonly #resolve: (welcome: Welcome) => void;
  readonly #reject: (error: Error) => void;
  readonly #reader = new FrameReader(MAX_LOGIN_BYTES);
  readonly #welcome = new Map<string, string>();
  #isDone = false;
  #failed: Error | null = null;
  /** authentication can take a turn of the event loop (key derivation); later messages wait for it */
  #queue: Promise<void> = Promise.resolve();

  constructor(
    server: Server,
    auth: ServerAuth,
    resolve: (welcome: Welcome) => void,
    reject: (error: Error) => void,
  ) {
    this.#server = server;
    this.#auth = auth;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(parameters: Iterable<readonly [string, string]>): void {
    this.#server.attach(this);
    this.#server.write(startupMessage(StartupCode.V3, parameters));
  }

  onServerBytes(_server: Server, chunk: Buffer): void {
    // the messages wait for their turn, and the read buffer will be used again
    this.#reader.push(Buffer.from(chunk));
    for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) {
      const whole = frame;
      this.#queue = this.#queue
        .then(() => this.#handle(whole))
        .catch((error: unknown) =>
          this.#fail(error instanceof LoginError ? error : new LoginError((error as Error).message)),
        );
    }
    if (this.#reader.isBroken) this.#fail(new LoginError('bad pkt header'));
  }

  onServerClosed(_server: Server, reason: string): void {
    void this.#queue.then(() => this.#fail(new ConnectError(reason)));
  }

  onServerDrain(): void {}

  async #handle(frame: Buffer): Promise<void> {
    if (this.#failed !== null) return;
    // after the login a server may announce its end
    if (this.#isDone) return this.#server.receive(frame);
    const payload = frame.subarray(HEADER_BYTES);
    switch (frame[0]!) {
      case Backend.Authentication: {
        const answer = await this.#auth.receive(payload);
        if (answer) this.#server.write(message(Frontend.Password, answer));
        return;
      }
      case Backend.ParameterStatus:
        return this.#takeParameter(payload);
      case Backend.BackendKeyData:
        if (payload.length < MIN_KEY_DATA) throw new LoginError('bad cancel key');
        return this.#server.noteKey(payload.readInt32BE(0), Buffer.from(payload.subarray(4)));
      case Backend.ReadyForQuery:
        if (!this.#auth.done) throw new LoginError('server sent ReadyForQuery before AuthenticationOk');
        this.#detach();
        this.#isDone = true;
        return this.#resolve(this.#welcome);
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
  }

  #takeParameter(payload: Buffer): void {
    const parameter = parseParameterStatus(payload);
    if (parameter === null) return;
    this.#welcome.set(parameter.name, parameter.value);
    this.#server.settings.note(parameter.name, parameter.value);
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#detach();
    this.#reject(this.#failed);
  }

  #detach(): void {
    if (this.#server.user === this) this.#server.detach();
  }
}
