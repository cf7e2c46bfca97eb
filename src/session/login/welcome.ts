/** The end of a login: the messages that a client gets before its first query. */
import type { Welcome } from '../../pool/login.ts';
import {
  AUTHENTICATION_OK,
  backendKeyData,
  noticeResponse,
  parameterStatus,
  readyForQuery,
} from '../../wire/messages.ts';
import { TxStatus } from '../../wire/protocol.ts';
import type { Client, LoggedInClient, Reader } from '../client.ts';
import { issueCancelKey } from '../cancel.ts';
import { relayClientBytes, resumeClient } from '../relay/client-bytes.ts';
import { readFast } from './reading.ts';

/** Lengths of the secret in a cancel key, in bytes: protocol 3.0 has 4; 3.2 up to 252, of which PostgreSQL 18 uses 32. */
const OLD_SECRET = 4;
const LONG_SECRET = 32;

const RELAY: Reader = { onBytes: relayClientBytes, resume: resumeClient };

/**
 * Sends AuthenticationOk, settings, the cancel key and the first ReadyForQuery.
 * @param settings one ParameterStatus message each
 * @param notice text of a NoticeResponse; '': none
 */
export function greet(client: Client, settings: readonly Buffer[], notice = ''): void {
  const parts = [AUTHENTICATION_OK, ...settings];
  const key = issueCancelKey(client, client.login.minor >= 2 ? LONG_SECRET : OLD_SECRET);
  parts.push(backendKeyData(key.pid, key.secret));
  if (notice !== '') parts.push(noticeResponse({ severity: 'NOTICE', code: '00000', message: notice }));
  parts.push(readyForQuery(TxStatus.Idle));
  client.send(Buffer.concat(parts));
}

/**
 * Welcomes the client of a database, and hands it over to the relay with the bytes that it sent ahead.
 * @param own the settings of the pool's servers
 */
export function welcome(client: LoggedInClient, own: Welcome): void {
  const settings: Buffer[] = [];
  for (const [name, value] of own) settings.push(parameterStatus(name, client.settings.welcome(name, value)));
  greet(client, settings, client.context.config.settings.login_notify_message);
  const { user, connection, id } = client;
  const application = client.settings.value('application_name') ?? '';
  client.context.functions.noteClient(id, [user, connection.host, application]);
  const now = performance.now();
  client.database.stats.noteLogin((now - client.connection.since) * 1000);
  client.errand.onLeft(null);
  client.clock.beginIdle(now);
  client.readWith(RELAY);
  readFast(client);
  client.gate.open('login');
  const held = client.intake.take();
  client.socket.resume();
  if (held.length > 0) relayClientBytes(client, held);
}
