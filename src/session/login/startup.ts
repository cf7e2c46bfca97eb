/** The packets of a client before its StartupMessage: requests for encryption, and cancel requests. */
import { setTcpOptions } from '../../platform/socket-options.ts';
import { clientErrors } from '../../wire/errors.ts';
import { isTerminate, parseStartup, type StartupPacket } from '../../wire/startup.ts';
import type { Client, Reader } from '../client.ts';
import { forwardCancel } from '../cancel.ts';
import { encrypt, listen } from './reading.ts';
import { takeStartupMessage } from './startup-message.ts';
import { logInClient } from './steps.ts';

const TLS_HANDSHAKE = 0x16;
const EMPTY = Buffer.alloc(0);
/** The reason for the end of a client that has sent Terminate, in pgbouncer's words. */
const LEFT = 'client close request';

/** Reads the first bytes of a new connection. */
export function startSession(client: Client): void {
  const { settings } = client.context.config;
  const { socket } = client;
  client.readWith(STARTUP);
  if (!client.connection.isUnix) {
    socket.setNoDelay(true);
    setTcpOptions(socket, settings);
  }
  listen(client);
}

const STARTUP: Reader = { onBytes: readStartup, resume: () => {} };

function readStartup(client: Client, chunk: Buffer): void {
  const bytes = client.intake.takeWith(chunk);
  const { tls } = client.context;
  if (bytes[0] === TLS_HANDSHAKE && !client.connection.isUnix && client.connection.tls === '' && tls !== null)
    return encrypt(client, tls, bytes);
  const found = parseStartup(bytes);
  if (found === null) {
    client.intake.hold(bytes);
    return;
  }
  handle(client, found.packet, bytes.subarray(found.length));
}

/** @param rest the bytes after the packet */
function handle(client: Client, packet: StartupPacket, rest: Buffer): void {
  switch (packet.kind) {
    case 'ssl':
    case 'gss':
      return handleEncryptionRequest(client, packet.kind, rest);
    case 'cancel':
      if (rest.length > 0) return refuse(client, 'bytes after a cancel request');
      forwardCancel(client, packet.pid, packet.key);
      return;
    case 'terminate':
      return client.close(LEFT);
    case 'old':
      return client.close('old V2 protocol not supported', clientErrors.oldProtocol());
    case 'bad':
      return refuse(client, packet.reason);
    case 'startup':
      client.intake.hold(rest);
      if (takeStartupMessage(client, packet.minor, packet.parameters)) logInClient(client);
  }
}

function handleEncryptionRequest(client: Client, kind: 'ssl' | 'gss', rest: Buffer): void {
  const name = kind === 'ssl' ? 'SSL' : 'GSSAPI encryption';
  // A man in the middle could have inserted bytes that arrive together with an encryption request (CVE-2021-3935).
  if (rest.length > 0 && !isTerminate(rest))
    return refuse(client, `received unencrypted data after ${name} request`);
  if (rest.length > 0) return client.close(LEFT);
  // otherwise a client could ask without end, and never read the answers
  if (!client.login.askFor(kind)) return refuse(client, `second ${name} request`);
  const tls =
    kind === 'ssl' && !client.connection.isUnix && client.connection.tls === '' ? client.context.tls : null;
  client.socket.write(tls === null ? 'N' : 'S');
  if (tls !== null) encrypt(client, tls, EMPTY);
}

function refuse(client: Client, reason: string): void {
  client.close(reason, clientErrors.protocolViolation(reason));
}
