/** The StartupMessage of a client: user and database, protocol version, and requested settings. */
import { cutName } from '../../pool/names.ts';
import { clientErrors, type ClientError } from '../../wire/errors.ts';
import { negotiateProtocolVersion } from '../../wire/messages.ts';
import { NEWEST_MINOR } from '../../wire/protocol.ts';
import { parseOptions } from '../../wire/startup.ts';
import type { Client } from '../client.ts';
import type { Replication } from '../state/login.ts';

/** pgbouncer's MAX_USERNAME, which counts the terminator; PostgreSQL's own names end at 63 bytes */
const MAX_USER_BYTES = 128;

/** Takes everything in the message. False: the client was refused. */
export function takeStartupMessage(
  client: Client,
  minor: number,
  parameters: ReadonlyMap<string, string>,
): boolean {
  if (!identify(client, parameters)) return false;
  agreeOnProtocol(client, minor, parameters);
  if (!takeReplication(client, parameters.get('replication'))) return false;
  for (const [name, value] of parameters) {
    if (name === 'user' || name === 'database' || name === 'replication' || name.startsWith('_pq_.'))
      continue;
    if (!takeParameter(client, name, value)) return false;
  }
  if (client.context.config.settings.application_name_add_host) addHost(client);
  return true;
}

function identify(client: Client, parameters: ReadonlyMap<string, string>): boolean {
  const { tls } = client.context;
  const user = parameters.get('user') ?? '';
  client.identify(user, parameters.get('database') || user);
  if (tls !== null && tls.required && client.connection.tls === '' && !client.connection.isUnix)
    return refuse(client, 'SSL required', clientErrors.tlsRequired());
  if (user === '') return refuse(client, 'no username supplied', clientErrors.noUser());
  if (Buffer.byteLength(user) >= MAX_USER_BYTES)
    return refuse(client, 'username too long', clientErrors.userNameTooLong());
  cutNames(client);
  return true;
}

/**
 * Cuts names to PostgreSQL's limit before anything is looked up by them: a longer name reaches the same database or role, so
 * the same settings must apply. Configured names, and names of the parts of a cluster, are not cut.
 */
function cutNames(client: Client): void {
  const { config, directory } = client.context;
  const { user, databaseName } = client;
  const isUserKnown = config.userlist.has(user) || config.users.has(user);
  // servers never see an alias or the name of a node
  const isDatabaseKnown = directory.isKnown(databaseName);
  client.identify(isUserKnown ? user : cutName(user), isDatabaseKnown ? databaseName : cutName(databaseName));
  if (client.user === user && client.databaseName === databaseName) return;
  client.context.log.info(
    { client: client.id, event: 'name_cut' },
    `${client.label} a name of more than 63 bytes was cut, as PostgreSQL does`,
  );
}

function agreeOnProtocol(client: Client, minor: number, parameters: ReadonlyMap<string, string>): void {
  const unknown = [...parameters.keys()].filter((name) => name.startsWith('_pq_.'));
  // version 3.1 does not exist
  const agreed = minor === 1 ? 0 : Math.min(minor, NEWEST_MINOR);
  client.login.agreeOn(agreed);
  if (agreed !== minor || unknown.length > 0)
    client.send(negotiateProtocolVersion(0x30000 | agreed, unknown));
}

function takeReplication(client: Client, value: string | undefined): boolean {
  if (value === undefined) return true;
  const kind = replicationKind(value);
  if (kind === null) return refuse(client, 'bad replication parameter', clientErrors.badReplication(value));
  client.login.replicate(kind);
  return true;
}

/** Reads a boolean as PostgreSQL does, or `database`. Null: neither. */
function replicationKind(value: string): Replication | null {
  if (value === 'database') return 'logical';
  if (/^(on|t|tr|tru|true|y|ye|yes|1)$/i.test(value)) return 'physical';
  return /^(of|off|f|fa|fal|fals|false|n|no|0)$/i.test(value) ? 'none' : null;
}

function takeParameter(client: Client, name: string, value: string): boolean {
  const { ignore_startup_parameters: ignored } = client.context.config.settings;
  if (client.replication !== 'none') {
    if (!isIgnored(ignored, name)) client.login.addReplicationParameter(name, value);
    return true;
  }
  if (name === 'options') {
    if (ignored.includes(name)) return takeKnownOptions(client, value);
    return client.isConsole || takeOptions(client, value);
  }
  if (client.settings.takeAtStartup(name, value) || client.isConsole || isIgnored(ignored, name)) return true;
  return refuseParameter(client, clientErrors.unsupportedParameter(name), value);
}

function isIgnored(ignored: readonly string[], name: string): boolean {
  return ignored.some((each) => each.toLowerCase() === name.toLowerCase());
}

function takeKnownOptions(client: Client, text: string): true {
  for (const [name, value] of parseOptions(text) ?? []) client.settings.takeAtStartup(name, value);
  return true;
}

function takeOptions(client: Client, text: string): boolean {
  const options = parseOptions(text);
  if (options === null) {
    const error = clientErrors.unsupportedOptionsForm();
    return refuse(client, error.message, error);
  }
  const { ignore_startup_parameters: ignored } = client.context.config.settings;
  for (const [name, value] of options) {
    if (client.settings.takeAtStartup(name, value) || isIgnored(ignored, name)) continue;
    return refuseParameter(client, clientErrors.unsupportedParameterInOptions(name), value);
  }
  return true;
}

/** Only the log shows the parameter's value. */
function refuseParameter(client: Client, error: ClientError, value: string): false {
  client.context.log.warn({ client: client.id }, `${client.label} ${error.message}=${value}`);
  return refuse(client, error.message, error);
}

function refuse(client: Client, reason: string, error: ClientError): false {
  client.close(reason, error);
  return false;
}

/** Adds the client's address to its application_name (application_name_add_host). */
function addHost(client: Client): void {
  const { login, settings } = client;
  const name = login.replicationParameter('application_name') ?? settings.value('application_name');
  const full = `${name || 'app'} - ${client.connection.address}`;
  if (client.replication === 'none') settings.nameApplication(full);
  else login.setReplicationParameter('application_name', full);
}
