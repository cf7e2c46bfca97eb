/** SHOW: the names, types and order of every column, and the values in the rows. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

const OIDS = { s: 25, i: 23, q: 20, N: 1700, b: 17 } as const;

/** `name s, name i …` as the reference writes it. */
const SOCKET =
  'type s, user s, database s, replication s, state s, addr s, port i, local_addr s, local_port i, connect_time s, ' +
  'request_time s, wait i, wait_us i, close_needed i, ptr s, link s, remote_pid i, tls s, application_name s, ' +
  'prepared_statements i, id i';
const BUFFERS = ', recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i';
const COUNTERS = [
  'server_assignment_count',
  'xact_count',
  'query_count',
  'received',
  'sent',
  'xact_time',
  'query_time',
  'wait_time',
  'client_parse_count',
  'server_parse_count',
  'bind_count',
  'client_login_count',
];
const PLAIN = COUNTERS.slice(0, 8).map((name) =>
  name === 'received' || name === 'sent' ? `bytes_${name}` : name,
);
const numeric = (names: string[]): string => names.map((name) => `, ${name} N`).join('');

const EXPECTED: Record<string, string> = {
  CLIENTS: SOCKET,
  SERVERS: SOCKET,
  SOCKETS: SOCKET + BUFFERS,
  ACTIVE_SOCKETS: SOCKET + BUFFERS,
  POOLS:
    'database s, user s, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active i, ' +
    'sv_active_cancel i, sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, ' +
    'pool_mode s, load_balance_hosts s',
  PEER_POOLS: 'peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i',
  DATABASES:
    'name s, host s, port i, database s, force_user s, pool_size i, min_pool_size i, reserve_pool_size i, ' +
    'server_lifetime i, pool_mode s, load_balance_hosts s, max_connections i, current_connections i, ' +
    'max_client_connections i, current_client_connections i, paused i, disabled i',
  PEERS: 'peer_id i, host s, port i, pool_size i',
  USERS:
    'name s, pool_size s, reserve_pool_size s, pool_mode s, max_user_connections i, current_connections i, ' +
    'max_user_client_connections i, current_client_connections i',
  LISTS: 'list s, items i',
  STATS:
    'database s' +
    numeric(COUNTERS.map((name) => `total_${name}`)) +
    numeric(COUNTERS.map((name) => `avg_${name === 'received' ? 'recv' : name}`)),
  STATS_TOTALS: 'database s' + numeric([...PLAIN, ...COUNTERS.slice(8)]),
  STATS_AVERAGES: 'database s' + numeric([...PLAIN, ...COUNTERS.slice(8).map((name) => `avg_${name}`)]),
  TOTALS: 'name s, value N',
  CONFIG: 'key s, value s, default s, changeable s',
  MEM: 'name s, size i, used i, free i, memtotal i',
  DNS_HOSTS: 'hostname s, ttl q, addrs s',
  DNS_ZONES: 'zonename s, serial q, count i',
  STATE: 'key s, value s',
  VERSION: 'version s',
  FDS:
    'fd i, task s, user s, database s, addr s, port i, cancel q, link i, client_encoding s, std_strings s, ' +
    'datestyle s, timezone s, password s, scram_client_key b, scram_server_key b',
};

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      a: cluster.connectionString(),
      b: `${cluster.connectionString()} user=postgres pool_size=3 pool_mode=session`,
      pair: 'host=127.0.0.1,127.0.0.2 port=1 dbname=x',
    },
    users: { joe: 'pool_mode=statement pool_size=7 max_user_connections=4' },
    settings: { pool_mode: 'transaction' },
    ini: '[peers]\n3 = host=127.0.0.1 port=9\n',
  },
);
const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });

async function rows(command: string): Promise<Record<string, unknown>[]> {
  return (await admin.query<Record<string, unknown>>(command)).rows;
}

for (const [name, columns] of Object.entries(EXPECTED)) {
  test(`SHOW ${name} has pgbouncer’s columns`, async () => {
    const result = await admin.query(`SHOW ${name}`);
    assert.equal(result.command, 'SHOW');
    const expected = columns.split(', ').map((column) => column.split(' ') as [string, keyof typeof OIDS]);
    assert.deepEqual(
      result.fields.map((field) => [field.name, field.dataTypeID]),
      expected.map(([column, type]) => [column, OIDS[type]]),
    );
  });
}

