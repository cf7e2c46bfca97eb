/** The part of the protocol around the authentication payloads, on both sides, that is needed to try them on real programs. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { connect as connectTls, TLSSocket } from 'node:tls';
import {
  authDialogue,
  type AuthStep,
  type ClientIdentity,
  type ClientMethod,
} from '../../src/auth/client-auth.ts';
import { endPointHash } from '../../src/auth/end-point-hash.ts';
import { ServerAuth, type ServerCredentials } from '../../src/auth/server-auth.ts';
import type { ClientTls, ServerTls } from '../../src/auth/tls.ts';
import type { Scope } from '../support/scope.ts';

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

interface Message {
  readonly type: string;
  readonly payload: Buffer;
}

function frame(type: string, payload: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 'latin1');
  head.writeInt32BE(payload.length + 4, 1);
  return Buffer.concat([head, payload]);
}

/** Cuts a socket's bytes into pieces whose length is at an offset; null at the end of the stream. */
class Reader {
  #buffer: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: (() => void) | null = null;

  constructor(socket: Socket) {
    this.listen(socket);
  }

  listen(socket: Socket): void {
    const wake = (): void => this.#wake?.();
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      wake();
    });
    for (const event of ['end', 'close', 'error']) {
      socket.on(event, () => {
        this.#ended = true;
        wake();
      });
    }
  }

  async #bytes(size: number): Promise<Buffer | null> {
    while (this.#buffer.length < size) {
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#buffer;
  }

  async message(): Promise<Message | null> {
    const head = await this.#bytes(5);
    if (head === null) return null;
    const size = 1 + head.readInt32BE(1);
    const all = await this.#bytes(size);
    if (all === null) return null;
    this.#buffer = all.subarray(size);
    return { type: all.toString('latin1', 0, 1), payload: all.subarray(5, size) };
  }

  /** A packet without type: StartupMessage, SSLRequest. */
  async packet(): Promise<Buffer | null> {
    const head = await this.#bytes(4);
    if (head === null) return null;
    const size = head.readInt32BE(0);
    const all = await this.#bytes(size);
    if (all === null) return null;
    this.#buffer = all.subarray(size);
    return all.subarray(4, size);
  }
}

export interface ServerLogin {
  readonly auth: ServerAuth;
  /** The mechanism that we chose, if SASL was used. */
  readonly mechanism: string | null;
  /** Message of the server's ErrorResponse; null: the login succeeded. */
  readonly error: string | null;
  readonly tls: TLSSocket | null;
}

/** Logs in to a PostgreSQL server. */
export async function logInToServer(
  scope: Scope,
  port: number,
  credentials: Omit<ServerCredentials, 'endPointHash'>,
  tls: ServerTls | null = null,
): Promise<ServerLogin> {
  let socket: Socket = connect(port, '127.0.0.1');
  scope.after(() => void socket.destroy());
  await once(socket, 'connect');
  let secure: TLSSocket | null = null;
  if (tls !== null) {
    socket.write(SSL_REQUEST);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    if (answer.toString() !== 'S') throw new Error('the server does not speak TLS');
    secure = connectTls({ ...tls.options, socket });
    await once(secure, 'secureConnect');
    socket = secure;
  }
  const raw = secure?.getPeerX509Certificate()?.raw;
  const auth = new ServerAuth({ ...credentials, endPointHash: raw ? endPointHash(raw) : null });
  const reader = new Reader(socket);
  const body = Buffer.from(`\0\x03\0\0user\0${credentials.user}\0database\0postgres\0\0`, 'latin1');
  const size = Buffer.alloc(4);
  size.writeInt32BE(body.length + 4);
  socket.write(Buffer.concat([size, body]));
  let mechanism: string | null = null;
  for (;;) {
    const message = await reader.message();
    if (message === null) throw new Error('the server closed the connection');
    if (message.type === 'E') {
      const error = /\0M([^\0]*)/.exec(message.payload.toString())?.[1] ?? 'an error';
      return { auth, mechanism, error, tls: secure };
    }
    if (message.type === 'Z') return { auth, mechanism, error: null, tls: secure };
    if (message.type !== 'R') continue;
    const answer = await auth.receive(message.payload);
    if (message.payload.readInt32BE(0) === 10) mechanism = answer!.toString('latin1', 0, answer!.indexOf(0));
    if (answer !== null) socket.write(frame('p', answer));
  }
}

export interface ClientServer {
  readonly port: number;
  /** The outcomes of the logins, in their order. */
  readonly results: AuthStep[];
}

/** Listens for clients, authenticates them, and gives every query an empty answer. */
export async function serveClients(
  scope: Scope,
  method: ClientMethod,
  identity: Omit<ClientIdentity, 'tls' | 'user'>,
  tls: ClientTls | null = null,
): Promise<ClientServer> {
  const results: AuthStep[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    serve(socket, method, identity, tls, results).catch((error: unknown) => socket.destroy(error as Error));
  });
  scope.after(() => void server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, results };
}

async function serve(
  plain: Socket,
  method: ClientMethod,
  identity: Omit<ClientIdentity, 'tls' | 'user'>,
  tls: ClientTls | null,
  results: AuthStep[],
): Promise<void> {
  let socket = plain;
  let reader = new Reader(plain);
  let packet = await reader.packet();
  if (tls !== null && packet?.readInt32BE(0) === 80_877_103) {
    plain.removeAllListeners('data');
    plain.write('S');
    const secure = new TLSSocket(plain, tls.options);
    secure.on('error', () => {});
    await once(secure, 'secure');
    const problem = tls.verifyPeer(secure);
    if (problem !== null) throw new Error(problem);
    socket = secure;
    reader = new Reader(secure);
    packet = await reader.packet();
  }
  if (packet === null) return;
  const parameters = packet.toString('utf8', 4).split('\0');
  const dialogue = authDialogue(
    method,
    {
      ...identity,
      user: parameters[parameters.indexOf('user') + 1]!,
      tls:
        socket instanceof TLSSocket
          ? { certificateCn: tls!.certificateCn(socket), endPointHash: tls!.endPointHash }
          : null,
    },
    { scramIterations: 4096 },
  );
  let step = await dialogue.begin();
  while (step.kind === 'continue') {
    socket.write(frame('R', step.authentication));
    const answer = await reader.message();
    if (answer === null) return;
    step = await dialogue.receive(answer.payload);
  }
  results.push(step);
  if (step.kind === 'failed') {
    socket.end(frame('E', Buffer.from(`SFATAL\0C08P01\0M${step.reason}\0\0`)));
    return;
  }
  if (step.final !== null) socket.write(frame('R', step.final));
  socket.write(Buffer.concat([frame('R', Buffer.alloc(4)), frame('Z', Buffer.from('I'))]));
  for (;;) {
    const message = await reader.message();
    if (message === null) return;
    if (message.type === 'X') return void socket.end();
    if (message.type === 'Q') {
      socket.write(Buffer.concat([frame('I', Buffer.alloc(0)), frame('Z', Buffer.from('I'))]));
    }
  }
}
