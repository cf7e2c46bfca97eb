/**
 * Metrics about databases, pools, statistics and the process's lists. Names and labels are those of pgbouncer_exporter, so that
 * its dashboards work with another prefix.
 */
import { consoleDatabase, consolePool, type PoolRow } from '../admin/console-rows.ts';
import type { Observe } from '../admin/observe.ts';
import { PGBOUNCER_VERSION } from '../admin/version.ts';
import type { DatabaseSnapshot } from '../telemetry/snapshots/pools.ts';
import type { SessionsSnapshot } from '../telemetry/snapshots/sessions.ts';
import type { CountersSnapshot } from '../telemetry/snapshots/statistics.ts';
import { counter, familiesOf, fixed, gauge, type Column, type Family, type Labels } from './family.ts';
import type { Pace } from './pace.ts';
import { histogramFamily } from './times.ts';

/** The means of one scrape. */
export interface Parts {
  readonly counts: SessionsSnapshot;
  readonly pace: Pace;
  readonly most: number;
}

const DATABASES: readonly Column<DatabaseSnapshot>[] = [
  gauge('databases_pool_size', 'Most servers of one pool', (row) => row.poolSize),
  gauge(
    'databases_reserve_pool',
    'Additional servers of one pool when clients wait',
    (row) => row.reservePoolSize,
  ),
  gauge(
    'databases_max_connections',
    'Most servers of the database; 0: no limit',
    (row) => row.maxConnections,
  ),
  gauge('databases_current_connections', 'Servers of the database', (row) => row.connections),
  gauge('databases_max_client_connections', 'Most clients; 0: no limit', (row) => row.maxClientConnections),
  gauge('databases_current_client_connections', 'Clients of the database', (row) => row.clientConnections),
  gauge('databases_paused', '1 while the database is paused', (row) => Number(row.isPaused)),
  gauge('databases_disabled', '1 while the database is disabled', (row) => Number(row.isDisabled)),
];

const POOLS: readonly Column<PoolRow>[] = [
  gauge('pools_client_active_connections', 'Clients with a server, or idle', ({ clients }) => clients.active),
  gauge(
    'pools_client_waiting_connections',
    'Clients that wait for a server',
    ({ clients }) => clients.waiting,
  ),
  gauge(
    'pools_client_active_cancel_connections',
    'Cancel requests that a server has',
    ({ pool }) => pool.activeCancels,
  ),
  gauge(
    'pools_client_waiting_cancel_connections',
    'Cancel requests that wait',
    ({ pool }) => pool.waitingCancels,
  ),
  gauge('pools_server_active_connections', 'Servers linked to a client', ({ pool }) => pool.servers.active),
  gauge(
    'pools_server_active_cancel_connections',
    'Servers that take a cancel request',
    ({ pool }) => pool.activeCancels,
  ),
  gauge(
    'pools_server_being_canceled_connections',
    'Servers that wait for cancel requests',
    ({ pool }) => pool.servers.being_canceled,
  ),
  gauge('pools_server_idle_connections', 'Idle servers', ({ pool }) => pool.servers.idle),
  gauge(
    'pools_server_used_connections',
    'Idle servers that are checked before use',
    ({ pool }) => pool.servers.used,
  ),
  gauge(
    'pools_server_testing_connections',
    'Servers in a reset or check query',
    ({ pool }) => pool.servers.tested,
  ),
  gauge('pools_server_login_connections', 'Servers that are logging in', ({ pool }) => pool.connecting),
  gauge(
    'pools_client_maxwait_seconds',
    'Wait of the client that has waited longest',
    ({ clients }) => clients.longestWaitMs / 1000,
    'max',
  ),
];

const STATISTICS: readonly Column<CountersSnapshot>[] = [
  counter(
    'stats_server_assignments_total',
    'Servers lent to clients',
    ({ totals }) => totals.serverAssignmentCount,
  ),
  counter('stats_sql_transactions_pooled_total', 'Transactions', ({ totals }) => totals.xactCount),
  counter('stats_queries_pooled_total', 'Queries', ({ totals }) => totals.queryCount),
  counter(
    'stats_received_bytes_total',
    'Bytes from clients and servers',
    ({ totals }) => totals.bytesReceived,
  ),
  counter('stats_sent_bytes_total', 'Bytes to clients and servers', ({ totals }) => totals.bytesSent),
  counter(
    'stats_server_in_transaction_seconds_total',
    'Time in transactions',
    ({ totals }) => totals.xactTime / 1e6,
  ),
  counter('stats_queries_duration_seconds_total', 'Time of queries', ({ totals }) => totals.queryTime / 1e6),
  counter(
    'stats_client_wait_seconds_total',
    'Time that clients have waited for servers',
    ({ totals }) => totals.waitTime / 1e6,
  ),
  counter(
    'stats_client_parses_total',
    'Parse messages from clients',
    ({ totals }) => totals.clientParseCount,
  ),
  counter('stats_server_parses_total', 'Parse messages to servers', ({ totals }) => totals.serverParseCount),
  counter('stats_binds_total', 'Bind messages', ({ totals }) => totals.bindCount),
  counter(
    'stats_client_logins_total',
    'Clients that have logged in',
    ({ totals }) => totals.clientLoginCount,
  ),
];

