/** Where the store of the fleet is, and how to log in there. */
import type { Config, DatabaseConfig } from '../config/config.ts';
import { parseFleetStore, type HostAndPort, type SslMode } from '../config/fleet-store.ts';

/** The user if neither fleet_store nor the configuration names one. */
const DEFAULT_USER = 'pgswitchyard';

export interface StoreTarget {
  /** they are tried in this order until one can be written to */
  readonly hosts: readonly HostAndPort[];
  readonly database: string;
  readonly user: string;
  /** null: none is known */
  readonly password: string | null;
  readonly sslmode: SslMode;
  readonly sslnegotiation: 'postgres' | 'direct';
}

/** fleet_store leads nowhere. The message is for the operator. */
export class StoreTargetError extends Error {}

/**
 * The place of the store, with the parts that an entry of [databases] or auth_file gives; null: fleet_store is not set.
 * @throws StoreTargetError if the entry is missing or has no host
 */
export function storeTarget(config: Config): StoreTarget | null {
  const { settings, databases, fallback, userlist } = config;
  if (settings.fleet_store === '') return null;
  const given = parseFleetStore(settings.fleet_store);
  const { database: name } = given;
  const entry = name === null ? null : (databases.get(name) ?? fallback);
  if (name !== null && entry === null)
    throw new StoreTargetError(`fleet_store names the database "${name}", which is not in [databases]`);
  const user = given.user ?? entry?.user ?? entry?.auth_user ?? settings.auth_user ?? DEFAULT_USER;
  const entryPassword = entry?.user === user ? entry.password : null;
  return {
    hosts: entry === null ? given.hosts : hostsOf(name ?? '', entry, settings.unix_socket_dir),
    database: given.dbname ?? entry?.dbname ?? name ?? user,
    user,
    password: given.password ?? entryPassword ?? plain(userlist.get(user)),
    sslmode: given.sslmode ?? settings.server_tls_sslmode,
    sslnegotiation: entry?.sslnegotiation ?? 'postgres',
  };
}

function hostsOf(
  name: string,
  { hosts, port }: DatabaseConfig,
  socketFolder: string | null,
): readonly HostAndPort[] {
  const all = hosts.length > 0 ? hosts : [socketFolder ?? ''];
  const unusable = all.some((host) => host === '' || host.startsWith('@'));
  if (unusable)
    throw new StoreTargetError(`fleet_store: database "${name}" has no host that a store can have`);
  return all.map((host) => ({ host, port }));
}

/** A secret of auth_file proves nothing to a server unless it is the password itself. */
function plain(secret: string | undefined): string | null {
  if (secret === undefined || secret === '') return null;
  return /^(?:md5[0-9a-f]{32}$|SCRAM-SHA-256\$)/.test(secret) ? null : secret;
}
