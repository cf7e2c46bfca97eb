/** The text of fleet_store: a name of [databases], or a connection string. */
import { ValueError, type Kind } from './option.ts';
import { ConnectionStringError, parsePairs } from './pairs.ts';

const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof SSL_MODES)[number];

const KEYS = ['database', 'dbname', 'host', 'password', 'port', 'sslmode', 'user'];
const EXAMPLE =
  'postgres:database=NAME with a name of [databases], postgres:host=H dbname=D user=U, or postgres://U@H/D';

/** fleet_store as it is written. null: not given. */
export interface FleetStoreText {
  /** name in [databases] */
  readonly database: string | null;
  readonly hosts: readonly HostAndPort[];
  readonly dbname: string | null;
  readonly user: string | null;
  readonly password: string | null;
  readonly sslmode: SslMode | null;
}

export interface HostAndPort {
  /** a name, an address, or the folder of a Unix socket */
  readonly host: string;
  readonly port: number;
}

/** Text: empty, or `postgres:` and a name of [databases], or a connection string. Value: the same. */
export function fleetStore(): Kind<string> {
  return {
    label: '`postgres:…`',
    schema: { type: 'string' },
    parse(value) {
      if (value !== '') parseFleetStore(value);
      return value;
    },
    show: (value) => value,
  };
}

/** @throws ValueError */
export function parseFleetStore(text: string): FleetStoreText {
  const [, rest] = /^postgres(?:ql)?:(.*)$/s.exec(text.trim()) ?? [];
  if (rest === undefined) throw new ValueError('the store is not of a known kind', EXAMPLE);
  const [, url] = /^(?:postgres(?:ql)?:)?\/\/(.*)$/s.exec(rest) ?? [];
  return url === undefined ? fromPairs(rest) : fromUrl(url);
}

/**
 * Whether clients of a database would log in to the store of the fleet as the proxies do, and could change which rules run.
 * @param entry name of the database's entry
 * @param user that the entry logs all clients in as; null: each as itself
 * @param text of fleet_store
 */
export function givesAwayStore(entry: string, user: string | null, text: string): boolean {
  if (text === '' || user === null) return false;
  const store = parseFleetStore(text);
  return store.database === entry && (store.user ?? user) === user;
}

function fromPairs(text: string): FleetStoreText {
  let pairs;
  try {
    pairs = new Map(parsePairs(text));
  } catch (error) {
    if (!(error instanceof ConnectionStringError)) throw error;
    throw new ValueError(`syntax error in the store's connection string: ${error.message}`, EXAMPLE);
  }
  for (const key of pairs.keys())
    if (!KEYS.includes(key))
      throw new ValueError(`unrecognized parameter of the store: ${key}`, `known: ${KEYS.join(', ')}`);
  const database = pairs.get('database') ?? null;
  const host = pairs.get('host') ?? null;
  if ((database === null) === (host === null))
    throw new ValueError('the store needs database, which names an entry of [databases], or host', EXAMPLE);
  if (database !== null && (pairs.has('dbname') || pairs.has('port')))
    throw new ValueError('dbname and port of the store come from its entry in [databases]', EXAMPLE);
  if (database === 'pgbouncer') throw new ValueError('the console is not a store', EXAMPLE);
  const port = portFrom(pairs.get('port') ?? '');
  return {
    database,
    hosts: (host ?? '')
      .split(',')
      .filter((each) => each.trim() !== '')
      .map((each) => ({ host: each.trim(), port })),
    dbname: pairs.get('dbname') ?? null,
    user: pairs.get('user') ?? null,
    password: pairs.get('password') ?? null,
    sslmode: sslmodeFrom(pairs.get('sslmode')),
  };
}

/** @param text a URL after its `//` */
function fromUrl(text: string): FleetStoreText {
  const [, login = '', hosts = '', dbname = '', query = ''] =
    /^(?:([^@/?#]*)@)?([^@/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/s.exec(text) ?? [];
  // an error about what follows it would show a part of the password
  if (hosts !== '' && (dbname + query).includes('@'))
    throw new ValueError("a password in the store's URL has / ? # @ : only as %2F %3F %23 %40 %3A", EXAMPLE);
  if (hosts === '') throw new ValueError("there is no host in the store's URL", EXAMPLE);
  const colon = login.indexOf(':');
  const parameters = new URLSearchParams(query);
  for (const key of parameters.keys())
    if (key !== 'sslmode') throw new ValueError(`unrecognized parameter of the store: ${key}`, 'sslmode');
  return {
    database: null,
    hosts: hosts.split(',').map(hostAndPort),
    dbname: decoded(dbname),
    user: decoded(colon === -1 ? login : login.slice(0, colon)),
    password: colon === -1 ? null : decoded(login.slice(colon + 1)),
    sslmode: sslmodeFrom(parameters.get('sslmode') ?? undefined),
  };
}

function hostAndPort(text: string): HostAndPort {
  const [, address, name, port = ''] = /^(?:\[([^\]]+)\]|([^:]+))(?::(.*))?$/.exec(text) ?? [];
  const host = decoded(address ?? name ?? '');
  if (host === null) throw new ValueError(`invalid host of the store: "${text}"`, EXAMPLE);
  return { host, port: portFrom(port) };
}

/** null: empty. */
function decoded(text: string): string | null {
  try {
    return text === '' ? null : decodeURIComponent(text);
  } catch {
    throw new ValueError("the store's URL has a percent sign that encodes nothing", 'write %25 for one');
  }
}

function portFrom(text: string): number {
  const port = text === '' ? 5432 : Number(text);
  if (!/^\d*$/.test(text) || port < 1 || port > 65535)
    throw new ValueError(`invalid port of the store: ${text}`, '1 to 65535');
  return port;
}

function sslmodeFrom(text: string | undefined): SslMode | null {
  if (text === undefined) return null;
  const mode = SSL_MODES.find((each) => each === text);
  if (mode === undefined)
    throw new ValueError(`invalid sslmode of the store: ${text}`, `one of ${SSL_MODES.join(', ')}`);
  return mode;
}
