/** The values of [databases], [users] and [peers]: `key=value` pairs with a small table for each section. */
import { resolve } from 'node:path';
import type { DatabaseConfig, PeerConfig, PoolMode, UserConfig } from './config.ts';
import { nearestHint, type Diagnostics, type Place } from './diagnostics.ts';
import { splitList, ValueError } from './option.ts';
import type { Kind } from './option.ts';
import { OPTIONS, type Unjudged } from './options.ts';
import { ConnectionStringError, parsePairs, type Pairs } from './pairs.ts';

/** atoi: leading digits, garbage is 0. */
export function atoi(text: string): number {
  const value = Number.parseInt(/^\s*[+-]?\d+/.exec(text)?.[0] ?? '0', 10);
  return Math.max(-2147483648, Math.min(2147483647, value));
}

type Parse = (value: string) => unknown;
export interface Key {
  readonly parse: Parse;
  readonly alias?: string;
}

class BadValue extends Error {}

function words(...allowed: string[]): Parse {
  return (value) => {
    if (!allowed.includes(value))
      throw new BadValue(`invalid value "${value}", one of ${allowed.join(', ')}`);
    return value;
  };
}

/** pgbouncer's own way to say "not set" is -1. */
function unlessNegative(value: string): number | undefined {
  const number = atoi(value);
  return number < 0 ? undefined : number;
}

export const asText: Parse = (value) => value;
const asMilliseconds: Parse = (value) => {
  const seconds = unlessNegative(value);
  return seconds === undefined ? undefined : seconds * 1000;
};

function asPort(value: string): number {
  const port = atoi(value);
  if (port < 1 || port > 65535) throw new BadValue(`invalid port: ${value}`);
  return port;
}

/** A value that [pgbouncer] takes under the same name. */
export function asOption<T>(kind: Kind<T>): Parse {
  return (value) => {
    try {
      return kind.parse(value);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new BadValue(`${error.message}, ${error.hint}`);
    }
  };
}

const poolMode = words('session', 'transaction', 'statement');
export const plain = (parse: Parse): Key => ({ parse });

/** The keys of an entry of [databases]. */
export const DATABASE_KEYS: Readonly<Record<string, Key>> = {
  application_name: plain(asText),
  auth_dbname: plain(asText),
  auth_query: plain(asText),
  auth_user: plain(asText),
  client_encoding: plain(asText),
  connect_query: plain(asText),
  datestyle: plain(asText),
  dbname: plain(asText),
  host: plain(splitList),
  load_balance_hosts: plain(words('round-robin', 'disable')),
  max_db_client_connections: plain(unlessNegative),
  max_db_connections: plain(unlessNegative),
  min_pool_size: plain(unlessNegative),
  password: plain(asText),
  pool_mode: plain(poolMode),
  pool_size: plain(unlessNegative),
  port: plain(asPort),
  query_wait_timeout: plain(asMilliseconds),
  reader_database: plain(asText),
  reserve_pool: { parse: unlessNegative, alias: 'reserve_pool_size' },
  reserve_pool_size: plain(unlessNegative),
  rewrite_query_file: plain(asText),
  routing_rules_file: plain(asText),
  routing_targets: plain(splitList),
  server_lifetime: plain(asMilliseconds),
  sslnegotiation: plain(words('postgres', 'direct')),
  timezone: plain(asText),
  topology_query: plain(asText),
  user: plain(asText),
  user_functions_allow: plain(asOption(OPTIONS.user_functions_allow.kind)),
};

/** The keys of an entry of [users]. */
export const USER_KEYS: Readonly<Record<string, Key>> = {
  client_idle_timeout: plain(asMilliseconds),
  idle_transaction_timeout: plain(asMilliseconds),
  max_user_client_connections: plain(unlessNegative),
  max_user_connections: plain(unlessNegative),
  pool_mode: plain(poolMode),
  pool_size: plain(unlessNegative),
  query_timeout: plain(asMilliseconds),
  query_wait_timeout: plain(asMilliseconds),
  reserve_pool_size: plain(unlessNegative),
  transaction_timeout: plain(asMilliseconds),
};

/** The keys of an entry of [peers]. */
export const PEER_KEYS: Readonly<Record<string, Key>> = {
  host: plain(asText),
  pool_size: plain(unlessNegative),
  port: plain(asPort),
};

/** An entry's place in its file, and the receivers of its errors and of its ignored keys. */
export interface EntryContext {
  readonly place: Place;
  readonly diagnostics: Diagnostics;
}

