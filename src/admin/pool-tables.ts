/** SHOW POOLS, DATABASES, USERS, LISTS and MEM: what there is, and how much of it. */
import type { Database } from '../pool/databases.ts';
import type { Pool } from '../pool/pool.ts';
import type { Client } from '../session/client.ts';
import { ADMIN_DATABASE } from '../session/names.ts';
import type { AdminActions } from './actions.ts';
import type { Column, Value } from './result.ts';
import { clientPhase, compare, poolsInOrder, serverPhase, serversOf, splitWait, waitOf } from './sockets.ts';

/** Servers of the console's own pool: there is none, but pgbouncer shows this size. */
const CONSOLE_POOL_SIZE = 2;

export const POOL_COLUMNS: readonly Column[] = [
  ['database', 'text'],
  ['user', 'text'],
  ['cl_active', 'int4'],
  ['cl_waiting', 'int4'],
  ['cl_active_cancel_req', 'int4'],
  ['cl_waiting_cancel_req', 'int4'],
  ['sv_active', 'int4'],
  ['sv_active_cancel', 'int4'],
  ['sv_being_canceled', 'int4'],
  ['sv_idle', 'int4'],
  ['sv_used', 'int4'],
  ['sv_tested', 'int4'],
  ['sv_login', 'int4'],
  ['maxwait', 'int4'],
  ['maxwait_us', 'int4'],
  ['pool_mode', 'text'],
  ['load_balance_hosts', 'text'],
];

export const DATABASE_COLUMNS: readonly Column[] = [
  ['name', 'text'],
  ['host', 'text'],
  ['port', 'int4'],
  ['database', 'text'],
  ['force_user', 'text'],
  ['pool_size', 'int4'],
  ['min_pool_size', 'int4'],
  ['reserve_pool_size', 'int4'],
  ['server_lifetime', 'int4'],
  ['pool_mode', 'text'],
  ['load_balance_hosts', 'text'],
  ['max_connections', 'int4'],
  ['current_connections', 'int4'],
  ['max_client_connections', 'int4'],
  ['current_client_connections', 'int4'],
  ['paused', 'int4'],
  ['disabled', 'int4'],
];

export const USER_COLUMNS: readonly Column[] = [
  ['name', 'text'],
  ['pool_size', 'text'],
  ['reserve_pool_size', 'text'],
  ['pool_mode', 'text'],
  ['max_user_connections', 'int4'],
  ['current_connections', 'int4'],
  ['max_user_client_connections', 'int4'],
  ['current_client_connections', 'int4'],
];

export const LIST_COLUMNS: readonly Column[] = [
  ['list', 'text'],
  ['items', 'int4'],
];

export const MEMORY_COLUMNS: readonly Column[] = [
  ['name', 'text'],
  ['size', 'int4'],
  ['used', 'int4'],
  ['free', 'int4'],
  ['memtotal', 'int4'],
];

function consoleClients({ sessions }: AdminActions): Client[] {
  return [...sessions.clients].filter((client) => client.isConsole && client.state !== 'login');
}

/** pgbouncer shows it where there is a list of hosts to balance over. */
function balancing({ config }: Database): string | null {
  return config.hosts.length > 1 ? config.load_balance_hosts : null;
}

export function* poolRows(actions: AdminActions): Generator<Value[]> {
  const clients = new Map<Pool, Client[]>();
  for (const client of actions.sessions.clients) {
    if (client.pool === null) continue;
    const others = clients.get(client.pool);
    if (others === undefined) clients.set(client.pool, [client]);
    else others.push(client);
  }
  const ofConsole = [ADMIN_DATABASE, ADMIN_DATABASE, consoleClients(actions).length];
  const consoleRow: Value[] = [...ofConsole, ...new Array<number>(12).fill(0), 'statement', null];
  let isConsoleDue = true;
  for (const pool of poolsInOrder(actions)) {
    const order = compare(pool.database.name, ADMIN_DATABASE) || compare(pool.user, ADMIN_DATABASE);
    if (isConsoleDue && order > 0) {
      isConsoleDue = false;
      yield consoleRow;
    }
    yield poolRow(pool, clients.get(pool) ?? [], performance.now());
  }
  if (isConsoleDue) yield consoleRow;
}

function poolRow(pool: Pool, clients: readonly Client[], now: number): Value[] {
  const servers = { active: 0, idle: 0, used: 0, tested: 0, new: 0, being_canceled: 0 };
  for (const server of serversOf(pool)) servers[serverPhase(server, now)]++;
  let present = 0;
  let waiting = 0;
  let longest = 0;
  for (const client of clients) {
    if (client.state === 'closed') continue;
    present++;
    if (clientPhase(client) !== 'waiting') continue;
    waiting++;
    longest = Math.max(longest, waitOf(client, now));
  }
  const { cancels } = pool;
  return [
    pool.database.name,
    pool.user,
    present - waiting,
    waiting,
    cancels.active,
    cancels.waiting,
    servers.active,
    cancels.active,
    servers.being_canceled,
    servers.idle,
    servers.used,
    servers.tested,
    // a connection that is being made has no socket yet
    servers.new + (pool.opener.isOpening && pool.opener.connecting === null ? 1 : 0) + cancels.connecting,
    ...splitWait(longest),
    pool.mode,
    balancing(pool.database),
  ];
}

