/** Connections from the proxy to servers and to peers: TCP or Unix socket, plain or encrypted. */
import { createConnection, isIP, type Socket } from 'node:net';
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { certificateProblem, tlsProblem } from '../auth/tls.ts';
import type { TcpSettings } from '../platform/socket-options.ts';
import { prepareConnection } from '../platform/tcp-sockets.ts';
import { SSL_REQUEST } from '../wire/messages.ts';
import { ResolveError, type Resolver } from './resolver.ts';

/**
 * The size of the buffer that a server's socket is read into. The relay forwards slices of it and stops reading while any
 * slice is unsent.
 */
const READ_BUFFER_BYTES = 32 * 1024;

/** The connection could not be made. `reason` has pgbouncer's words; the message may say more. */
export class ConnectError extends Error {
  readonly reason: string;
  constructor(reason: string, details = '') {
    super(details === '' ? reason : `${reason}: ${details}`);
    this.reason = reason;
  }
}

/** The target of a connection. A host that is a folder or `@name` is a Unix socket. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/** The Unix socket's path for PostgreSQL's port number; null: a TCP host. */
export function unixPath(target: Target): string | null {
  if (target.host.startsWith('/')) return `${target.host}/.s.PGSQL.${target.port}`;
  if (target.host.startsWith('@')) return `\0${target.host.slice(1)}/.s.PGSQL.${target.port}`;
  return null;
}

/** A socket and the receiver of its bytes, which can be replaced at any time. */
export interface OpenedSocket {
  socket: Socket;
  /** The chunk is only valid during the call. */
  onBytes: (chunk: Buffer) => void;
}

/**
 * A plain connection to a target.
 * @throws ConnectError
 */
export async function openSocket(
  target: Target,
  resolver: Resolver,
  settings: Pick<TcpSettings, 'tcp_socket_buffer'>,
  signal: AbortSignal,
): Promise<OpenedSocket> {
  const path = unixPath(target);
  if (path !== null) return await connect({ path }, settings, signal);
  const { port } = target;
  if (isIP(target.host) !== 0) return await connect({ host: target.host, port }, settings, signal);
  // "localhost" often has two addresses and the server listens on one: only the last refusal is final
  let refusal: unknown;
  for (const host of await resolve(target.host, resolver, signal)) {
    try {
      return await connect({ host, port }, settings, signal);
    } catch (error) {
      refusal = error;
      if (signal.aborted) break;
    }
  }
  throw refusal;
}

async function resolve(host: string, resolver: Resolver, signal: AbortSignal): Promise<readonly string[]> {
  let giveUp = (): void => {};
  const timeout = new Promise<never>((_resolve, reject) => {
    giveUp = () => reject(new ConnectError('connect timeout'));
    signal.addEventListener('abort', giveUp);
  });
  try {
    return await Promise.race([resolver.resolve(host), timeout]);
  } catch (error) {
    if (!(error instanceof ResolveError)) throw error;
    throw new ConnectError('server DNS lookup failed', error.message);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

function connect(
  address: { path: string } | { host: string; port: number },
  settings: Pick<TcpSettings, 'tcp_socket_buffer'>,
  signal: AbortSignal,
): Promise<OpenedSocket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new ConnectError('connect timeout'));
    const buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    const onread = {
      buffer,
      callback(size: number): boolean {
        opened.onBytes(buffer.subarray(0, size));
        return true;
      },
    };
    const socket = createConnection({ ...address, onread });
    if ('host' in address) prepareConnection(socket, address.host, settings);
    const opened: OpenedSocket = { socket, onBytes: () => {} };
    const onTimeout = (): void => void socket.destroy(new Error('connect timeout'));
    signal.addEventListener('abort', onTimeout);
    const fail = (error: NodeJS.ErrnoException): void => {
      socket.destroy();
      signal.removeEventListener('abort', onTimeout);
      if (signal.aborted) reject(new ConnectError('connect timeout'));
      else reject(new ConnectError('connect failed', error.message || error.code));
    };
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.off('error', fail);
      signal.removeEventListener('abort', onTimeout);
      socket.setNoDelay(true);
      resolve(opened);
    });
  });
}

/** The beginning of encryption: with an SSLRequest, or at once, as of PostgreSQL 17 ("SSL Session Encryption"). */
export type Negotiation = 'postgres' | 'direct';

/**
 * Encrypts a connection. Its bytes go to the same `onBytes` as before.
 * @returns null: the other side does not speak TLS, and the connection is unchanged
 * @throws ConnectError
 */
export async function encrypt(
  opened: OpenedSocket,
  negotiation: Negotiation,
  options: ConnectionOptions,
): Promise<TLSSocket | null> {
  if (negotiation === 'postgres') {
    const answer = await askForTls(opened);
    if (answer === 'N') return null;
  }
  const plain = opened.socket;
  const secure = tlsConnect({ ...options, socket: plain });
  await new Promise<void>((resolve, reject) => {
    secure.once('secureConnect', resolve);
    secure.once('error', (error) =>
      reject(handshakeError(certificateProblem(secure, error) ?? tlsProblem(error))),
    );
    secure.once('close', () => reject(handshakeError('connection closed')));
  });
  secure.removeAllListeners('close');
  // without ALPN it may be the TLS port of another protocol (protocol-flow.html)
  if (negotiation === 'direct' && secure.alpnProtocol !== 'postgresql') {
    secure.destroy();
    throw new ConnectError('TLS setup failed: direct TLS without ALPN');
  }
  opened.socket = secure;
  secure.on('data', (chunk: Buffer) => opened.onBytes(chunk));
  return secure;
}

/** pgbouncer's words, because logs are searched for them. */
function handshakeError(problem: string): ConnectError {
  return new ConnectError(`TLS handshake error: handshake failed: ${problem}`);
}

function askForTls(opened: OpenedSocket): Promise<'S' | 'N'> {
  const { socket } = opened;
  const { onBytes } = opened;
  return new Promise((resolve, reject) => {
    const onClose = (): void =>
      reject(new ConnectError('server conn crashed?', 'closed instead of an answer to the SSL request'));
    socket.once('close', onClose);
    opened.onBytes = (chunk) => {
      socket.off('close', onClose);
      opened.onBytes = onBytes;
      const answer = chunk.toString('latin1');
      if (answer === 'S' || answer === 'N') resolve(answer);
      else if (!/^[SN]/.test(answer)) reject(new ConnectError('bad sslreq answer'));
      // an attacker in between could have put it there (CVE-2021-23222)
      else reject(new ConnectError('received unencrypted data after SSL response'));
    };
    socket.write(SSL_REQUEST);
  });
}
