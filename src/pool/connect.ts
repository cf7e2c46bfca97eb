import type { Socket } from 'node:net';
import { ServerAuth } from '../auth/server-auth.ts';
import { endPointHash, serverTls, type SslMode } from '../auth/tls.ts';
import { setTcpOptions } from '../platform/socket-options.ts';
import { cancelRequest } from '../wire/messages.ts';
import { logIn, type Welcome } from './login.ts';
import type { Pool } from './pool.ts';
import type { Registry } from './databases.ts';
import { Server } from './server.ts';
import { ConnectError, encrypt, openSocket, unixPath, type Negotiation, type Target } from './socket.ts';

export interface Opened {
  readonly server: Server;
  readonly welcome: Welcome;
}

/** Whether TLS is used: not at all, where the other side has it, or in any case. */
type Encryption = 'none' | 'offered' | 'required';

/** `allow` asks for TLS as `prefer` does, in pgbouncer too. */
export function encryptionTo(target: Target, mode: SslMode): Encryption {
  if (mode === 'disable' || unixPath(target) !== null) return 'none';
  return mode === 'allow' || mode === 'prefer' ? 'offered' : 'required';
}

/**
 * Opens a connection to PostgreSQL for a pool: TCP or Unix socket, TLS as server_tls_sslmode wants it, login.
 * @param parameters of the StartupMessage
 * @param signal ends the attempt (server_connect_timeout)
 * @param onServer told of the server object as soon as there is one, so that a timeout can close it
 * @param id of the server that is made
 * @throws ConnectError, LoginError from login.ts
 */
export async function openServer(
  pool: Pool,
  target: Target,
  parameters: readonly (readonly [string, string])[],
  signal: AbortSignal,
  onServer: (server: Server) => void,
  id = pool.registry.ids.next(),
): Promise<Opened> {
  const { settings } = pool.registry.config;
  const encryption = encryptionTo(target, settings.server_tls_sslmode);
  const opened = await openSocket(target, pool.registry.resolver, settings, signal);
  const { socket } = opened;
  if (unixPath(target) === null) setTcpOptions(socket, settings);

  const server = new Server(pool, id, socket, target.host, target.port);
  watchSocket(server, socket);
  server.localAddress = socket.localAddress ?? 'unix';
  server.localPort = socket.localPort ?? target.port;
  server.remoteAddress = socket.remoteAddress ?? '';
  onServer(server);
  opened.onBytes = (chunk) => server.receive(chunk);

  let certificateHash: Buffer | null = null;
  if (encryption !== 'none') {
    const { options } = serverTls(settings, target.host);
    const secure = await encrypt(opened, negotiation(pool), options);
    if (secure !== null) {
      server.socket = secure;
      watchSocket(server, secure);
      server.tls = `${secure.getProtocol()}/${secure.getCipher().name}`;
      const certificate = secure.getPeerX509Certificate();
      certificateHash = certificate ? endPointHash(certificate.raw) : null;
    } else if (encryption === 'required') {
      throw new ConnectError('server refused SSL');
    }
  }

  const { user, secret, learned } = pool.credentials;
  const auth = new ServerAuth({ user, secret, learned, endPointHash: certificateHash });
  const welcome = await logIn(server, auth, parameters);
  server.noteLogin();
  return { server, welcome };
}

function negotiation(pool: Pool): Negotiation {
  return pool.database.config.sslnegotiation;
}

function watchSocket(server: Server, socket: Socket): void {
  socket.on('error', (error) => {
    server.pool.registry.log.debug({ server: server.id, err: error }, `${server.label} ${error.message}`);
    server.sendFailed = (error as NodeJS.ErrnoException).syscall === 'write';
    server.lost('server conn crashed?');
  });
  socket.on('close', () => server.lost('server conn crashed?'));
  socket.on('end', () => server.lost('server conn crashed?'));
  socket.on('drain', () => server.user?.onServerDrain(server));
}

/**
 * Sends a CancelRequest for whatever runs on a server, encrypted when the server's own connection is.
 * @throws ConnectError
 */
export async function sendCancel(server: Server, signal: AbortSignal, onSent: () => void): Promise<void> {
  const { registry } = server.pool;
  // Of a name with several addresses, only this one has the backend.
  const target = { host: unixPath(server) === null ? server.remoteAddress : server.host, port: server.port };
  await deliverCancel(registry, target, cancelRequest(server.pid, server.cancelKey), signal, {
    encryption: server.tls === '' ? 'none' : 'required',
    negotiation: negotiation(server.pool),
    serverName: server.host,
    onSent,
  });
}

/**
 * Sends a CancelRequest and waits until the other side closes the connection, which says that it has been dealt with.
 * @throws ConnectError
 */
export async function deliverCancel(
  registry: Registry,
  target: Target,
  request: Buffer,
  signal: AbortSignal,
  how: { encryption: Encryption; negotiation: Negotiation; serverName: string; onSent: () => void },
): Promise<void> {
  const opened = await openSocket(target, registry.resolver, registry.config.settings, signal);
  const destroy = (): void => void opened.socket.destroy(new Error('connect timeout'));
  const plain = opened.socket;
  plain.on('error', () => {});
  signal.addEventListener('abort', destroy);
  try {
    if (how.encryption !== 'none') {
      const { options } = serverTls(registry.config.settings, how.serverName);
      const secure = await encrypt(opened, how.negotiation, options);
      if (secure === null && how.encryption === 'required') throw new ConnectError('server refused SSL');
    }
    const { socket } = opened;
    await new Promise<void>((resolve, reject) => {
      socket.once('close', () => (signal.aborted ? reject(new ConnectError('connect timeout')) : resolve()));
      socket.on('error', () => {});
      socket.resume();
      socket.write(request);
      how.onSent();
    });
  } finally {
    signal.removeEventListener('abort', destroy);
    opened.socket.destroy();
    plain.destroy();
  }
}