const TIMES = [
  ['query', 'query_duration_seconds', 'Time of queries, with the wait for a server'],
  ['transaction', 'transaction_duration_seconds', 'Time of transactions, with the wait for a server'],
  ['wait', 'server_wait_duration_seconds', 'Time that clients wait for a server'],
  ['login', 'login_duration_seconds', 'Time from a connection to the end of its login'],
] as const;

/** @param most series of one family: those of more rows are added up under `other` */
export async function* databaseFamilies(
  { pools, config }: Observe,
  { counts, pace, most }: Parts,
): AsyncGenerator<Family> {
  const rows = [...(await pace.collect(pools.databases())), consoleDatabase(config.settings, counts)];
  const labelsOf = (row: DatabaseSnapshot): Labels => ({
    name: row.name,
    host: row.hosts ?? '',
    port: String(row.port),
    database: row.serverDatabase,
    force_user: row.forcedUser ?? '',
    pool_mode: row.mode ?? '',
  });
  yield* familiesOf(rows, labelsOf, DATABASES, most);
}

export async function* poolFamilies(
  { pools }: Observe,
  { counts, pace, most }: Parts,
): AsyncGenerator<Family> {
  const keyOf = (row: { readonly database: string; readonly user: string }): string =>
    `${row.database}\0${row.user}`;
  const clientsOf = new Map(counts.pools.map((clients) => [keyOf(clients), clients]));
  const rows: PoolRow[] = [];
  for (const pool of await pace.collect(pools.pools())) {
    const { database, user } = pool;
    const clients = clientsOf.get(keyOf(pool)) ?? { database, user, active: 0, waiting: 0, longestWaitMs: 0 };
    rows.push({ pool, clients });
  }
  rows.push(consolePool(counts));
  yield* familiesOf(rows, ({ pool: { database, user } }) => ({ database, user }), POOLS, most);
}

export async function* statisticsFamilies(
  { statistics }: Observe,
  { pace, most }: Parts,
): AsyncGenerator<Family> {
  const rows = await pace.collect(statistics.counters());
  yield* familiesOf(rows, ({ database }) => ({ database }), STATISTICS, most);
  for (const [time, name, help] of TIMES) {
    const all = rows.map(({ database, times }) => ({ labels: { database }, histogram: times[time] }));
    yield histogramFamily(name, help, all, most);
  }
}

export function listFamilies({ pools, config }: Observe, { clients, loggingIn }: SessionsSnapshot): Family[] {
  const counts = pools.observe();
  const { max_client_conn: maxClients, max_user_connections: maxUser } = config.settings;
  return [
    fixed('gauge', 'up', '1: the proxy answers', 1),
    fixed('gauge', 'version_info', 'The version of pgbouncer that this one is compatible with', [
      [{ version: PGBOUNCER_VERSION }, 1],
    ]),
    fixed('gauge', 'config_max_client_connections', 'max_client_conn', maxClients),
    fixed('gauge', 'config_max_user_connections', 'max_user_connections', maxUser),
    fixed('gauge', 'databases', 'Number of databases', counts.databases + 1),
    fixed('gauge', 'users', 'Number of users', counts.users),
    fixed('gauge', 'pools', 'Number of pools', counts.pools + 1),
    fixed('gauge', 'free_clients', 'Always 0: pgbouncer keeps a list of unused objects', 0),
    fixed('gauge', 'used_clients', 'Number of clients', clients),
    fixed('gauge', 'login_clients', 'Number of clients that are logging in', loggingIn),
    fixed('gauge', 'free_servers', 'Always 0: pgbouncer keeps a list of unused objects', 0),
    fixed('gauge', 'used_servers', 'Number of servers', counts.servers),
    fixed('gauge', 'cached_dns_names', 'Host names in the cache', counts.hostNames),
    fixed('gauge', 'cached_dns_zones', 'Always 0', 0),
    fixed('gauge', 'in_flight_dns_queries', 'Host names that are being looked up', counts.pendingLookups),
  ];
}
