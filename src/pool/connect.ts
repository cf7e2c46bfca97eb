import { createConnection, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { ServerAuth } from '../auth/server-auth.ts';
import { endPointHash, serverTls } from '../auth/tls.ts';
import { SSL_REQUEST, cancelRequest } from '../wire/messages.ts';
import { logIn, type Welcome } from './login.ts';
import type { Pool } from './pool.ts';
import { Server } from './server.ts';

/** What a server's socket is read into. The relay passes slices of it on and stops reading while one is unsent. */
const READ_BUFFER_BYTES = 32 * 1024;

/** The connection could not be made: wording for the log and for clients. */
export class ConnectError extends Error {}

export interface Opened {
  readonly server: Server;
  readonly welcome: Welcome;
}

/** Where a pool's next connection goes. A folder or `@name` is a Unix socket. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** The Unix socket's path for PostgreSQL's port number, or null for a TCP host. */
export function unixPath(target: Target): string | null {
  if (target.host.startsWith('/')) return `${target.host}/.s.PGSQL.${target.port}`;
  if (target.host.startsWith('@')) return `\0${target.host.slice(1)}/.s.PGSQL.${target.port}`;
  return null;
}

/**
 * A plain connection to a target whose reads go to `onRead`; `onRead` must be done with the buffer when it returns.
 * @throws ConnectError
 */
export function openSocket(
  target: Target,
  signal: AbortSignal,
  onRead: (chunk: Buffer) => void,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const path = unixPath(target);
    const buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    const onread = {
      buffer,
      callback(size: number): boolean {
        onRead(buffer.subarray(0, size));
        return true;
      },
    };
    const address = path === null ? { host: target.host, port: target.port } : { path };
    const socket = createConnection({ ...address, onread });
    const onTimeout = (): void => void socket.destroy(new Error('connect timeout'));
    signal.addEventListener('abort', onTimeout);
    const fail = (error: Error & { code?: string; syscall?: string }): void => {
      socket.destroy();
      if (signal.aborted) return reject(new ConnectError('connect timeout'));
      const dns = error.syscall === 'getaddrinfo';
      reject(
        new ConnectError(
          dns
            ? `server DNS lookup failed: ${error.message}`
            : `connect failed: ${error.message || error.code}`,
        ),
      );
    };
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.off('error', fail);
      signal.removeEventListener('abort', onTimeout);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/**
 * Opens a connection to PostgreSQL for a pool: TCP or Unix socket, TLS as server_tls_sslmode wants it, login.
 * @param parameters of the StartupMessage
 * @param signal ends the attempt (server_connect_timeout)
 * @param onServer told of the server object as soon as there is one, so that a timeout can close it
 * @throws ConnectError, LoginError
 */
export async function openServer(
  pool: Pool,
  target: Target,
  parameters: readonly (readonly [string, string])[],
  signal: AbortSignal,
  onServer: (server: Server) => void,
): Promise<Opened> {
  let server: Server | null = null;
  let answer: ((byte: number) => void) | null = null;
  const socket = await openSocket(target, signal, (chunk) => {
    if (answer) answer(chunk.length === 1 ? chunk[0]! : 0);
    else server?.receive(chunk);
  });
  const { settings } = pool.registry.config;
  if (settings.tcp_keepalive) socket.setKeepAlive(true, settings.tcp_keepidle * 1000);

  server = new Server(pool, pool.registry.ids.next(), socket, target.host, target.port);
  onServer(server);
  watchSocket(server, socket);
  server.localAddress = socket.localAddress ?? 'unix';
  server.localPort = socket.localPort ?? target.port;
  server.remoteAddress = socket.remoteAddress ?? '';

  let certificateHash: Buffer | null = null;
  const tls = unixPath(target) === null ? serverTls(settings, target.host) : null;
  if (tls && tls.mode !== 'disable' && tls.mode !== 'allow') {
    const reply = await new Promise<number>((resolve, reject) => {
      answer = resolve;
      socket.once('close', () => reject(new ConnectError('server closed the connection at the SSL request')));
      socket.write(SSL_REQUEST);
    });
    answer = null;
    if (reply === 0x53) certificateHash = await startTls(server, socket, tls.options);
    // anything but one single byte S or N could be bytes that somebody injected (CVE-2021-23222)
    else if (reply !== 0x4e) throw new ConnectError('server answered the SSL request with garbage');
    else if (tls.mode !== 'prefer') throw new ConnectError('server refused SSL');
  }

  const { user, secret, learned } = pool.credentials;
  const auth = new ServerAuth({ user, secret, learned, endPointHash: certificateHash });
  const welcome = await logIn(server, auth, parameters);
  return { server, welcome };
}

/** From here on the server's socket is the encrypted one. */
async function startTls(server: Server, plain: Socket, options: object): Promise<Buffer | null> {
  const secure = tlsConnect({ ...options, socket: plain });
  await new Promise<void>((resolve, reject) => {
    secure.once('secureConnect', resolve);
    secure.once('error', (error) => reject(new ConnectError(`TLS setup failed: ${error.message}`)));
    secure.once('close', () => reject(new ConnectError('TLS setup failed: connection closed')));
  });
  secure.removeAllListeners('close');
  server.socket = secure;
  watchSocket(server, secure);
  secure.on('data', (chunk: Buffer) => server.receive(chunk));
  server.tls = `${secure.getProtocol()}/${secure.getCipher().name}`;
  const certificate = secure.getPeerX509Certificate();
  return certificate ? endPointHash(certificate.raw) : null;
}

function watchSocket(server: Server, socket: Socket): void {
  socket.on('error', (error) => server.close(error.message));
  socket.on('close', () => server.close('server conn crashed?'));
  socket.on('end', () => server.close('server conn crashed?'));
  socket.on('drain', () => server.user?.onServerDrain(server));
}

/**
 * Sends a CancelRequest for whatever runs on a server, encrypted when the server's own connection is. PostgreSQL answers
 * by closing the connection once it has signalled the backend.
 * @throws ConnectError
 */
export async function sendCancel(server: Server, signal: AbortSignal): Promise<void> {
  const plain = await openSocket(server, signal, () => {});
  const request = cancelRequest(server.pid, server.cancelKey);
  await new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new ConnectError('connect timeout')));
    plain.once('close', () => resolve());
    plain.once('error', reject);
    plain.resume();
    plain.write(request);
  }).finally(() => plain.destroy());
}
