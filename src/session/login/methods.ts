/** The authentication method of a client, and the facts about the client that methods check. */
import { TLSSocket } from 'node:tls';
import type { ClientIdentity, ClientMethod } from '../../auth/client-auth.ts';
import { Hba, identMapper } from '../../auth/hba.ts';
import { authenticateLdap } from '../../auth/ldap.ts';
import { ldapOptions, parseLdapOptions } from '../../auth/ldap-options.ts';
import { authenticatePam } from '../../auth/pam.ts';
import { peerCredentials, peerIds } from '../../auth/peer.ts';
import type { Config } from '../../config/config.ts';
import type { Client } from '../client.ts';

/** The proof of identity that a client has to give. */
export interface LoginMethod {
  readonly method: ClientMethod;
  /** name of the ident map of an HBA line; null: names must be equal */
  readonly map: string | null;
  /** of an HBA line with method ldap */
  readonly options: ReadonlyMap<string, string> | null;
}

const compiled = new WeakMap<Config, Hba>();

/**
 * The method of auth_type, or of the HBA line for this client. Null: no line matches.
 * @param entry the entry of [databases] that the requested database name stands for
 */
export function loginMethod(client: Client, entry: string): LoginMethod | null {
  const { config } = client.context;
  const { auth_type: type } = config.settings;
  if (type !== 'hba') return { method: type, map: null, options: null };
  let hba = compiled.get(config);
  if (hba === undefined) {
    hba = new Hba(config.hba ?? []);
    compiled.set(config, hba);
  }
  return hba.find({
    user: client.user,
    database: client.databaseName,
    entry,
    address: client.connection.isUnix ? null : client.connection.host,
    tls: client.connection.tls !== '',
    replication: client.replication === 'physical',
  });
}

/** The facts about a client that the dialogue checks, except its secret. */
export function identityOf(
  client: Client,
  { method, map, options }: LoginMethod,
): Omit<ClientIdentity, 'secret' | 'exists'> {
  const { config, tls } = client.context;
  const { socket } = client;
  return {
    user: client.user,
    tls:
      socket instanceof TLSSocket && tls !== null
        ? { certificateCn: tls.certificateCn(socket), endPointHash: tls.endPointHash }
        : null,
    mapName: map,
    mapsTo: map === null ? undefined : identMapper(config.identMaps.get(map), client.user),
    peerName: client.connection.isUnix ? async () => (await peerCredentials(socket)).user : undefined,
    checkPassword:
      method === 'ldap' || method === 'pam'
        ? (password) => checkPassword(client, method, options, password)
        : undefined,
  };
}

function checkPassword(
  client: Client,
  method: 'ldap' | 'pam',
  options: ReadonlyMap<string, string> | null,
  password: string,
): Promise<boolean> {
  if (method === 'pam')
    return authenticatePam(client.user, password, {
      remoteHost: client.connection.isUnix ? null : client.connection.host,
    });
  const { auth_ldap_options: text } = client.context.config.settings;
  return authenticateLdap(
    client.user,
    password,
    options && options.size > 0 ? ldapOptions(options) : parseLdapOptions(text ?? ''),
  );
}

/**
 * Whether the client may enter the console without a password (pgbouncer: "user pgbouncer ... when the login comes via the
 * Unix socket and the client has the same Unix user UID as the running process").
 */
export async function isOwnProcess(client: Client): Promise<boolean> {
  if (!client.connection.isUnix || client.user !== 'pgbouncer') return false;
  try {
    return (peerIds(client.socket) ?? (await peerCredentials(client.socket))).uid === process.getuid?.();
  } catch (error) {
    client.context.log.warn({ client: client.id }, `${client.label} ${(error as Error).message}`);
    return false;
  }
}