/** The values of an entry by key. Null: its text can't be read at all. */
export function readKeys(
  value: string,
  keys: Readonly<Record<string, Key>>,
  what: string,
  context: EntryContext,
): Map<string, unknown> | null {
  const { diagnostics, place } = context;
  let pairs: Pairs;
  try {
    pairs = parsePairs(value);
  } catch (error) {
    if (!(error instanceof ConnectionStringError)) throw error;
    diagnostics.add(place, `syntax error in connection string: ${error.message}`, { option: what });
    return null;
  }
  const result = new Map<string, unknown>();
  for (const [name, text] of pairs) {
    const key = Object.hasOwn(keys, name) ? keys[name]! : null;
    if (key === null) {
      const hint = nearestHint(name, Object.keys(keys));
      diagnostics.add(place, `unrecognized connection parameter: ${name}`, { option: what, hint });
      continue;
    }
    try {
      result.set(key.alias ?? name, key.parse(text));
    } catch (error) {
      if (!(error instanceof BadValue)) throw error;
      diagnostics.add(place, `${name}: ${error.message}`, { option: what });
    }
  }
  return result;
}

/** An entry of [databases]; rule files are relative to `folder`. Null: not an entry at all. */
export function parseDatabase(
  name: string,
  value: string,
  folder: string,
  context: EntryContext,
): DatabaseConfig | null {
  if (name === 'pgbouncer') {
    context.diagnostics.add(context.place, 'database name "pgbouncer" is reserved', { option: name });
    return null;
  }
  const keys = readKeys(value, DATABASE_KEYS, name, context);
  if (keys === null) return null;
  const textOf = (key: string): string | null => (keys.get(key) as string | undefined) ?? null;
  const numberOf = (key: string): number | null => (keys.get(key) as number | undefined) ?? null;
  const fileOf = (key: string): string | null => {
    const file = textOf(key);
    return file === null ? null : resolve(folder, file);
  };
  return Object.freeze({
    name,
    dbname: textOf('dbname'),
    hosts: (keys.get('host') as readonly string[] | undefined) ?? [],
    port: numberOf('port') ?? 5432,
    user: textOf('user'),
    password: textOf('password'),
    auth_user: textOf('auth_user'),
    auth_query: textOf('auth_query'),
    auth_dbname: textOf('auth_dbname'),
    connect_query: textOf('connect_query'),
    client_encoding: textOf('client_encoding'),
    datestyle: textOf('datestyle'),
    timezone: textOf('timezone'),
    application_name: textOf('application_name'),
    topology_query: textOf('topology_query'),
    reader_database: textOf('reader_database'),
    routing_rules_file: fileOf('routing_rules_file'),
    rewrite_query_file: fileOf('rewrite_query_file'),
    routing_targets: (keys.get('routing_targets') as readonly string[] | undefined) ?? [],
    user_functions_allow: (keys.get('user_functions_allow') as readonly Unjudged[] | undefined) ?? null,
    pool_size: numberOf('pool_size'),
    min_pool_size: numberOf('min_pool_size'),
    reserve_pool_size: numberOf('reserve_pool_size'),
    max_db_connections: numberOf('max_db_connections'),
    max_db_client_connections: numberOf('max_db_client_connections'),
    server_lifetime: numberOf('server_lifetime'),
    query_wait_timeout: numberOf('query_wait_timeout'),
    pool_mode: textOf('pool_mode') as PoolMode | null,
    sslnegotiation: (textOf('sslnegotiation') ?? 'postgres') as 'postgres' | 'direct',
    load_balance_hosts: (textOf('load_balance_hosts') ?? 'round-robin') as 'round-robin' | 'disable',
  });
}

/** An entry of [users]. */
export function parseUser(name: string, value: string, context: EntryContext): UserConfig | null {
  const keys = readKeys(value, USER_KEYS, name, context);
  if (keys === null) return null;
  const numberOf = (key: string): number | null => (keys.get(key) as number | undefined) ?? null;
  return Object.freeze({
    name,
    pool_mode: (keys.get('pool_mode') as PoolMode | undefined) ?? null,
    pool_size: numberOf('pool_size'),
    reserve_pool_size: numberOf('reserve_pool_size'),
    max_user_connections: numberOf('max_user_connections'),
    max_user_client_connections: numberOf('max_user_client_connections'),
    query_timeout: numberOf('query_timeout'),
    query_wait_timeout: numberOf('query_wait_timeout'),
    idle_transaction_timeout: numberOf('idle_transaction_timeout'),
    transaction_timeout: numberOf('transaction_timeout'),
    client_idle_timeout: numberOf('client_idle_timeout'),
  });
}

/** An entry of [peers]; its name is the peer's id, 1 to 65535. */
export function parsePeer(name: string, value: string, context: EntryContext): PeerConfig | null {
  const id = atoi(name);
  if (!/^\d+$/.test(name) || id < 1 || id > 65535) {
    context.diagnostics.add(context.place, `peer_id ${name} is invalid`, {
      option: name,
      hint: '1 to 65535',
    });
    return null;
  }
  const keys = readKeys(value, PEER_KEYS, name, context);
  if (keys === null) return null;
  const host = keys.get('host') as string | undefined;
  if (host === undefined) {
    context.diagnostics.add(context.place, 'host is required for a peer', { option: name });
    return null;
  }
  return Object.freeze({
    id,
    host,
    port: (keys.get('port') as number | undefined) ?? 6432,
    pool_size: (keys.get('pool_size') as number | undefined) ?? null,
  });
}
