/** Opens connections to PostgreSQL for a pool, and those that carry a cancel request. */
import { ServerAuth } from '../auth/server-auth.ts';
import { endPointHash, serverTls, type SslMode } from '../auth/tls.ts';
import type { Settings } from '../config/options.ts';
import { setTcpOptions } from '../platform/socket-options.ts';
import { cancelRequest } from '../wire/messages.ts';
import type { Credentials } from './credentials.ts';
import { logIn, type Welcome } from './login.ts';
import type { Resolver } from './resolver.ts';
import { Server, type Purpose, type ServerOwner } from './server.ts';
import { ConnectError, encrypt, openSocket, unixPath, type Negotiation, type Target } from './socket.ts';

export interface Opened {
  readonly server: Server;
  readonly welcome: Welcome;
}

/** A pool for which connections are opened. */
export interface ConnectingPool extends ServerOwner {
  readonly credentials: Credentials;
}

/** Whether TLS is used: never, if the other side supports it, or always. */
type Encryption = 'none' | 'offered' | 'required';

/** `allow` asks for TLS as `prefer` does, in pgbouncer too. */
export function encryptionTo(target: Target, mode: SslMode): Encryption {
  if (mode === 'disable' || unixPath(target) !== null) return 'none';
  return mode === 'allow' || mode === 'prefer' ? 'offered' : 'required';
}

/** The purpose of a new connection. */
export interface OpenOptions {
  readonly purpose: Purpose;
  /** of the StartupMessage */
  readonly parameters: readonly (readonly [string, string])[];
  /** Ends the attempt (server_connect_timeout). */
  readonly signal: AbortSignal;
  /** Called with the server as soon as it exists, so that a timeout can close it. */
  readonly onServer: (server: Server) => void;
  /** The number of the server; a new one by default. */
  readonly id?: number;
}

/** As `openServer`; tests put another one in its place. */
export type OpenServer = (pool: ConnectingPool, target: Target, options: OpenOptions) => Promise<Opened>;

/**
 * Opens a connection to PostgreSQL: TCP or Unix socket, TLS according to server_tls_sslmode, login.
 * @throws ConnectError, LoginError from login.ts
 */
export async function openServer(
  pool: ConnectingPool,
  target: Target,
  { purpose, parameters, signal, onServer, id = pool.context.ids.next() }: OpenOptions,
): Promise<Opened> {
  const { settings } = pool.context;
  const encryption = encryptionTo(target, settings.server_tls_sslmode);
  const opened = await openSocket(target, pool.resolver, settings, signal);
  const { socket } = opened;
  if (unixPath(target) === null) setTcpOptions(socket, settings);

  const server = new Server(pool, id, socket, target, purpose);
  onServer(server);
  opened.onBytes = (chunk) => server.receive(chunk);

  let certificateHash: Buffer | null = null;
  if (encryption !== 'none') {
    const { options } = serverTls(settings, target.host);
    const secure = await encrypt(opened, pool.database.config.sslnegotiation, options);
    if (secure !== null) {
      server.encrypted(secure, `${secure.getProtocol()}/${secure.getCipher().name}`);
      const certificate = secure.getPeerX509Certificate();
      certificateHash = certificate ? endPointHash(certificate.raw) : null;
    } else if (encryption === 'required') {
      throw new ConnectError('server refused SSL');
    }
  }

  const { user, secret, learned } = pool.credentials;
  const auth = new ServerAuth({ user, secret, learned, endPointHash: certificateHash });
  const welcome = await logIn(server, auth, parameters);
  server.settings.noteLogin();
  return { server, welcome };
}

/** The way in which a cancel request is delivered. */
interface Delivery {
  readonly target: Target;
  readonly resolver: Resolver;
  readonly settings: Settings;
  readonly signal: AbortSignal;
  readonly encryption: Encryption;
  readonly negotiation: Negotiation;
  /** for the certificate, and for SNI */
  readonly serverName: string;
  readonly onSent: () => void;
}

/**
 * Sends a CancelRequest for the query that runs on a server, encrypted if the server's own connection is.
 * @throws ConnectError
 */
export async function sendCancel(server: Server, signal: AbortSignal, onSent: () => void): Promise<void> {
  const { context, resolver, database } = server.pool;
  await deliverCancel(cancelRequest(server.pid, server.cancelKey), {
    // if a name has several addresses, only this one has the backend
    target: { host: unixPath(server) === null ? server.remoteAddress : server.host, port: server.port },
    resolver,
    settings: context.settings,
    signal,
    encryption: server.tls === '' ? 'none' : 'required',
    negotiation: database.config.sslnegotiation,
    serverName: server.host,
    onSent,
  });
}

/**
 * Sends a CancelRequest and waits until the other side closes the connection, having dealt with it.
 * @throws ConnectError
 */
export async function deliverCancel(request: Buffer, delivery: Delivery): Promise<void> {
  const { target, resolver, settings, signal, encryption, onSent } = delivery;
  const opened = await openSocket(target, resolver, settings, signal);
  const destroy = (): void => void opened.socket.destroy(new Error('connect timeout'));
  const plain = opened.socket;
  plain.on('error', () => {});
  signal.addEventListener('abort', destroy);
  try {
    if (encryption !== 'none') {
      const { options } = serverTls(settings, delivery.serverName);
      const secure = await encrypt(opened, delivery.negotiation, options);
      if (secure === null && encryption === 'required') throw new ConnectError('server refused SSL');
    }
    const { socket } = opened;
    await new Promise<void>((resolve, reject) => {
      socket.once('close', () => (signal.aborted ? reject(new ConnectError('connect timeout')) : resolve()));
      socket.on('error', () => {});
      socket.resume();
      socket.write(request);
      onSent();
    });
  } finally {
    signal.removeEventListener('abort', destroy);
    opened.socket.destroy();
    plain.destroy();
  }
}
