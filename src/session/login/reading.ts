/** The socket of a client: reading it before the login and in the relay, encrypting it, ending it. */
import { TLSSocket } from 'node:tls';
import { tlsProblem, type ClientTls } from '../../auth/tls.ts';
import { moveToSharedRead } from '../../platform/shared-read.ts';
import type { Client } from '../client.ts';
import { HANDSHAKE } from '../state/names.ts';

/** Reads from the client's present socket, plain or encrypted. */
export function listen(client: Client): void {
  client.socket.on('data', client.onData);
  watchSocket(client);
}

/** The relay begins: a plain connection is read in the cheapest way. */
export function readFast(client: Client): void {
  if (client.connection.tls !== '') return;
  const moved = moveToSharedRead(client.socket, client.onData);
  if (moved === null) return;
  client.connection.useSocket(moved);
  watchSocket(client);
}

/**
 * Encrypts the connection from here on.
 * @param first bytes that were already read (direct TLS)
 */
export function encrypt(client: Client, tls: ClientTls, first: Buffer): void {
  const plain = client.socket;
  plain.removeAllListeners('data');
  plain.removeAllListeners('end');
  plain.removeAllListeners('close');
  plain.removeAllListeners('drain');
  if (first.length > 0) {
    // a flowing socket without a listener would lose them
    plain.pause();
    plain.unshift(first);
  }
  // ALPN is checked if the client offers it, as in pgbouncer: Node then requires one of these protocols
  const secure = new TLSSocket(plain, { ...tls.options, isServer: true, ALPNProtocols: ['postgresql'] });
  client.connection.useSocket(secure);
  client.connection.noteEncryption(HANDSHAKE);
  secure.once('secure', () => {
    const problem = tls.verifyPeer(secure);
    if (problem !== null) return refuseHandshake(client, problem);
    client.connection.noteEncryption(`${secure.getProtocol()}/${secure.getCipher().name}`);
  });
  listen(client);
}

function watchSocket(client: Client): void {
  const { socket } = client;
  socket.on('drain', () => client.server?.socket.resume());
  socket.on('end', () => {
    if (client.connection.tls === HANDSHAKE) return refuseHandshake(client, 'unexpected eof while reading');
    client.close(client.state === 'login' ? 'client unexpected eof during login' : 'client unexpected eof');
  });
  socket.on('error', (error) => {
    if (client.connection.tls !== HANDSHAKE) return client.close(error.message);
    const isGone = (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    refuseHandshake(client, isGone ? 'unexpected eof while reading' : tlsProblem(error));
  });
  socket.on('close', () => client.close('client unexpected eof'));
}

/** Ends a connection that could not be encrypted. The client can't be told: only the log has the reason. */
function refuseHandshake(client: Client, reason: string): void {
  if (client.isClosed) return;
  client.context.log.warn(
    { client: client.id },
    `${client.label} TLS handshake error: handshake failed: ${reason}`,
  );
  client.close(`TLS handshake failed: ${reason}`);
}
