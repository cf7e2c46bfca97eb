import { TLSSocket } from 'node:tls';
import { tlsProblem } from '../../auth/tls.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import { negotiateProtocolVersion } from '../../wire/messages.ts';
import { NEWEST_MINOR } from '../../wire/protocol.ts';
import { isTerminate, parseOptions, parseStartup, type StartupPacket } from '../../wire/startup.ts';
import { cutName } from '../../pool/names.ts';
import { setTcpOptions } from '../../platform/socket-options.ts';
import { moveToSharedRead } from '../../platform/shared-read.ts';
import { forwardCancel } from '../link/cancel.ts';
import type { Client, Reader } from '../client.ts';
import { ADMIN_DATABASE, HANDSHAKE } from '../names.ts';
import { logInClient } from './dialogue.ts';

/** What a client may send before it is known: encryption requests, a cancel request, its StartupMessage. */

const TLS_HANDSHAKE = 0x16;
/** pgbouncer's MAX_USERNAME, which counts the terminator; PostgreSQL's own names end at 63 bytes */
const MAX_USER_BYTES = 128;
const EMPTY = Buffer.alloc(0);
/** Why a client is closed that has sent Terminate, in pgbouncer's words. */
const LEFT = 'client close request';

/** A new connection: its first bytes are awaited. */
export function startSession(client: Client): void {
  const { settings } = client.context.config;
  const { socket } = client;
  client.readWith(STARTUP);
  if (!client.isUnix) {
    socket.setNoDelay(true);
    setTcpOptions(socket, settings);
  }
  listen(client);
}

/** Reads from the client's present socket, plain or encrypted. */
function listen(client: Client): void {
  client.socket.on('data', client.onData);
  watchSocket(client);
}

/** The relay begins: a plain connection is read in the cheapest way that there is. */
export function readFast(client: Client): void {
  if (client.tls !== '') return;
  const moved = moveToSharedRead(client.socket, client.onData);
  if (moved === null) return;
  client.socket = moved;
  watchSocket(client);
}

function watchSocket(client: Client): void {
  const { socket } = client;
  socket.on('drain', () => client.server?.socket.resume());
  socket.on('end', () => {
    if (client.tls === HANDSHAKE) return refuseHandshake(client, 'unexpected eof while reading');
    client.close(client.state === 'login' ? 'client unexpected eof during login' : 'client unexpected eof');
  });
  socket.on('error', (error) => {
    if (client.tls !== HANDSHAKE) return client.close(error.message);
    const isGone = (error as NodeJS.ErrnoException).code === 'ECONNRESET';
    refuseHandshake(client, isGone ? 'unexpected eof while reading' : tlsProblem(error));
  });
  socket.on('close', () => client.close('client unexpected eof'));
}

/** Nobody is known yet, and nothing can be said: only the log tells. */
function refuseHandshake(client: Client, reason: string): void {
  if (client.state === 'closed') return;
  client.context.log.warn(
    { client: client.id },
    `${client.label} TLS handshake error: handshake failed: ${reason}`,
  );
  client.close(`TLS handshake failed: ${reason}`);
}

const STARTUP: Reader = { onBytes: readStartup, resume: () => {} };

function readStartup(client: Client, chunk: Buffer): void {
  const bytes = client.intake.takeWith(chunk);
  if (bytes[0] === TLS_HANDSHAKE && !client.isUnix && client.tls === '' && client.context.tls !== null)
    return upgrade(client, bytes);
  const found = parseStartup(bytes);
  if (found === null) {
    client.intake.hold(bytes);
    return;
  }
  const rest = bytes.subarray(found.length);
  handle(client, found.packet, rest);
}

function handle(client: Client, packet: StartupPacket, rest: Buffer): void {
  switch (packet.kind) {
    case 'ssl':
    case 'gss': {
      // Bytes behind an encryption request could have been put there by somebody in between (CVE-2021-3935).
      if (rest.length > 0 && !isTerminate(rest)) {
        const what = packet.kind === 'ssl' ? 'SSL' : 'GSSAPI encryption';
        return refuse(client, `received unencrypted data after ${what} request`);
      }
      if (rest.length > 0) return client.close(LEFT);
      // or a client could ask without end, and read none of the answers
      if (packet.kind === 'ssl' ? client.askedSsl : client.askedGss)
        return refuse(client, `second ${packet.kind === 'ssl' ? 'SSL' : 'GSSAPI encryption'} request`);
      if (packet.kind === 'ssl') client.askedSsl = true;
      else client.askedGss = true;
      const offered =
        packet.kind === 'ssl' && client.context.tls !== null && !client.isUnix && client.tls === '';
      client.socket.write(offered ? 'S' : 'N');
      if (offered) upgrade(client, EMPTY);
      return;
    }
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
      return start(client, packet.minor, packet.parameters);
  }
}

function refuse(client: Client, reason: string): void {
  client.close(reason, clientErrors.protocolViolation(reason));
}

/** The rest of the conversation is encrypted. `first`: bytes that were read already (direct TLS). */
function upgrade(client: Client, first: Buffer): void {
  const plain = client.socket;
  const tls = client.context.tls!;
  plain.removeAllListeners('data');
  plain.removeAllListeners('end');
  plain.removeAllListeners('close');
  plain.removeAllListeners('drain');
  if (first.length > 0) {
    // flowing without a listener, it would lose them
    plain.pause();
    plain.unshift(first);
  }
  // ALPN is checked where the client offers it, as pgbouncer does: Node then wants one of ours
  const secure = new TLSSocket(plain, { ...tls.options, isServer: true, ALPNProtocols: ['postgresql'] });
  client.socket = secure;
  client.tls = HANDSHAKE;
  secure.once('secure', () => {
    const problem = tls.verifyPeer(secure);
    if (problem !== null) return refuseHandshake(client, problem);
    client.tls = `${secure.getProtocol()}/${secure.getCipher().name}`;
  });
  listen(client);
}

