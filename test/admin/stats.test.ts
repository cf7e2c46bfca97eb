/** The statistics agree with the applications' own counts. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { StatsHistory, statsLine } from '../../src/telemetry/stats-history.ts';
import { DatabaseStats } from '../../src/telemetry/stats.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noPgbench, pgbench } from '../support/psql.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      a: cluster.connectionString(),
      b: cluster.connectionString(),
      unused: cluster.connectionString(),
      one: `${cluster.connectionString()} pool_size=1`,
    },
    settings: { pool_mode: 'transaction' },
  },
);
const admin = await bouncer.connect({ user: 'pgbouncer', database: 'pgbouncer' });

async function totals(database: string): Promise<Record<string, number>> {
  const { rows } = await admin.query<Record<string, string>>('SHOW STATS_TOTALS');
  const row = rows.find((each) => each['database'] === database);
  assert.ok(row);
  return Object.fromEntries(
    Object.entries(row)
      .filter(([name]) => name !== 'database')
      .map(([name, value]) => [name, Number(value)]),
  );
}

test('simple queries and transactions are counted one by one', async () => {
  const client = await bouncer.connect({ database: 'a' });
  const before = await totals('a');
  assert.equal(before['client_login_count'], 1);
  const startedAt = performance.now();
  for (let i = 0; i < 7; i++) await client.query('SELECT 1');
  for (let i = 0; i < 3; i++) {
    await client.query('BEGIN');
    await client.query('SELECT 1');
    await client.query('SELECT 2');
    await client.query('COMMIT');
  }
  await client.query('SELECT pg_sleep(0.05)');
  const elapsed = (performance.now() - startedAt) * 1000;
  const now = await totals('a');
  const grown = (name: string): number => now[name]! - before[name]!;
  assert.equal(grown('query_count'), 7 + 12 + 1);
  assert.equal(grown('xact_count'), 7 + 3 + 1);
  assert.equal(grown('server_assignment_count'), 7 + 3 + 1);
  const bytes = (sql: string): number => sql.length + 6;
  assert.equal(
    grown('bytes_received'),
    7 * bytes('SELECT 1') +
      3 * (bytes('BEGIN') + bytes('SELECT 1') + bytes('SELECT 2') + bytes('COMMIT')) +
      bytes('SELECT pg_sleep(0.05)'),
  );
  assert.ok(grown('query_time') >= 50_000 && grown('query_time') <= elapsed);
  assert.ok(grown('xact_time') >= grown('query_time') && grown('xact_time') <= elapsed);
  assert.ok(grown('wait_time') < elapsed);
  assert.equal(grown('bind_count'), 0);
  await client.end();
});

test('query and transaction times include the wait for a server', async () => {
  const [first, second] = [
    await bouncer.connect({ database: 'one' }),
    await bouncer.connect({ database: 'one' }),
  ];
  await first.query('BEGIN');
  const before = await totals('one');
  const waiting = second.query('SELECT 1');
  await until('the second to wait', async () => {
    const { rows } = await admin.query<{ database: string; cl_waiting: number }>('SHOW POOLS');
    return rows.find((each) => each.database === 'one')?.cl_waiting === 1;
  });
  const during = await totals('one');
  assert.equal(during['query_count'], before['query_count']! + 1);
  assert.equal(during['xact_count'], before['xact_count']! + 1);
  await first.query('SELECT pg_sleep(0.05)');
  await first.query('COMMIT');
  await waiting;
  const now = await totals('one');
  const grown = (name: string): number => now[name]! - before[name]!;
  assert.equal(grown('query_count'), 3);
  assert.ok(grown('wait_time') >= 50_000);
  assert.ok(grown('query_time') >= grown('wait_time') + 50_000);
  await first.end();
  await second.end();
});

test('prepared statements are counted', async () => {
  const client = await bouncer.connect({ database: 'b' });
  const before = await totals('b');
  for (let i = 0; i < 5; i++) await client.query({ name: 'q', text: 'SELECT $1::int', values: [i] });
  const now = await totals('b');
  assert.equal(now['query_count']! - before['query_count']!, 5);
  assert.equal(now['bind_count']! - before['bind_count']!, 5);
  assert.equal(now['client_parse_count']! - before['client_parse_count']!, 1);
  assert.equal(now['server_parse_count']! - before['server_parse_count']!, 1);

  // the unnamed statement, and untracked ones, do not count
  await client.query('SELECT $1::int', [1]);
  await bouncer.admin('SET max_prepared_statements = 0');
  await client.query({ name: 'r', text: 'SELECT $1::int + 1', values: [1] });
  await bouncer.admin('SET max_prepared_statements = 200');
  const later = await totals('b');
  for (const name of ['bind_count', 'client_parse_count', 'server_parse_count'])
    assert.equal(later[name], now[name], name);
  await client.end();
});

test('counts as many transactions as pgbench reports', { skip: noPgbench }, async () => {
  const before = await totals('a');
  const report = await pgbench({ host: bouncer.host, port: bouncer.port, database: 'a' }, [
    '-n',
    '-c4',
    '-t50',
    '-f',
    await script('SELECT 1;\nBEGIN;\nSELECT 2;\nEND;\n'),
  ]);
  assert.match(report, /number of transactions actually processed: 200\/200/);
  const now = await totals('a');
  assert.equal(now['xact_count']! - before['xact_count']!, 400);
  assert.equal(now['query_count']! - before['query_count']!, 800);
});

async function script(text: string): Promise<string> {
  await bouncer.writeFile('pgbench.sql', text);
  return `${bouncer.folder}/pgbench.sql`;
}

test('SHOW STATS lists used databases and the console, and SHOW TOTALS their sum', async () => {
  const { rows } = await admin.query<Record<string, string>>('SHOW STATS');
  assert.deepEqual(
    rows.map((row) => row['database']),
    ['a', 'b', 'one', 'pgbouncer'],
  );
  const sum = rows.reduce((all, row) => all + Number(row['total_bind_count']), 0);
  const all = await admin.query<{ name: string; value: string }>('SHOW TOTALS');
  assert.deepEqual(
    all.rows.map((row) => row.name),
    ['total_', 'avg_'].flatMap((prefix) =>
      (
        'server_assignment_count xact_count query_count client_bytes server_bytes xact_time query_time wait_time ' +
        'ps_client_parse_count ps_server_parse_count ps_bind_count client_login_count'
      )
        .split(' ')
        .map((name) => prefix + name),
    ),
  );
  assert.equal(Number(all.rows.find((row) => row.name === 'total_ps_bind_count')!.value), sum);
  const before = await totals('pgbouncer');
  const now = await totals('pgbouncer');
  assert.equal(now['query_count']! - before['query_count']!, 1);
});

test('the log has a line in each stats_period, unless log_stats is 0', async () => {
  const line =
    /stats: \d+ xacts\/s, \d+ queries\/s, \d+ client parses\/s, \d+ server parses\/s, \d+ binds\/s, \d+ client logins\/s, in \d+ B\/s, out \d+ B\/s, xact \d+ us, query \d+ us, wait \d+ us$/m;
  await admin.query('SET log_stats = 0');
  await admin.query('SET stats_period = 1');
  bouncer.markLog();
  const client = await bouncer.connect({ database: 'a' });
  // two periods: the averages reach back to the second-last copy
  await until('an average over a quiet time', async () => {
    const { rows } = await admin.query<Record<string, string>>('SHOW STATS_AVERAGES');
    return rows.find((row) => row['database'] === 'b')!['query_count'] === '0';
  });
  assert.ok(!bouncer.logContains(/stats:/));
  await admin.query('SET log_stats = 1');
  await client.query('SELECT 1');
  await bouncer.waitForLog(line);
  await client.end();
});

test('averages are events and bytes a second and times per event, since the last copy but one', () => {
  const stats = new DatabaseStats();
  const history = new StatsHistory(() => [stats], 0);
  const add = (queries: number): void => {
    stats.queryCount += queries;
    stats.xactCount += queries / 2;
    stats.queryTime += queries * 300;
    stats.xactTime += queries * 400;
    stats.serverAssignmentCount += queries / 2;
    stats.waitTime += queries * 5;
    stats.bytesSent += queries * 1000;
  };
  assert.equal(history.tick(9_999, 10_000), false);
  add(100);
  assert.equal(history.tick(10_000, 10_000), true);
  add(50);
  const running = history.averages(stats, 12_500);
  assert.equal(running.queryCount, 12);
  assert.equal(running.queryTime, 300);
  assert.equal(running.xactTime, 800);
  assert.equal(running.waitTime, 10);
  assert.equal(running.bytesSent, 12_000);
  assert.equal(history.tick(20_000, 10_000), true);
  // the first hundred are forgotten
  assert.equal(history.totalAverages(20_000).queryCount, 5);
  assert.equal(history.tick(30_000, 10_000), true);
  const quiet = history.totalAverages(30_000);
  assert.equal(quiet.queryTime, 0);
  assert.equal(
    statsLine(quiet),
    'stats: 0 xacts/s, 0 queries/s, 0 client parses/s, 0 server parses/s, 0 binds/s, 0 client logins/s, in 0 B/s, out 0 B/s, xact 0 us, query 0 us, wait 0 us',
  );
});