export function* databaseRows(actions: AdminActions): Generator<Value[]> {
  const { databases } = actions.registry;
  for (const name of [...databases.keys(), ADMIN_DATABASE].sort(compare)) {
    const database = databases.get(name);
    if (database !== undefined) yield databaseRow(actions, database);
    else if (name === ADMIN_DATABASE) yield consoleDatabaseRow(actions);
  }
}

function databaseRow({ registry }: AdminActions, database: Database): Value[] {
  const { settings } = registry.config;
  const { config } = database;
  return [
    database.name,
    config.hosts.length > 0 ? config.hosts.join(',') : null,
    config.port,
    config.dbname ?? database.name,
    config.user,
    config.pool_size ?? settings.default_pool_size,
    config.min_pool_size ?? settings.min_pool_size,
    config.reserve_pool_size ?? settings.reserve_pool_size,
    Math.floor((config.server_lifetime || settings.server_lifetime) / 1000),
    config.pool_mode,
    balancing(database),
    config.max_db_connections || settings.max_db_connections,
    database.connectionCount,
    config.max_db_client_connections || settings.max_db_client_connections,
    database.clientCount,
    database.paused,
    database.disabled,
  ];
}

function consoleDatabaseRow(actions: AdminActions): Value[] {
  const { settings } = actions.registry.config;
  return [
    ADMIN_DATABASE,
    null,
    settings.listen_port,
    ADMIN_DATABASE,
    ADMIN_DATABASE,
    CONSOLE_POOL_SIZE,
    settings.min_pool_size,
    settings.reserve_pool_size,
    Math.floor(settings.server_lifetime / 1000),
    'statement',
    null,
    settings.max_db_connections,
    0,
    settings.max_db_client_connections,
    consoleClients(actions).length,
    false,
    false,
  ];
}

/** Users of auth_file, of [users], and those that have been here. */
function userNames({ registry: { config, users } }: AdminActions): string[] {
  const names = new Set([ADMIN_DATABASE, ...config.userlist.keys(), ...config.users.keys(), ...users.keys()]);
  for (const { user } of config.databases.values()) if (user !== null) names.add(user);
  return [...names].sort(compare);
}

export function* userRows(actions: AdminActions): Generator<Value[]> {
  const { registry, sessions } = actions;
  const { config } = registry;
  const connections = new Map<string, number>();
  for (const pool of registry.allPools()) {
    connections.set(pool.user, (connections.get(pool.user) ?? 0) + pool.size);
  }
  const clients = new Map<string, number>();
  for (const client of sessions.clients) {
    if (client.state === 'login') continue;
    clients.set(client.user, (clients.get(client.user) ?? 0) + 1);
  }
  const padded = (size: number | null | undefined): string =>
    size === null || size === undefined ? '' : String(size).padStart(9);
  for (const name of userNames(actions)) {
    const entry = config.users.get(name);
    yield [
      name,
      padded(entry?.pool_size),
      padded(entry?.reserve_pool_size),
      entry?.pool_mode ?? null,
      entry?.max_user_connections || config.settings.max_user_connections,
      connections.get(name) ?? 0,
      entry?.max_user_client_connections || config.settings.max_user_client_connections,
      clients.get(name) ?? 0,
    ];
  }
}

export function listRows(actions: AdminActions): Value[][] {
  const { registry, sessions } = actions;
  const pools = [...registry.allPools()];
  const loggingIn = [...sessions.clients].filter((client) => clientPhase(client) === 'login').length;
  return [
    ['databases', registry.databases.size + 1],
    ['users', userNames(actions).length],
    ['peers', registry.config.peers.size],
    ['pools', pools.length + 1],
    ['peer_pools', registry.config.peers.size],
    ['free_clients', 0],
    ['used_clients', sessions.clients.size],
    ['login_clients', loggingIn],
    ['free_servers', 0],
    ['used_servers', pools.reduce((sum, pool) => sum + pool.size, 0)],
    ['dns_names', registry.resolver.hosts(0).length],
    ['dns_zones', 0],
    ['dns_queries', 0],
    ['dns_pending', registry.resolver.pending],
  ];
}

/** pgbouncer's slabs have no counterpart: how many objects there are, and the process's memory in KiB. */
export function memoryRows(actions: AdminActions): Value[][] {
  const { registry, sessions } = actions;
  const pools = [...registry.allPools()];
  const objects: [string, number][] = [
    ['user_cache', userNames(actions).length],
    ['db_cache', registry.databases.size + 1],
    ['pool_cache', pools.length + 1],
    ['server_cache', pools.reduce((sum, pool) => sum + pool.size, 0)],
    ['client_cache', sessions.clients.size],
  ];
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  const kib = (bytes: number): number => Math.round(bytes / 1024);
  return [
    ...objects.map(([name, used]): Value[] => [name, 0, used, 0, 0]),
    ['heap_kib', 1, kib(heapUsed), kib(heapTotal - heapUsed), kib(heapTotal)],
    ['external_kib', 1, kib(external), 0, kib(external)],
    ['rss_kib', 1, kib(rss), 0, kib(rss)],
  ];
}