function start(client: Client, minor: number, parameters: ReadonlyMap<string, string>): void {
  const { config, tls } = client.context;
  const { settings } = config;
  client.user = parameters.get('user') ?? '';
  client.databaseName = parameters.get('database') || client.user;
  if (tls !== null && tls.required && client.tls === '' && !client.isUnix) {
    return client.close('SSL required', clientErrors.tlsRequired());
  }
  if (client.user === '') return client.close('no username supplied', clientErrors.noUser());
  if (Buffer.byteLength(client.user) >= MAX_USER_BYTES)
    return client.close('username too long', clientErrors.userNameTooLong());
  cutNames(client);

  const unknown = [...parameters.keys()].filter((name) => name.startsWith('_pq_.'));
  client.minor = minor === 1 ? 0 : Math.min(minor, NEWEST_MINOR);
  if (client.minor !== minor || unknown.length > 0) {
    client.send(negotiateProtocolVersion(0x30000 | client.minor, unknown));
  }

  const replication = parameters.get('replication');
  if (replication !== undefined) {
    const kind = replicationKind(replication);
    if (kind === null)
      return client.close('bad replication parameter', clientErrors.badReplication(replication));
    client.replication = kind;
  }
  for (const [name, value] of parameters) {
    if (name === 'user' || name === 'database' || name === 'replication' || name.startsWith('_pq_.'))
      continue;
    const isAdmin = client.databaseName === ADMIN_DATABASE;
    if (client.replication !== 'none') {
      if (!isIgnored(settings.ignore_startup_parameters, name))
        client.replicationParameters.push([name, value]);
    } else if (name === 'options') {
      if (!isAdmin && !settings.ignore_startup_parameters.includes('options') && !takeOptions(client, value))
        return;
      if (settings.ignore_startup_parameters.includes('options')) takeKnownOptions(client, value);
    } else if (
      !client.settings.takeAtStartup(name, value) &&
      !isAdmin &&
      !isIgnored(settings.ignore_startup_parameters, name)
    ) {
      return refuseParameter(client, clientErrors.unsupportedParameter(name), value);
    }
  }
  if (settings.application_name_add_host) addHost(client);
  logInClient(client);
}

/**
 * Names that PostgreSQL would cut are cut here, before anything is looked up by them: what is found for the longer name must
 * not be less than what is found for the database, or the role, that it reaches. Names that are configured, and those of the
 * parts of a cluster, stand as they are.
 */
function cutNames(client: Client): void {
  const { config, directory } = client.context;
  const { user, databaseName } = client;
  if (!config.userlist.has(user) && !config.users.has(user)) client.user = cutName(user);
  // an alias, or a node's name: no server hears of it
  if (!directory.isKnown(databaseName)) client.databaseName = cutName(databaseName);
  if (client.user === user && client.databaseName === databaseName) return;
  client.context.log.info(
    { client: client.id, event: 'name_cut' },
    `${client.label} a name of more than 63 bytes was cut, as PostgreSQL does`,
  );
}

function isIgnored(ignored: readonly string[], name: string): boolean {
  return ignored.some((each) => each.toLowerCase() === name.toLowerCase());
}

function takeOptions(client: Client, text: string): boolean {
  const options = parseOptions(text);
  if (options === null) {
    const error = clientErrors.unsupportedOptionsForm();
    client.close(error.message, error);
    return false;
  }
  const { ignore_startup_parameters: ignored } = client.context.config.settings;
  for (const [name, value] of options) {
    if (client.settings.takeAtStartup(name, value) || isIgnored(ignored, name)) continue;
    refuseParameter(client, clientErrors.unsupportedParameterInOptions(name), value);
    return false;
  }
  return true;
}

/** The value is in the log only. */
function refuseParameter(client: Client, error: ClientError, value: string): void {
  client.context.log.warn({ client: client.id }, `${client.label} ${error.message}=${value}`);
  client.close(error.message, error);
}

function takeKnownOptions(client: Client, text: string): void {
  for (const [name, value] of parseOptions(text) ?? []) client.settings.takeAtStartup(name, value);
}

/** A boolean as PostgreSQL reads them, or `database`; null: neither. */
function replicationKind(value: string): 'none' | 'logical' | 'physical' | null {
  if (value === 'database') return 'logical';
  if (/^(on|t|tr|tru|true|y|ye|yes|1)$/i.test(value)) return 'physical';
  return /^(of|off|f|fa|fal|fals|false|n|no|0)$/i.test(value) ? 'none' : null;
}

/** application_name_add_host: where the client is, behind its application's name. */
function addHost(client: Client): void {
  const passedOn = client.replicationParameters.find(([each]) => each === 'application_name');
  const name = (passedOn?.[1] ?? client.settings.value('application_name')) || 'app';
  const full = `${name} - ${client.address}`;
  if (passedOn !== undefined) passedOn[1] = full;
  else if (client.replication !== 'none') client.replicationParameters.push(['application_name', full]);
  else client.settings.nameApplication(full);
}