test('SHOW CLIENTS and SERVERS show a linked pair, an idle client and the console', async () => {
  const busy = await bouncer.connect({ database: 'a', application_name: 'busy' });
  const idle = await bouncer.connect({ database: 'a', application_name: 'lazy' });
  await idle.query('SELECT 1');
  await busy.query('BEGIN');

  const clients = await rows('SHOW CLIENTS');
  const find = (application: string) => clients.find((row) => row['application_name'] === application)!;
  const linked = find('busy');
  assert.equal(linked['state'], 'active');
  assert.equal(linked['type'], 'C');
  assert.equal(linked['user'], 'postgres');
  assert.equal(linked['database'], 'a');
  assert.equal(linked['replication'], 'none');
  assert.equal(linked['addr'], '127.0.0.1');
  assert.equal(linked['local_port'], bouncer.port);
  assert.match(String(linked['connect_time']), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+$/);
  assert.equal(find('lazy')['state'], 'idle');
  assert.equal(find('lazy')['link'], '');
  const console = clients.find((row) => row['database'] === 'pgbouncer')!;
  assert.equal(console['state'], 'idle', 'it has no server, whatever it does');

  const servers = await rows('SHOW SERVERS');
  const server = servers.find((row) => row['state'] === 'active')!;
  assert.equal(server['link'], linked['ptr']);
  assert.equal(linked['link'], server['ptr']);
  assert.equal(server['port'], cluster.port);
  const [backend] = (await busy.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
  assert.equal(server['remote_pid'], backend!.pid);

  const ids = [...clients, ...servers].map((row) => row['id']);
  assert.equal(new Set(ids).size, ids.length);
  const pointers = [...clients, ...servers].map((row) => String(row['ptr']));
  assert.equal(new Set(pointers).size, pointers.length);
  assert.ok(pointers.every((pointer) => /^0x[0-9a-f]+$/.test(pointer)));
  await busy.query('COMMIT');
  await Promise.all([busy.end(), idle.end()]);
});

test('SHOW POOLS counts waiting clients and shows the longest wait', async () => {
  await admin.query('SET default_pool_size = 1');
  const holder = await bouncer.connect({ database: 'a' });
  const waiter = await bouncer.connect({ database: 'a' });
  await holder.query('BEGIN');
  const answer = waiter.query('SELECT 1');
  let pool: Record<string, unknown>;
  do {
    pool = (await rows('SHOW POOLS')).find((row) => row['database'] === 'a')!;
  } while (pool['cl_waiting'] !== 1 || pool['maxwait_us'] === 0);
  assert.equal(pool['cl_active'], 1);
  assert.equal(pool['sv_active'], 1);
  assert.equal(pool['pool_mode'], 'transaction');
  assert.equal(pool['load_balance_hosts'], null);
  await holder.query('COMMIT');
  await answer;
  await Promise.all([holder.end(), waiter.end()]);
  await admin.query('SET default_pool_size = 20');

  const own = (await rows('SHOW POOLS')).find((row) => row['database'] === 'pgbouncer')!;
  assert.equal(own['user'], 'pgbouncer');
  assert.equal(own['pool_mode'], 'statement');
  assert.equal(own['cl_active'], 1);
});

test('SHOW DATABASES lists databases by name with the limits that apply', async () => {
  const databases = await rows('SHOW DATABASES');
  assert.deepEqual(
    databases.map((row) => row['name']),
    ['a', 'b', 'pair', 'pgbouncer'],
  );
  const [a, b, pair, own] = databases as [
    Record<string, unknown>,
    Record<string, unknown>,
    Record<string, unknown>,
    Record<string, unknown>,
  ];
  assert.equal(a['pool_size'], 20);
  assert.equal(a['pool_mode'], null);
  assert.equal(a['server_lifetime'], 3600);
  assert.equal(a['database'], 'postgres');
  assert.equal(b['pool_size'], 3);
  assert.equal(b['force_user'], 'postgres');
  assert.equal(b['pool_mode'], 'session');
  assert.equal(b['load_balance_hosts'], null);
  assert.equal(pair['host'], '127.0.0.1,127.0.0.2');
  assert.equal(pair['load_balance_hosts'], 'round-robin');
  assert.equal(own['pool_size'], 2);
  assert.equal(own['pool_mode'], 'statement');
  assert.equal(own['port'], bouncer.port);
  assert.equal(own['force_user'], 'pgbouncer');
});

test('SHOW USERS, PEERS, LISTS, STATE, VERSION and FDS show the configured objects', async () => {
  const joe = (await rows('SHOW USERS')).find((row) => row['name'] === 'joe')!;
  assert.equal(joe['pool_size'], '        7');
  assert.equal(joe['reserve_pool_size'], '');
  assert.equal(joe['pool_mode'], 'statement');
  assert.equal(joe['max_user_connections'], 4);
  assert.deepEqual(await rows('SHOW PEERS'), [{ peer_id: 3, host: '127.0.0.1', port: 9, pool_size: 20 }]);
  const lists = await rows('SHOW LISTS');
  assert.deepEqual(
    lists.map((row) => row['list']),
    'databases users peers pools peer_pools free_clients used_clients login_clients free_servers used_servers dns_names dns_zones dns_queries dns_pending'.split(
      ' ',
    ),
  );
  assert.equal(lists[0]!['items'], 4);
  assert.deepEqual(await rows('SHOW STATE'), [
    { key: 'active', value: 'yes' },
    { key: 'paused', value: 'no' },
    { key: 'suspended', value: 'no' },
  ]);
  assert.deepEqual(await rows('SHOW VERSION'), [{ version: 'PgBouncer 1.25.2' }]);
  const sockets = (await rows('SHOW FDS')).filter(({ task }) => task === 'pooler');
  assert.deepEqual(
    sockets.map((row) => [row['task'], row['addr'], row['port']]),
    [
      ['pooler', '127.0.0.1', bouncer.port],
      ['pooler', 'unix', bouncer.port],
    ],
  );
});

test('SHOW FUNCTIONS has no rows without user functions', async () => {
  const result = await admin.query('SHOW FUNCTIONS');
  assert.equal(result.fields[0]?.name, 'tenant');
  assert.deepEqual(result.rows, []);
});
